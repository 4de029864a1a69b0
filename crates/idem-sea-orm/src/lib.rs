//! [SeaORM](https://docs.rs/sea-orm) 2 in the transaction of idem.
//!
//! A handler of `#[idempotent]` takes [`SeaTransaction`] in place of a connection. It is a
//! `ConnectionTrait` and a `TransactionTrait`, so entities, queries and functions that are written for
//! SeaORM run in the transaction that also has the record of the idempotency key:
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # mod example {
//! use axum::Json;
//! use axum::Router;
//! use axum::body::Body;
//! use axum::extract::FromRef;
//! use axum::http::{Request, StatusCode};
//! use axum::routing::post;
//! use idem_axum::{Engine, SqliteStore, idempotent};
//! use idem_sea_orm::SeaTransaction;
//! use sea_orm::sqlx::Sqlite;
//! use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, Set};
//! use sea_orm::{SqlxSqliteConnector, TransactionTrait};
//! use serde::{Deserialize, Serialize};
//! use tower::ServiceExt as _;
//!
//! mod order {
//!     use sea_orm::entity::prelude::*;
//!
//!     #[derive(Clone, Debug, DeriveEntityModel)]
//!     #[sea_orm(table_name = "orders")]
//!     pub struct Model {
//!         #[sea_orm(primary_key)]
//!         pub id: i64,
//!         pub item: String,
//!     }
//!
//!     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
//!     pub enum Relation {}
//!
//!     impl ActiveModelBehavior for ActiveModel {}
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct NewOrder {
//!     item: String,
//! }
//!
//! #[idempotent(ttl = "24h", unscoped, state = App)]
//! async fn create_order(
//!     tx: &mut SeaTransaction<Sqlite>,
//!     Json(new): Json<NewOrder>,
//! ) -> Result<StatusCode, (StatusCode, String)> {
//!     let added = add(&*tx, new.item).await;
//!     added.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
//!     Ok(StatusCode::CREATED)
//! }
//!
//! /// Written for SeaORM alone: it begins a transaction of its own, which is a savepoint here.
//! async fn add(db: &impl TransactionTrait, item: String) -> Result<(), DbErr> {
//!     let new = order::ActiveModel { item: Set(item), ..Default::default() };
//!     let result = db.transaction(|tx| Box::pin(async move { new.insert(tx).await.map(drop) }));
//!     result.await.map_err(|error: sea_orm::TransactionError<DbErr>| match error {
//!         sea_orm::TransactionError::Connection(error)
//!         | sea_orm::TransactionError::Transaction(error) => error,
//!     })
//! }
//!
//! #[derive(Clone)]
//! struct App {
//!     engine: Engine<SqliteStore>,
//! }
//!
//! impl FromRef<App> for Engine<SqliteStore> {
//!     fn from_ref(app: &App) -> Self {
//!         app.engine.clone()
//!     }
//! }
//!
//! # pub async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! // The store and SeaORM's own connection share one pool.
//! let store = SqliteStore::in_memory().await?;
//! let db = SqlxSqliteConnector::from_sqlx_sqlite_pool(store.pool().clone());
//! db.execute_unprepared("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)").await?;
//! let app = Router::new()
//!     .route("/orders", post(create_order))
//!     .with_state(App { engine: Engine::new(store) });
//!
//! for _ in 0..2 {
//!     let request = Request::post("/orders")
//!         .header("idempotency-key", "8e03978e-40d5")
//!         .header("content-type", "application/json")
//!         .body(Body::from(r#"{"item": "book"}"#))?;
//!     assert_eq!(app.clone().oneshot(request).await?.status(), StatusCode::CREATED);
//! }
//! assert_eq!(order::Entity::find().count(&db).await?, 1);
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #     example::run().await.unwrap();
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! # What holds
//!
//! - **idem alone ends the transaction.** [`SeaTransaction`] has no `commit`. A handler that runs
//!   `COMMIT` by `execute_unprepared` is found out, as with any other connection.
//! - **Errors keep their meaning.** On PostgreSQL an SQL error aborts the transaction, and a handler
//!   that swallows it is answered 500 `transaction-lost`. An error inside of a nested transaction is
//!   undone with that one, and the handler can go on.
//! - **A nested transaction is a savepoint** ([`SeaSavepoint`]) and has the connection for itself. An
//!   isolation level or access mode for it is an error: `isolation = "serializable"` in the attribute is
//!   for the whole transaction.
//! - **A clone ends with the handler.** A task that still uses one then undoes the attempt; see
//!   [`Shared`].
//! - **A handler answers failures by an `Err`** or by a status from 400, as always. A `DbErr` becomes a
//!   response by a type of the application's own.
//!
//! # What SeaORM does outside of it
//!
//! A statement on a `DatabaseConnection` of the application takes another connection of the pool: it is
//! in no transaction of idem, and on SQLite it waits for it. Hooks of `set_metric_callback` see no statement of
//! a [`SeaTransaction`], as they belong to a `DatabaseConnection`.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | `SeaTransaction<Sqlite>` |
//! | `postgres` | `SeaTransaction<Postgres>` |
//! | `mysql` | `SeaTransaction<MySql>`, for MariaDB and MySQL |
//! | `stream` | `StreamTrait`, for results that are read row by row |
//!
//! SeaORM's features, such as `macros` and `with-uuid`, are those of the application's own dependency on
//! it. SeaORM's `sqlx-sqlite` builds SQLite with the loading of extensions, which idem doesn't need.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
// Without a database there is nothing to connect.
#![cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]

use std::fmt;

use idem_core::store::BoxError;
use idem_core::{Borrowed, Open, Shared, SharedOwner, Transaction};
use sea_orm::DbErr;

mod connection;
mod driver;
mod savepoint;
#[cfg(feature = "stream")]
mod stream;

pub use self::driver::Backend;
pub use self::savepoint::SeaSavepoint;
#[cfg(feature = "stream")]
pub use self::stream::SeaStream;

use self::driver::connection_error;
use self::savepoint::Below;

/// The handler's transaction, as SeaORM takes it.
///
/// A handler takes it by `&mut`, and passes it by `&` to each method of SeaORM that takes a
/// `ConnectionTrait` or a `TransactionTrait`. `DB` is sqlx's name of the database:
/// `sea_orm::sqlx::{Postgres, MySql, Sqlite}`. Its clones are the same transaction and take turns; they
/// end with the handler, as those of [`Shared`] do.
pub struct SeaTransaction<DB: Backend>(Shared<DB::Connection>);

impl<DB: Backend> SeaTransaction<DB> {
    /// The connection, for statements without SeaORM in the same transaction.
    pub fn shared(&self) -> &Shared<DB::Connection> {
        &self.0
    }

    async fn lock(&self) -> Result<Below<DB>, DbErr> {
        let locked = self.0.lock().await.map_err(connection_error)?;
        Ok(Below::Handler(locked))
    }
}

// Hidden: rustdoc would link to private modules of idem-core.
#[doc(hidden)]
impl<DB: Backend> Transaction for SeaTransaction<DB> {
    type Connection = DB::Connection;
    type Store = <DB::Connection as Transaction>::Store;
}

#[doc(hidden)]
impl<'c, DB: Backend> Open<'c> for SeaTransaction<DB> {
    type Opened = (Self, SharedOwner<DB::Connection>);

    async fn open(connection: Borrowed<'c, DB::Connection>) -> Result<Self::Opened, BoxError> {
        let owner = connection.share();
        Ok((Self(owner.clone()), owner))
    }

    fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
    where
        'c: 'r,
    {
        &mut opened.0
    }

    // The claim's transaction is settled afterwards, which keeps or undoes.
    async fn close(_: Self::Opened, _: bool) -> Result<(), BoxError> {
        Ok(())
    }
}

/// For work without HTTP, by [`Engine::once_shared`](idem_core::Engine::once_shared):
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// # use idem_core::once::{Failure, Key, Once, Policy};
/// # use idem_core::{Engine, SqliteStore};
/// # use idem_sea_orm::SeaTransaction;
/// # use sea_orm::sqlx::Sqlite;
/// # use sea_orm::{ConnectionTrait as _, DbErr};
/// # let store = SqliteStore::in_memory().await?;
/// # let table = "CREATE TABLE orders (item TEXT)";
/// # sea_orm::sqlx::query(table).execute(store.pool()).await?;
/// # let engine = Engine::new(store);
/// static IMPORT: Policy = Policy::new("import", Duration::from_hours(24));
///
/// let work = engine.once_shared(&IMPORT, Key::unscoped("8e03"), "book", async |tx, _| {
///     let db = SeaTransaction::<Sqlite>::from(tx);
///     let inserted = db.execute_unprepared("INSERT INTO orders VALUES ('book')").await;
///     let rows = inserted.map(|inserted| inserted.rows_affected());
///     rows.map_err(Failure::<DbErr>::Again)
/// });
/// assert_eq!(work.await?, Once::Fresh(1));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
impl<DB: Backend> From<Shared<DB::Connection>> for SeaTransaction<DB> {
    fn from(shared: Shared<DB::Connection>) -> Self {
        Self(shared)
    }
}

impl<DB: Backend> Clone for SeaTransaction<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Backend> fmt::Debug for SeaTransaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaTransaction").finish_non_exhaustive()
    }
}

#[cfg(all(doctest, feature = "postgres"))]
#[doc = include_str!("../README.md")]
struct Readme;
