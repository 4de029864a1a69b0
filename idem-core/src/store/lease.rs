//! Connections that are pooled again only after a confirmed end of their transaction.

use std::ops::{Deref, DerefMut};

use sqlx::migrate::{Migrate, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, SqlSafeStr as _, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

use super::{SettleError, StoreError};

/// A connection out of a pool. Dropping it closes it; [`release`](Self::release) returns it.
///
/// A dropped sqlx future can leave a connection with an open transaction, or in the middle of a
/// protocol exchange; so whatever is not released in so many words is closed.
#[derive(Debug)]
pub(super) struct Lease<DB: Database> {
    connection: Option<PoolConnection<DB>>,
}

impl<DB: Database> Lease<DB> {
    pub(super) async fn acquire(pool: &Pool<DB>) -> sqlx::Result<Self> {
        Ok(Self {
            connection: Some(pool.acquire().await?),
        })
    }

    /// Begins a transaction that sqlx knows of, so that a handler's nested `begin()` makes a
    /// savepoint.
    pub(super) async fn begin(&mut self, statement: SqlStr) -> sqlx::Result<()> {
        DB::TransactionManager::begin(&mut **self, Some(statement)).await
    }

    /// Commits the transaction that [`begin`](Self::begin) began.
    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        DB::TransactionManager::commit(&mut **self).await
    }

    /// Commits at the end of a settlement. `is_answer` tells an error that the database answered
    /// with from one that leaves the outcome open.
    pub(super) async fn settle(
        &mut self,
        is_answer: impl FnOnce(&sqlx::Error) -> bool,
    ) -> Result<(), SettleError> {
        match DB::TransactionManager::get_transaction_depth(self) {
            // sqlx would say that it committed, and send nothing.
            0 => return Err(SettleError::Ended),
            1 => {}
            _ => return Err(SettleError::Aborted("a savepoint was left open".into())),
        }
        self.commit().await.map_err(|error| {
            if is_answer(&error) {
                SettleError::Refused(error.into())
            } else {
                SettleError::Unknown(error.into())
            }
        })
    }

    /// Waits for what a dropped future has left to be answered, and says how that went.
    #[cfg(feature = "postgres")]
    pub(super) async fn drain(&mut self) -> sqlx::Result<()> {
        sqlx::Connection::flush(&mut **self).await
    }

    /// Returns the connection to its pool: only for a connection outside of any transaction.
    pub(super) fn release(mut self) {
        drop(self.connection.take());
    }
}

/// Runs migrations, in a transaction that `opening` begins where sqlx has no lock for the database.
/// Its lock belongs to the session, so a connection on which they fail is not pooled again.
pub(super) async fn migrate<DB>(
    pool: &Pool<DB>,
    migrator: &Migrator,
    opening: Option<&'static str>,
) -> Result<(), StoreError>
where
    DB: Database,
    DB::Connection: Migrate,
{
    let failed = |error| StoreError::Misconfigured(error);
    let mut lease = Lease::acquire(pool).await.map_err(|e| failed(e.into()))?;
    if let Some(opening) = opening {
        let begun = lease.begin(opening.into_sql_str()).await;
        begun.map_err(|error| failed(error.into()))?;
    }
    let migrated = migrator.run_direct(None, &mut *lease, false).await;
    migrated.map_err(|error| failed(error.into()))?;
    if opening.is_some() {
        let committed = lease.commit().await;
        committed.map_err(|error| failed(error.into()))?;
    }
    lease.release();
    Ok(())
}

const HELD: &str = "a lease has its connection until it is released or dropped";

impl<DB: Database> Deref for Lease<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        self.connection.as_ref().expect(HELD)
    }
}

impl<DB: Database> DerefMut for Lease<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect(HELD)
    }
}

impl<DB: Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}
