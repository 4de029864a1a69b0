//! Connections that are pooled again only after a confirmed end of their transaction.

use std::ops::{Deref, DerefMut};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use sqlx::SqlSafeStr as _;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

use super::SettleError;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::StoreError;

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

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    /// Commits the transaction that [`begin`](Self::begin) began.
    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        DB::TransactionManager::commit(&mut **self).await
    }

    /// Undoes the transaction that [`begin`](Self::begin) began.
    #[cfg(feature = "postgres")]
    pub(super) async fn rollback(&mut self) -> sqlx::Result<()> {
        DB::TransactionManager::rollback(&mut **self).await
    }

    /// Has the transaction undone before the connection is used again.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn rollback_soon(&mut self) {
        DB::TransactionManager::start_rollback(&mut **self);
    }

    /// Checks that the transaction is as deep as [`begin`](Self::begin) left it.
    pub(super) fn is_whole(&self) -> Result<(), SettleError> {
        match DB::TransactionManager::get_transaction_depth(self) {
            // sqlx would say that it committed, and send nothing.
            0 => Err(SettleError::Ended),
            1 => Ok(()),
            _ => Err(SettleError::Aborted("a savepoint was left open".into())),
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    /// Commits at the end of a settlement. `is_answer` tells an error that the database answered
    /// with from one that leaves the outcome open.
    pub(super) async fn settle(
        &mut self,
        is_answer: impl FnOnce(&sqlx::Error) -> bool,
    ) -> Result<(), SettleError> {
        self.is_whole()?;
        let committed = self.commit().await;
        committed.map_err(|error| commit_error(error, is_answer))
    }

    /// Waits for what a dropped future has left to be answered, and says how that went.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) async fn drain(&mut self) -> sqlx::Result<()> {
        sqlx::Connection::flush(&mut **self).await
    }

    /// Returns the connection to its pool: only for a connection outside of any transaction.
    pub(super) fn release(mut self) {
        drop(self.connection.take());
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn commit_error(
    error: sqlx::Error,
    is_answer: impl FnOnce(&sqlx::Error) -> bool,
) -> SettleError {
    if is_answer(&error) {
        SettleError::Refused(error.into())
    } else {
        SettleError::Unknown(error.into())
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
/// Runs migrations in one transaction, whose `opening` takes a lock: sqlx's own belongs to the
/// session, or is missing. `may_stop` tells an error after which what is done already will do.
pub(super) async fn migrate<DB>(
    pool: &Pool<DB>,
    migrator: &Migrator,
    opening: &'static str,
    may_stop: impl FnOnce(&MigrateError) -> bool,
) -> Result<(), StoreError>
where
    DB: Database,
    DB::Connection: Migrate,
{
    let failed = |error: sqlx::Error| StoreError::Unavailable(error.into());
    let mut lease = Lease::acquire(pool).await.map_err(failed)?;
    let begun = lease.begin(opening.into_sql_str()).await;
    begun.map_err(failed)?;
    match migrator.run_direct(None, &mut *lease, false).await {
        Err(error) if !may_stop(&error) => return Err(StoreError::Misconfigured(error.into())),
        _ => {}
    }
    lease.commit().await.map_err(failed)?;
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
