//! Exactly-once handlers for axum.
//!
//! `#[idempotent]` takes the `Idempotency-Key` of a request, binds the deserialized body to it, and
//! runs the handler in the same database transaction as the key's record and the response that a
//! retry will get. One commit, or nothing.
//!
//! ```
//! use axum::extract::{FromRef, Path};
//! use axum::http::{Request, StatusCode};
//! use axum::{Json, Router, routing::post};
//! use idem_axum::{Engine, SqliteStore, idempotent};
//! use serde::{Deserialize, Serialize};
//! use sqlx::SqliteConnection;
//! use tower::ServiceExt as _;
//!
//! #[derive(Serialize, Deserialize)]
//! struct NewOrder {
//!     item: String,
//! }
//!
//! #[idempotent(ttl = "24h", scope = "tenant")]
//! async fn create_order(
//!     tx: &mut SqliteConnection,
//!     Path(tenant): Path<String>,
//!     Json(order): Json<NewOrder>,
//! ) -> (StatusCode, String) {
//!     let inserted = sqlx::query("INSERT INTO orders (tenant, item) VALUES (?, ?)")
//!         .bind(&tenant)
//!         .bind(&order.item)
//!         .execute(tx)
//!         .await;
//!     match inserted {
//!         Ok(_) => (StatusCode::CREATED, order.item),
//!         Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
//!     }
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
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = sqlx::sqlite::SqlitePoolOptions::new()
//!     .max_connections(1)
//!     .connect("sqlite::memory:")
//!     .await?;
//! sqlx::query("CREATE TABLE orders (tenant TEXT, item TEXT)").execute(&pool).await?;
//! let store = SqliteStore::new(pool.clone());
//! store.migrate().await?;
//! let app = Router::new()
//!     .route("/{tenant}/orders", post(create_order))
//!     .with_state(App { engine: Engine::new(store) });
//!
//! for replayed in [None, Some("true")] {
//!     let request = Request::post("/acme/orders")
//!         .header("idempotency-key", "8e03978e-40d5")
//!         .header("content-type", "application/json")
//!         .body(r#"{"item": "book"}"#.to_owned())?;
//!     let response = app.clone().oneshot(request).await?;
//!     assert_eq!(response.status(), StatusCode::CREATED);
//!     let header = response.headers().get("idempotency-replayed");
//!     assert_eq!(header.map(|value| value.as_bytes()), replayed.map(str::as_bytes));
//! }
//! let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&pool).await?;
//! assert_eq!(orders, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # The handler
//!
//! - Exactly one argument is taken by `&mut`: the transaction. Its type picks the store: see
//!   [`Transaction`].
//! - One argument may be taken by `&`: the [`Attempt`].
//! - All others are extractors. The last one is the body, and is bound to the key: see
//!   [`RequestBody`].
//! - It returns any type that axum accepts as a response. A response can carry a [`Settle`] in an
//!   [`Extension`](axum::Extension) to override how it is settled:
//!   `(StatusCode::PAYMENT_REQUIRED, Extension(Settle::Commit), "declined, and kept")`.
//! - It runs on the request's own task. If the client leaves, it moves to a task of its own and
//!   runs to its end. So arguments are `Send + 'static`. Values that are bound to the request's
//!   task, such as `tokio::task_local!`, are available until the client leaves.
//!
//! `#[axum::debug_handler]` goes below `#[idempotent]`. `#[utoipa::path]` goes above it, where it
//! sees the extractors. `#[tracing::instrument]` can go anywhere.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | [`SqliteStore`], on the SQLite that sqlx bundles |
//! | `postgres` | [`PostgresStore`] |
//! | `mysql` | [`MySqlStore`], for MariaDB and MySQL |
//! | `uuid` | [`Scope`] for `uuid::Uuid` |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod request;
mod response;
mod serve;

#[doc(inline)]
pub use idem_core::*;
pub use idem_macros::idempotent_axum as idempotent;

pub use self::body::RequestBody;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
