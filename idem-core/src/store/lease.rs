//! Connections that are pooled again only after a confirmed end of their transaction.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

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

    /// Waits for what a dropped future has left to be answered, and says how that went.
    #[cfg(feature = "postgres")]
    pub(super) async fn drain(&mut self) -> sqlx::Result<()> {
        sqlx::Connection::flush(&mut **self).await
    }

    /// How deep sqlx believes to be: 1 inside the transaction and outside of savepoints.
    pub(super) fn depth(&self) -> usize {
        DB::TransactionManager::get_transaction_depth(self)
    }

    /// Returns the connection to its pool: only for a connection outside of any transaction.
    pub(super) fn release(mut self) {
        drop(self.connection.take());
    }
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
