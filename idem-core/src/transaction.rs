//! What a handler may take by `&mut`.

use std::future::Future;

use crate::store::{BoxError, Store};

/// A type that a handler may take by `&mut` as its transaction; it says which store is meant.
///
/// Implemented for sqlx's `PgConnection`, `MySqlConnection` and `SqliteConnection`, and for
/// `sqlx::Transaction` of each database. The connection is the cheaper one: it is the claim's own transaction, and a
/// nested `begin()` on it is a savepoint. A `sqlx::Transaction` is such a savepoint from the start
/// and costs two more round trips.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no transaction that a store can open",
    label = "not a transaction",
    note = "take `&mut PgConnection`, `&mut MySqlConnection`, `&mut SqliteConnection`, or `&mut Transaction<'_, _>` of one of them",
    note = "each database is a feature of the adapter crate: `postgres`, `mysql`, `sqlite`"
)]
pub trait Transaction {
    /// The connection below it.
    type Connection: Send;

    /// The store that is used where the attribute names none.
    type Store: Store<Connection = Self::Connection>;
}

/// How a transaction is lent to a handler. Generic handlers bound their connection by it:
///
/// ```
/// use idem_core::{Open, Transaction};
///
/// trait Ledger: Transaction<Connection = Self> + for<'c> Open<'c> {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no transaction that a store can open",
    label = "not a transaction",
    note = "take `&mut PgConnection`, `&mut MySqlConnection`, `&mut SqliteConnection`, or `&mut Transaction<'_, _>` of one of them",
    note = "each database is a feature of the adapter crate: `postgres`, `mysql`, `sqlite`"
)]
pub trait Open<'c>: Transaction {
    /// What lives while the handler runs.
    type Opened: Send;

    /// Opens it inside the claim's transaction.
    ///
    /// # Errors
    ///
    /// Whatever the database reports.
    fn open(
        connection: &'c mut Self::Connection,
    ) -> impl Future<Output = Result<Self::Opened, BoxError>> + Send;

    /// What the handler takes.
    fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
    where
        'c: 'r;

    /// Closes it, keeping what was written.
    ///
    /// # Errors
    ///
    /// Whatever the database reports; nothing may be kept then.
    fn close(opened: Self::Opened) -> impl Future<Output = Result<(), BoxError>> + Send;
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
macro_rules! transactions {
    ($database:ty, $connection:ty, $store:ty) => {
        #[diagnostic::do_not_recommend]
        impl Transaction for $connection {
            type Connection = Self;
            type Store = $store;
        }

        #[diagnostic::do_not_recommend]
        impl<'c> Open<'c> for $connection {
            type Opened = &'c mut Self;

            async fn open(connection: &'c mut Self) -> Result<Self::Opened, BoxError> {
                Ok(connection)
            }

            fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
            where
                'c: 'r,
            {
                opened
            }

            async fn close(_: Self::Opened) -> Result<(), BoxError> {
                Ok(())
            }
        }

        #[diagnostic::do_not_recommend]
        impl Transaction for sqlx::Transaction<'_, $database> {
            type Connection = $connection;
            type Store = $store;
        }

        #[diagnostic::do_not_recommend]
        impl<'c> Open<'c> for sqlx::Transaction<'c, $database> {
            type Opened = Self;

            async fn open(connection: &'c mut $connection) -> Result<Self, BoxError> {
                Ok(sqlx::Connection::begin(connection).await?)
            }

            fn lend<'r>(opened: &'r mut Self) -> &'r mut Self
            where
                'c: 'r,
            {
                opened
            }

            async fn close(opened: Self) -> Result<(), BoxError> {
                Ok(opened.commit().await?)
            }
        }
    };
}

#[cfg(feature = "postgres")]
transactions!(
    sqlx::Postgres,
    sqlx::PgConnection,
    crate::store::PostgresStore
);

#[cfg(feature = "mysql")]
transactions!(sqlx::MySql, sqlx::MySqlConnection, crate::store::MySqlStore);

#[cfg(feature = "sqlite")]
transactions!(
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    crate::store::SqliteStore
);
