//! Connections that are pooled again only after a confirmed end of their transaction.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "other crates of idem alone see it"
)]
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code, reason = "each store uses a part of it")
)]

use std::future::Future;
use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

use super::SettleError;

/// A connection out of a pool. Dropping it closes it; [`release`](Self::release) returns it.
///
/// A dropped sqlx future can leave a connection with an open transaction, or in the middle of a
/// protocol exchange; so a connection that is not explicitly released is closed.
#[derive(Debug)]
pub struct CheckedConnection<DB: Database> {
    connection: Option<PoolConnection<DB>>,
}

impl<DB: Database> CheckedConnection<DB> {
    pub async fn acquire(pool: &Pool<DB>) -> sqlx::Result<Self> {
        Ok(Self {
            connection: Some(pool.acquire().await?),
        })
    }

    /// Begins a transaction that sqlx knows of, so that a handler's nested `begin()` makes a
    /// savepoint.
    pub async fn begin(&mut self, statement: SqlStr) -> sqlx::Result<()> {
        DB::TransactionManager::begin(&mut **self, Some(statement)).await
    }

    /// Commits the transaction that [`begin`](Self::begin) began.
    pub async fn commit(&mut self) -> sqlx::Result<()> {
        DB::TransactionManager::commit(&mut **self).await
    }

    /// Undoes the transaction that [`begin`](Self::begin) began.
    pub async fn rollback(&mut self) -> sqlx::Result<()> {
        DB::TransactionManager::rollback(&mut **self).await
    }

    /// Has the transaction undone before the connection is used again.
    pub(super) fn rollback_soon(&mut self) {
        DB::TransactionManager::start_rollback(&mut **self);
    }

    /// Checks that the transaction is as deep as [`begin`](Self::begin) left it.
    pub(super) fn check_depth(&self) -> Result<(), SettleError> {
        match DB::TransactionManager::get_transaction_depth(self) {
            // sqlx would say that it committed, and send nothing.
            0 => Err(SettleError::Ended),
            1 => Ok(()),
            _ => Err(SettleError::Aborted("a savepoint was left open".into())),
        }
    }

    /// Commits at the end of a settlement. `is_answer` is true for an error that proves that the commit
    /// did not happen.
    pub(super) async fn commit_checked(
        &mut self,
        is_answer: impl FnOnce(&sqlx::Error) -> bool,
    ) -> Result<(), SettleError> {
        self.check_depth()?;
        let committed = self.commit().await;
        committed.map_err(|error| commit_error(error, is_answer))
    }

    /// Reads the replies to a cancelled query, and returns its error if it failed.
    pub(super) async fn flush(&mut self) -> sqlx::Result<()> {
        sqlx::Connection::flush(&mut **self).await
    }

    /// Returns the connection to its pool: only for a connection outside of any transaction.
    pub fn release(&mut self) {
        drop(self.connection.take());
    }

    /// Closes the connection, if it has not been released. The future is done when the database has
    /// undone what was open.
    pub(super) fn close(&mut self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let mut connection = self.connection.take()?;
        connection.close_on_drop();
        Some(async move { drop(connection.close().await) })
    }
}

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

const HELD: &str = "the connection is used until it is released, closed or dropped";

impl<DB: Database> Deref for CheckedConnection<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        self.connection.as_ref().expect(HELD)
    }
}

impl<DB: Database> DerefMut for CheckedConnection<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect(HELD)
    }
}

impl<DB: Database> Drop for CheckedConnection<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}
