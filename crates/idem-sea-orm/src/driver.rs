//! What SeaORM's statements need of a database of sqlx.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sea_orm::{DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};

/// A database of sqlx that SeaORM knows: `Postgres`, `MySql` and `Sqlite`, each with its feature.
pub trait Backend:
    sqlx::Database<Connection: idem_core::Transaction<Connection = Self::Connection> + 'static> + Driver
{
}

/// The statements, with the concrete types of a driver. Sealed, as it is not exported.
pub trait Driver: sqlx::Database {
    const BACKEND: DbBackend;

    fn execute(
        connection: &mut Self::Connection,
        statement: Statement,
    ) -> BoxFuture<'_, sqlx::Result<ExecResult>>;

    fn execute_unprepared<'a>(
        connection: &'a mut Self::Connection,
        sql: &'a str,
    ) -> BoxFuture<'a, sqlx::Result<ExecResult>>;

    fn query_one(
        connection: &mut Self::Connection,
        statement: Statement,
    ) -> BoxFuture<'_, sqlx::Result<Option<QueryResult>>>;

    fn query_all(
        connection: &mut Self::Connection,
        statement: Statement,
    ) -> BoxFuture<'_, sqlx::Result<Vec<QueryResult>>>;

    fn stream(
        connection: &mut Self::Connection,
        statement: Statement,
    ) -> BoxStream<'_, sqlx::Result<QueryResult>>;
}

pub(crate) fn exec_error(error: impl Into<sqlx::Error>) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error.into())))
}

pub(crate) fn query_error(error: impl Into<sqlx::Error>) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(error.into())))
}

pub(crate) fn connection_error(error: impl Into<sqlx::Error>) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error.into())))
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
macro_rules! drivers {
    ($database:ty, $backend:ident) => {
        impl Backend for $database {}

        impl Driver for $database {
            const BACKEND: DbBackend = DbBackend::$backend;

            fn execute(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxFuture<'_, sqlx::Result<ExecResult>> {
                let query = query::<Self>(statement).execute(connection);
                Box::pin(async { query.await.map(Into::into) })
            }

            fn execute_unprepared<'a>(
                connection: &'a mut Self::Connection,
                sql: &'a str,
            ) -> BoxFuture<'a, sqlx::Result<ExecResult>> {
                let query = sqlx::Executor::execute(connection, AssertSqlSafe(sql));
                Box::pin(async { query.await.map(Into::into) })
            }

            fn query_one(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxFuture<'_, sqlx::Result<Option<QueryResult>>> {
                let query = query::<Self>(statement).fetch_optional(connection);
                Box::pin(async { Ok(query.await?.map(Into::into)) })
            }

            fn query_all(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxFuture<'_, sqlx::Result<Vec<QueryResult>>> {
                let query = query::<Self>(statement).fetch_all(connection);
                Box::pin(async { Ok(query.await?.into_iter().map(Into::into).collect()) })
            }

            fn stream(
                connection: &mut Self::Connection,
                statement: Statement,
            ) -> BoxStream<'_, sqlx::Result<QueryResult>> {
                query::<Self>(statement)
                    .fetch(connection)
                    .map_ok(Into::into)
                    .boxed()
            }
        }
    };
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
use {
    futures_util::{StreamExt as _, TryStreamExt as _},
    sea_query_sqlx::SqlxValues,
    sqlx::AssertSqlSafe,
    sqlx::query::Query,
};

/// The statement as sqlx takes it. SeaORM has built its text, and the values are bound.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
fn query<'q, DB>(statement: Statement) -> Query<'q, DB, SqlxValues>
where
    DB: sqlx::Database,
    SqlxValues: sqlx::IntoArguments<DB>,
{
    let values = statement
        .values
        .unwrap_or_else(|| sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

#[cfg(feature = "postgres")]
drivers!(sqlx::Postgres, Postgres);

#[cfg(feature = "mysql")]
drivers!(sqlx::MySql, MySql);

#[cfg(feature = "sqlite")]
drivers!(sqlx::Sqlite, Sqlite);
