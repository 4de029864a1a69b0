//! Nested transactions: savepoints in the handler's transaction.

use std::fmt;
use std::sync::Arc;

use idem_core::Locked;
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{DbErr, TransactionSession};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::driver::{Backend, query_error};

/// A nested transaction of SeaORM: a savepoint in the handler's transaction.
///
/// It has the connection for itself until it is committed, rolled back or dropped. Dropping it rolls it
/// back. Statements through the outer transaction wait meanwhile: a handler that waits for one of them
/// while it holds the savepoint waits until its deadline.
pub struct SeaSavepoint<DB: Backend>(pub(crate) Arc<Mutex<Frame<DB>>>);

/// A savepoint, above what it was begun in.
pub(crate) struct Frame<DB: Backend> {
    below: Below<DB>,
    is_open: bool,
}

pub(crate) enum Below<DB: Backend> {
    Handler(Locked<DB::Connection>),
    Savepoint(OwnedMutexGuard<Frame<DB>>),
}

impl<DB: Backend> Below<DB> {
    pub(crate) fn connection(&mut self) -> &mut DB::Connection {
        match self {
            Self::Handler(locked) => locked.as_mut(),
            Self::Savepoint(frame) => frame.connection(),
        }
    }

    pub(crate) async fn begin(mut self) -> Result<SeaSavepoint<DB>, DbErr> {
        let begun = DB::TransactionManager::begin(self.connection(), None).await;
        begun.map_err(query_error)?;
        let frame = Frame {
            below: self,
            is_open: true,
        };
        Ok(SeaSavepoint(Arc::new(Mutex::new(frame))))
    }
}

impl<DB: Backend> Frame<DB> {
    pub(crate) fn connection(&mut self) -> &mut DB::Connection {
        self.below.connection()
    }
}

impl<DB: Backend> Drop for Frame<DB> {
    fn drop(&mut self) {
        if self.is_open {
            // Sent before the connection's next statement.
            DB::TransactionManager::start_rollback(self.connection());
        }
    }
}

impl<DB: Backend> SeaSavepoint<DB> {
    pub(crate) async fn lock(&self) -> Result<Below<DB>, DbErr> {
        Ok(Below::Savepoint(Arc::clone(&self.0).lock_owned().await))
    }

    /// The savepoint, if nothing that was begun in it is left.
    fn into_frame(self) -> Result<Frame<DB>, DbErr> {
        let frame = Arc::into_inner(self.0).map(Mutex::into_inner);
        frame.ok_or_else(|| {
            DbErr::Custom("a nested transaction or a stream is still open".to_owned())
        })
    }
}

#[async_trait]
impl<DB: Backend> TransactionSession for SeaSavepoint<DB> {
    async fn commit(self) -> Result<(), DbErr> {
        let mut frame = self.into_frame()?;
        let committed = DB::TransactionManager::commit(frame.connection()).await;
        committed.map_err(query_error)?;
        frame.is_open = false;
        Ok(())
    }

    async fn rollback(self) -> Result<(), DbErr> {
        let mut frame = self.into_frame()?;
        let rolled_back = DB::TransactionManager::rollback(frame.connection()).await;
        rolled_back.map_err(query_error)?;
        frame.is_open = false;
        Ok(())
    }
}

impl<DB: Backend> fmt::Debug for SeaSavepoint<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaSavepoint").finish_non_exhaustive()
    }
}
