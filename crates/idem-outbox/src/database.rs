//! The databases.
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code, reason = "each database uses a part of it")
)]

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use idem_core::{Store, StoreError};

use crate::message::Stored;
use crate::sql::Sql;

/// A store whose database can hold an outbox: `PostgresStore`, `MySqlStore` or `SqliteStore`.
pub trait OutboxStore: Store + Clone + Debug {
    /// The statements, for a table next to the store's.
    #[doc(hidden)]
    fn sql(&self) -> Sql;

    #[doc(hidden)]
    fn migrate_outbox(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes and deletes in a transaction that is rolled back.
    #[doc(hidden)]
    fn rehearse(
        &self,
        sql: &Sql,
        message: Insert<'_>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes a message in the transaction of a handler.
    #[doc(hidden)]
    fn insert(
        connection: &mut Self::Connection,
        sql: &Sql,
        message: Insert<'_>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Leases messages.
    #[doc(hidden)]
    fn lease(
        &self,
        sql: &Sql,
        limit: u32,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Stored>, StoreError>> + Send;

    /// Runs statements, and returns the number of rows that they changed.
    #[doc(hidden)]
    fn change(&self, statements: String) -> impl Future<Output = Result<u64, StoreError>> + Send;

    #[doc(hidden)]
    fn messages(
        &self,
        select: String,
    ) -> impl Future<Output = Result<Vec<Stored>, StoreError>> + Send;

    /// The three numbers of [`Sql::stats`].
    #[doc(hidden)]
    fn numbers(
        &self,
        select: String,
    ) -> impl Future<Output = Result<(i64, i64, Option<i64>), StoreError>> + Send;
}

/// A message that is not yet in the table.
#[derive(Debug, Clone, Copy)]
pub struct Insert<'a> {
    pub(crate) id: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
}

/// Sends the statements on a connection of sqlx. A future that is dropped closes its connection.
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    expect(unused_macros, reason = "each database uses it")
)]
macro_rules! outbox_store {
    (
        $store:ty, $connection:ty, dialect: $dialect:expr, script: $script:literal, begin: $begin:literal,
        lease: $lease_due:path
    ) => {
        impl $crate::database::OutboxStore for $store {
            fn sql(&self) -> $crate::sql::Sql {
                let is_persistent = Place::has_names(self);
                $crate::sql::Sql::new($dialect, Place::table(self, "outbox"), is_persistent)
            }

            async fn migrate_outbox(&self) -> Result<(), StoreError> {
                Place::apply(self, "outbox", &[include_str!($script)]).await
            }

            async fn rehearse(
                &self,
                sql: &$crate::sql::Sql,
                message: $crate::database::Insert<'_>,
            ) -> Result<(), StoreError> {
                let rehearsed = async {
                    let mut connection = CheckedConnection::acquire(Place::pool(self)).await?;
                    connection.begin($begin.into_sql_str()).await?;
                    Self::insert(&mut connection, sql, message).await?;
                    let stored = select(&mut connection, sql.find(message.id)).await?;
                    execute(&mut connection, sql.update_and_delete(message.id)).await?;
                    connection.rollback().await?;
                    connection.release();
                    Ok(stored.len())
                };
                match rehearsed.await.map_err(<Self as Place>::error)? {
                    1 => Ok(()),
                    _ => Err(StoreError::Misconfigured(
                        "a message that was just pushed can't be read".into(),
                    )),
                }
            }

            async fn insert(
                connection: &mut $connection,
                sql: &$crate::sql::Sql,
                message: $crate::database::Insert<'_>,
            ) -> sqlx::Result<()> {
                let insert = sqlx::query(AssertSqlSafe(sql.insert.clone()));
                let insert = insert.persistent(sql.is_persistent);
                let insert = insert
                    .bind(message.id)
                    .bind(message.topic)
                    .bind(message.payload);
                insert.execute(connection).await.map(drop)
            }

            async fn lease(
                &self,
                sql: &$crate::sql::Sql,
                limit: u32,
                lease: std::time::Duration,
            ) -> Result<Vec<$crate::message::Stored>, StoreError> {
                let leased = async {
                    let mut connection = CheckedConnection::acquire(Place::pool(self)).await?;
                    let leased = $lease_due(&mut connection, sql, limit, lease).await?;
                    connection.release();
                    Ok(leased)
                };
                leased.await.map_err(<Self as Place>::error)
            }

            async fn change(&self, statements: String) -> Result<u64, StoreError> {
                let changed = async {
                    let mut connection = CheckedConnection::acquire(Place::pool(self)).await?;
                    let changed = execute(&mut connection, statements).await?;
                    connection.release();
                    Ok(changed)
                };
                changed.await.map_err(<Self as Place>::error)
            }

            async fn messages(
                &self,
                text: String,
            ) -> Result<Vec<$crate::message::Stored>, StoreError> {
                let messages = async {
                    let mut connection = CheckedConnection::acquire(Place::pool(self)).await?;
                    let messages = select(&mut connection, text).await?;
                    connection.release();
                    Ok(messages)
                };
                messages.await.map_err(<Self as Place>::error)
            }

            async fn numbers(&self, text: String) -> Result<(i64, i64, Option<i64>), StoreError> {
                let numbers = async {
                    let mut connection = CheckedConnection::acquire(Place::pool(self)).await?;
                    let row = sqlx::raw_sql(AssertSqlSafe(text))
                        .fetch_one(&mut *connection)
                        .await?;
                    connection.release();
                    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
                };
                numbers.await.map_err(<Self as Place>::error)
            }
        }

        async fn execute(connection: &mut $connection, statements: String) -> sqlx::Result<u64> {
            let done = sqlx::raw_sql(AssertSqlSafe(statements))
                .execute(connection)
                .await;
            Ok(done?.rows_affected())
        }

        async fn select(
            connection: &mut $connection,
            text: String,
        ) -> sqlx::Result<Vec<$crate::message::Stored>> {
            let rows = sqlx::raw_sql(AssertSqlSafe(text))
                .fetch_all(connection)
                .await?;
            let stored = rows.iter().map(|row| {
                Ok($crate::message::Stored {
                    id: row.try_get(0)?,
                    topic: row.try_get(1)?,
                    payload: row.try_get(2)?,
                    failures: row.try_get(3)?,
                    pushed_at: row.try_get(4)?,
                    due_at: row.try_get(5)?,
                    died_at: row.try_get(6)?,
                    last_error: row.try_get(7)?,
                })
            });
            stored.collect()
        }
    };
}

// They use the macro.
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
