//! SeaORM's traits, which are the same for the transaction and for a savepoint in it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    Statement, TransactionError, TransactionOptions, TransactionSession as _, TransactionTrait,
};

use crate::driver::{Backend, exec_error, query_error};
use crate::{SeaSavepoint, SeaTransaction};

macro_rules! connections {
    ($type:ident) => {
        #[async_trait]
        impl<DB: Backend> ConnectionTrait for $type<DB> {
            fn get_database_backend(&self) -> DbBackend {
                DB::BACKEND
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                let mut held = self.lock().await?;
                let done = DB::execute(held.connection(), statement).await;
                done.map_err(exec_error)
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                let mut held = self.lock().await?;
                let done = DB::execute_unprepared(held.connection(), sql).await;
                done.map_err(exec_error)
            }

            async fn query_one_raw(
                &self,
                statement: Statement,
            ) -> Result<Option<QueryResult>, DbErr> {
                let mut held = self.lock().await?;
                let row = DB::query_one(held.connection(), statement).await;
                row.map_err(query_error)
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                let mut held = self.lock().await?;
                let rows = DB::query_all(held.connection(), statement).await;
                rows.map_err(query_error)
            }
        }

        #[async_trait]
        impl<DB: Backend> TransactionTrait for $type<DB> {
            type Transaction = SeaSavepoint<DB>;

            async fn begin(&self) -> Result<SeaSavepoint<DB>, DbErr> {
                self.lock().await?.begin().await
            }

            async fn begin_with_config(
                &self,
                isolation_level: Option<IsolationLevel>,
                access_mode: Option<AccessMode>,
            ) -> Result<SeaSavepoint<DB>, DbErr> {
                refuse_config(isolation_level, access_mode)?;
                self.begin().await
            }

            async fn begin_with_options(
                &self,
                options: TransactionOptions,
            ) -> Result<SeaSavepoint<DB>, DbErr> {
                // As in SeaORM, SQLite's mode is one of the outermost transaction only.
                self.begin_with_config(options.isolation_level, options.access_mode)
                    .await
            }

            async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(
                        &'c SeaSavepoint<DB>,
                    )
                        -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
                    + Send,
                T: Send,
                E: fmt::Display + fmt::Debug + Send,
            {
                self.transaction_with_config(callback, None, None).await
            }

            async fn transaction_with_config<F, T, E>(
                &self,
                callback: F,
                isolation_level: Option<IsolationLevel>,
                access_mode: Option<AccessMode>,
            ) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(
                        &'c SeaSavepoint<DB>,
                    )
                        -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
                    + Send,
                T: Send,
                E: fmt::Display + fmt::Debug + Send,
            {
                let savepoint = self
                    .begin_with_config(isolation_level, access_mode)
                    .await
                    .map_err(TransactionError::Connection)?;
                let result = callback(&savepoint).await;
                let ended = if result.is_ok() {
                    savepoint.commit().await
                } else {
                    savepoint.rollback().await
                };
                ended.map_err(TransactionError::Connection)?;
                result.map_err(TransactionError::Transaction)
            }
        }
    };
}

connections!(SeaTransaction);
connections!(SeaSavepoint);

/// A savepoint has the isolation of its transaction.
fn refuse_config(
    isolation_level: Option<IsolationLevel>,
    access_mode: Option<AccessMode>,
) -> Result<(), DbErr> {
    if isolation_level.is_none() && access_mode.is_none() {
        return Ok(());
    }
    Err(DbErr::Custom(
        "a nested transaction can't have an isolation level or an access mode of its own; \
         `isolation = …` of `#[idempotent]` is the handler's"
            .to_owned(),
    ))
}
