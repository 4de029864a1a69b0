//! Exactly-once handlers for actix-web.
//!
//! `#[idempotent]` takes the `Idempotency-Key` of a request, binds the deserialized body to it, and
//! runs the handler in the same database transaction as the key's record and the response that a
//! retry will get. One commit, or nothing.
//!
//! ```
//! use std::borrow::Cow;
//! use std::future::{Ready, ready};
//!
//! use actix_web::dev::Payload;
//! use actix_web::error::{ErrorInternalServerError, ErrorUnauthorized};
//! use actix_web::http::StatusCode;
//! use actix_web::{App, Error, FromRequest, HttpRequest, post, test, web};
//! use idem_actix::{Engine, Scope, SqliteStore, idempotent};
//! use serde::{Deserialize, Serialize};
//! use sqlx::SqliteConnection;
//!
//! #[derive(Serialize, Deserialize)]
//! struct NewOrder {
//!     item: String,
//! }
//!
//! #[post("/orders")]
//! #[idempotent(ttl = "24h", scope = "tenant")]
//! async fn create_order(
//!     tx: &mut SqliteConnection,
//!     tenant: Tenant,
//!     order: web::Json<NewOrder>,
//! ) -> Result<(String, StatusCode), Error> {
//!     sqlx::query("INSERT INTO orders (tenant, item) VALUES (?, ?)")
//!         .bind(&tenant.0)
//!         .bind(&order.item)
//!         .execute(tx)
//!         .await
//!         .map_err(ErrorInternalServerError)?;
//!     Ok((order.into_inner().item, StatusCode::CREATED))
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
//! impl FromRequest for Tenant {
//!     type Error = Error;
//!     type Future = Ready<Result<Self, Error>>;
//!
//!     fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
//!         // A service looks the token up, or verifies its signature.
//!         let header = request.headers().get("authorization");
//!         ready(match header.and_then(|value| value.to_str().ok()) {
//!             Some("Bearer 6f1c") => Ok(Self("acme".to_owned())),
//!             _ => Err(ErrorUnauthorized("send a token")),
//!         })
//!     }
//! }
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // For a test. A service has `SqliteStore::new(pool)`, and calls `migrate()` on it.
//! let store = SqliteStore::in_memory().await?;
//! let pool = store.pool().clone();
//! sqlx::query("CREATE TABLE orders (tenant TEXT, item TEXT)").execute(&pool).await?;
//! let engine = Engine::new(store);
//! let app = App::new().configure(idem_actix::engine(engine)).service(create_order);
//! let app = test::init_service(app).await;
//!
//! for replayed in [None, Some("true")] {
//!     let request = test::TestRequest::post()
//!         .uri("/orders")
//!         .insert_header(("authorization", "Bearer 6f1c"))
//!         .insert_header(("idempotency-key", "8e03978e-40d5"))
//!         .set_json(NewOrder { item: "book".to_owned() })
//!         .to_request();
//!     let response = test::call_service(&app, request).await;
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
//! A whole service, with its manifest, its shutdown, limits, cookies and logs, is
//! [a page of its own](_documentation::actix).
//!
//! # The handler
//!
//! - Exactly one argument is taken by `&mut`: the transaction. Its type picks the store: see
//!   [`Transaction`].
//! - One argument may be taken by `&`: the [`Attempt`].
//! - All others are extractors, in any order. A [`RequestBody`] among them is bound to the key.
//!   Without one, every extractor has to be a [`RequestPart`]. An argument that reads the body and is
//!   not the bound one is answered 500 `misconfigured`.
//! - It returns any type that actix-web accepts as a response. An `Err` undoes the writes, whatever
//!   its status, and a [`Settle`] in the response's extensions overrides that. In the request's
//!   extensions it is answered 500 `misconfigured`, and so is a return type that hides a `Result`,
//!   such as `impl Responder`.
//! - It runs on the request's own task. If the client leaves, it moves to another task on the
//!   worker's thread and runs to its end. It need not be `Send`. Values that are bound to the
//!   request's task, such as `tokio::task_local!`, are available until the client leaves.
//!
//! `#[post("…")]` and its siblings go above or below `#[idempotent]`; `#[utoipa::path]` goes below, and
//! they below it. `#[tracing::instrument]` can go anywhere. If a handler does not compile, see
//! [this page](_documentation::compiling).
//!
//! Limits and error handlers of the extractors stay in force. The whole body is bound to the key.
//! So the part of it that no extractor reads is read as `Bytes` are, within the application's
//! `PayloadConfig`. Only the argument that is bound may read the body, except with
//! `fingerprint = "raw"`: an endpoint where another one has read it answers 500 `misconfigured`.
//!
//! The operation is the pattern that matched, with the scopes around it. Where only a guard or a host
//! tells two handlers apart, each needs a name by `operation`: without one, the second to get a
//! request answers 500 `misconfigured`. One handler on two hosts has one operation: make the host part
//! of the scope. The path is bound to the key as it is routed, with percent-encoding undone:
//! `/p%61yments` is the same request as `/payments`.
//!
//! # The engine
//!
//! [`engine`] puts it into the application's data. Clones share their memory of requests in flight.
//! So make one engine, outside of the factory that every worker calls: duplicates then meet on all
//! workers. An application without an engine answers 500 `misconfigured`, and logs the missing
//! type. So does one with two engines of one type: an application with two databases of one kind
//! names each by a [`Provider`] and `store = …`.
//!
//! - **`migrate()` first.** Without the store's tables, every protected request is answered 500
//!   `misconfigured`.
//! - **HEAD is refused**, with 500 `misconfigured`, and so is a GET whose key would be in a header: they should
//!   not have effects.
//! - **A database in memory** lives as long as one of its connections: see
//!   [`SqliteStore::in_memory`].
//!
//! # Answers with status 422
//!
//! | from | because | mark | the key |
//! |---|---|---|---|
//! | idem | the key was used for another request | `application/problem+json`, with a `type` that ends in `#key-reused` | belongs to the first request |
//! | the handler | what the application says | `Idempotency-Expires` | is recorded: a corrected request needs a new key |
//! | an error handler of `JsonConfig` | the body is not valid, if it answers so; by default the status is 400 | no header of idem | stays free |
//!
//! # Shutdown
//!
//! A worker that stops drops its requests and attempts. Nothing is half done then, but clients get
//! no answer. [`run`] in place of `HttpServer::run` waits for SIGTERM or SIGINT, and then for the
//! attempts, before it stops the workers. [`shut_down`] does the last part for an application that
//! waits for signals itself.
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

mod app;
mod before_handler;
mod body;
mod detached;
mod installed;
mod locate;
#[cfg(feature = "multipart")]
mod multipart;
mod payload;
mod request;
mod response;
mod route;
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
pub use idem_macros::idempotent_actix as idempotent;

pub use self::app::{engine, run, shut_down};
pub use self::before_handler::before_handler;
pub use self::body::{RequestBody, RequestPart};
#[cfg(feature = "multipart")]
pub use self::multipart::{Multipart, PartContent, Sink, Spool};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
