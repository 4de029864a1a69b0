//! Exactly-once handlers for axum.
//!
//! `#[idempotent]` takes the `Idempotency-Key` of a request, binds the deserialized body to it, and
//! runs the handler in the same database transaction as the key's record and the response that a
//! retry will get. One commit, or nothing.
//!
//! ```
//! use std::borrow::Cow;
//!
//! use axum::extract::{FromRef, FromRequestParts};
//! use axum::http::{Request, StatusCode, request::Parts};
//! use axum::{Json, Router, routing::post};
//! use idem_axum::{Engine, Scope, SqliteStore, idempotent};
//! use serde::{Deserialize, Serialize};
//! use sqlx::SqliteConnection;
//! use tower::ServiceExt as _;
//!
//! #[derive(Serialize, Deserialize)]
//! struct NewOrder {
//!     item: String,
//! }
//!
//! #[idempotent(ttl = "24h", scope = "tenant", state = App)]
//! async fn create_order(
//!     tx: &mut SqliteConnection,
//!     tenant: Tenant,
//!     Json(order): Json<NewOrder>,
//! ) -> Result<(StatusCode, String), StatusCode> {
//!     sqlx::query("INSERT INTO orders (tenant, item) VALUES (?, ?)")
//!         .bind(&tenant.0)
//!         .bind(&order.item)
//!         .execute(tx)
//!         .await
//!         .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     Ok((StatusCode::CREATED, order.item))
//! }
//!
//! /// The owner of the keys: the tenant to whom the token of the request belongs.
//! struct Tenant(String);
//!
//! impl Scope for Tenant {
//!     fn scope(&self) -> Cow<'_, str> {
//!         Cow::Borrowed(&self.0)
//!     }
//! }
//!
//! impl<S: Sync> FromRequestParts<S> for Tenant {
//!     type Rejection = StatusCode;
//!
//!     async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
//!         // A service looks the token up, or verifies its signature.
//!         let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
//!         match header {
//!             Some("Bearer 6f1c") => Ok(Self("acme".to_owned())),
//!             _ => Err(StatusCode::UNAUTHORIZED),
//!         }
//!     }
//! }
//!
//! /// The router's state. The attribute finds the engine in it.
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
//! // For a test. A service has `SqliteStore::new(pool)`, and calls `migrate()` on it.
//! let store = SqliteStore::in_memory().await?;
//! let pool = store.pool().clone();
//! sqlx::query("CREATE TABLE orders (tenant TEXT, item TEXT)").execute(&pool).await?;
//! let app = Router::new()
//!     .route("/orders", post(create_order))
//!     .with_state(App { engine: Engine::new(store) });
//!
//! for replayed in [None, Some("true")] {
//!     let request = Request::post("/orders")
//!         .header("authorization", "Bearer 6f1c")
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
//!   [`RequestBody`]. A last argument that reads no body, such as the claims of a token, needs no
//!   option if it is an extractor for every state, or with `state = App`; otherwise
//!   `body = "none"` says so.
//! - It returns any type that axum accepts as a response. An `Err` undoes the writes, whatever its
//!   status, and a [`Settle`] in the response overrides that. A return type that hides a `Result`,
//!   such as `impl IntoResponse`, is answered 500 `misconfigured`.
//! - It runs on the request's own task. If the client leaves, it moves to a task of its own and
//!   runs to its end. So arguments are `Send + 'static`. Values that are bound to the request's
//!   task, such as `tokio::task_local!`, are available until the client leaves.
//!
//! `#[axum::debug_handler]` goes below `#[idempotent]`, and so does `#[utoipa::path]`.
//! `#[tracing::instrument]` can go anywhere. If a handler does not compile, see
//! [this page](_documentation::compiling).
//!
//! # The engine
//!
//! It is in the router's state. `state = App` lets the compiler check every argument and the engine
//! against that state, and name what is missing. Without it, a mistake in the state is an error of
//! axum's `Handler`.
//!
//! - **`migrate()` first.** Without the store's tables, every protected request is answered 500
//!   `misconfigured`.
//! - **HEAD is refused**, with 500 `misconfigured`, and so is a GET whose key would be in a header: they should
//!   not have effects.
//! - **Two handlers on one route need names.** Where only a host or a router tells two handlers
//!   apart, each needs an `operation`: without one, the handler whose request comes second is answered
//!   500 `misconfigured`.
//! - **A database in memory** lives as long as one of its connections: see
//!   [`SqliteStore::in_memory`].
//! - **Shutdown**: after `with_graceful_shutdown`, wait for [`Engine::drain`].
//!
//! # Three answers with status 422
//!
//! | from | because | mark | the key |
//! |---|---|---|---|
//! | axum's `Json` or `Form` | the body has the wrong shape | `text/plain`, without a header of idem | stays free |
//! | idem | the key was used for another request | `application/problem+json`, with a `type` that ends in `#key-reused` | belongs to the first request |
//! | the handler | what the application says | `Idempotency-Expires` | is recorded: a corrected request needs a new key |
//!
//! # OpenAPI
//!
//! With the feature `utoipa`, a `#[utoipa::path]` below `#[idempotent]` gets the endpoint's contract, and
//! `Engine::describe` completes the document: the key's parameter, the problem documents by status, the headers of a
//! replay. [A recipe](_documentation::recipes#an-openapi-document) has an example.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | [`SqliteStore`], on the SQLite that sqlx bundles |
//! | `postgres` | [`PostgresStore`] |
//! | `mysql` | [`MySqlStore`], for MariaDB and MySQL |
//! | `uuid` | [`Scope`] for `uuid::Uuid` |
//! | `rate-limit` | [`RateLimit`], for each key and each scope |
//! | `multipart` | [`Multipart`], for uploads |
//! | `metrics` | counters, gauges and histograms, through the crate `metrics` |
//! | `seal` | [`Seal`], for encrypted records |
//! | `utoipa` | `Engine::describe`, for OpenAPI documents |
//!
//! # More
//!
//! The [contract](_documentation::contract) has the rules that clients can rely on. How to
//! [choose](_documentation::choosing) the arguments, to [test](_documentation::testing) handlers,
//! and to [operate](_documentation::operating) a service are pages of their own.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod before_handler;
mod body;
mod locate;
#[cfg(feature = "multipart")]
mod multipart;
mod request;
mod response;
mod serve;

#[doc(inline)]
pub use idem_core::*;
// Named once more, so that their pages name the feature.
#[cfg(feature = "mysql")]
#[doc(inline)]
pub use idem_core::MySqlStore;
#[cfg(feature = "rate-limit")]
#[doc(inline)]
pub use idem_core::RateLimit;
#[cfg(feature = "seal")]
#[doc(inline)]
pub use idem_core::Seal;
#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use idem_core::SqliteStore;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use idem_core::metrics;
#[cfg(feature = "postgres")]
#[doc(inline)]
pub use idem_core::{PostgresStore, TimeLimit};
pub use idem_macros::idempotent_axum as idempotent;

pub use self::before_handler::before_handler;
pub use self::body::RequestBody;
#[cfg(feature = "multipart")]
pub use self::multipart::{Multipart, PartContent, PartError, Sink, Spool};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
