//! The types that a handler may take by `&mut` as its transaction.

use std::fmt;
use std::future::Future;

use crate::store::{BoxError, Claim, Store};

mod shared;

pub use self::shared::{HandlerEnded, Locked, Shared, SharedOwner};

/// A type that a handler may take by `&mut` as its transaction; it selects the store.
///
/// Implemented for sqlx's `PgConnection`, `MySqlConnection` and `SqliteConnection`, and for
/// `sqlx::Transaction` of each database. The connection is cheaper: it is in the claim's own
/// transaction, and a nested `begin()` on it is a savepoint. A `sqlx::Transaction` is such a savepoint
/// from the start and costs two more round trips. [`Shared`] is the connection for code that can't hold a
/// borrow.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transaction that a store can open",
    label = "not a transaction",
    note = "take `&mut PgConnection`, `&mut MySqlConnection`, `&mut SqliteConnection`, or `&mut Transaction<'_, _>` or `&mut Shared<_>` of one of them",
    note = "each database is a feature of the adapter crate: `postgres`, `mysql`, `sqlite`"
)]
pub trait Transaction {
    /// The connection below it.
    type Connection: Send;

    /// The store that is used where the attribute names none.
    type Store: Store<Connection = Self::Connection>;

    /// Whether a handler that takes it holds its key by a lease, in place of one open transaction.
    #[doc(hidden)]
    const IS_LEASED: bool = false;
}

/// How a handler borrows a transaction. Generic handlers use it as a bound of their connection:
///
/// ```
/// # use idem_core::{Open, Transaction};
/// trait Ledger: Transaction<Connection = Self> + for<'c> Open<'c> {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transaction that a store can open",
    label = "not a transaction",
    note = "take `&mut PgConnection`, `&mut MySqlConnection`, `&mut SqliteConnection`, or `&mut Transaction<'_, _>` or `&mut Shared<_>` of one of them",
    note = "each database is a feature of the adapter crate: `postgres`, `mysql`, `sqlite`"
)]
pub trait Open<'c>: Transaction {
    /// The opened transaction, which lives while the handler runs.
    type Opened: Send;

    /// Opens the transaction inside the claim's transaction.
    ///
    /// # Errors
    ///
    /// The database's error.
    fn open(
        connection: Borrowed<'c, Self::Connection>,
    ) -> impl Future<Output = Result<Self::Opened, BoxError>> + Send;

    /// The handler's argument.
    fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
    where
        'c: 'r;

    /// Closes the transaction, and keeps or undoes the handler's writes. They are undone by a rollback,
    /// which is possible also after an SQL error.
    ///
    /// # Errors
    ///
    /// The database's error; nothing may be kept then.
    fn close(opened: Self::Opened, keep: bool)
    -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// The connection of a claim, on its way to the handler: as a reference, or as a [`Shared`] handle.
pub struct Borrowed<'c, C>(&'c mut (dyn Lend<C> + 'c));

/// A claim that returns to the engine when it is dropped.
pub(crate) trait Lend<C>: Send {
    fn connection(&mut self) -> &mut C;

    /// Moves the claim out, to where it can live without a borrow.
    fn share(&mut self) -> Box<dyn Claim<Connection = C>>;
}

impl<'c, C> Borrowed<'c, C> {
    pub(crate) fn new(claim: &'c mut (dyn Lend<C> + 'c)) -> Self {
        Self(claim)
    }

    /// The connection, for as long as the handler runs.
    pub fn into_mut(self) -> &'c mut C {
        self.0.connection()
    }

    /// A handle of the connection, and its owner, who ends it.
    pub fn share(self) -> SharedOwner<C> {
        SharedOwner::new(self.0.share())
    }
}

impl<C> fmt::Debug for Borrowed<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrowed").finish_non_exhaustive()
    }
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

            async fn open(connection: Borrowed<'c, Self>) -> Result<Self::Opened, BoxError> {
                Ok(connection.into_mut())
            }

            fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
            where
                'c: 'r,
            {
                opened
            }

            // The claim's transaction is settled afterwards, which keeps or undoes.
            async fn close(_: Self::Opened, _: bool) -> Result<(), BoxError> {
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

            async fn open(connection: Borrowed<'c, $connection>) -> Result<Self, BoxError> {
                Ok(sqlx::Connection::begin(connection.into_mut()).await?)
            }

            fn lend<'r>(opened: &'r mut Self) -> &'r mut Self
            where
                'c: 'r,
            {
                opened
            }

            async fn close(opened: Self, keep: bool) -> Result<(), BoxError> {
                let closed = if keep {
                    opened.commit().await
                } else {
                    opened.rollback().await
                };
                Ok(closed?)
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
