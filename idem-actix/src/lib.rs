//! Exactly-once handlers for actix-web.
//!
//! `#[idempotent]` takes the `Idempotency-Key` of a request, binds the deserialized body to it, and
//! runs the handler in the same database transaction as the key's record and the response that a
//! retry will get. One commit, or nothing.
//!
//! ```
//! use actix_web::http::StatusCode;
//! use actix_web::{App, post, test, web};
//! use idem_actix::{Engine, SqliteStore, idempotent};
//! use serde::{Deserialize, Serialize};
//! use sqlx::SqliteConnection;
//!
//! #[derive(Serialize, Deserialize)]
//! struct NewOrder {
//!     item: String,
//! }
//!
//! #[post("/{tenant}/orders")]
//! #[idempotent(ttl = "24h", scope = "tenant")]
//! async fn create_order(
//!     tx: &mut SqliteConnection,
//!     tenant: web::Path<String>,
//!     order: web::Json<NewOrder>,
//! ) -> (String, StatusCode) {
//!     let inserted = sqlx::query("INSERT INTO orders (tenant, item) VALUES (?, ?)")
//!         .bind(tenant.as_str())
//!         .bind(&order.item)
//!         .execute(tx)
//!         .await;
//!     match inserted {
//!         Ok(_) => (order.into_inner().item, StatusCode::CREATED),
//!         Err(error) => (error.to_string(), StatusCode::INTERNAL_SERVER_ERROR),
//!     }
//! }
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = sqlx::sqlite::SqlitePoolOptions::new()
//!     .max_connections(1)
//!     .connect("sqlite::memory:")
//!     .await?;
//! sqlx::query("CREATE TABLE orders (tenant TEXT, item TEXT)").execute(&pool).await?;
//! let store = SqliteStore::new(pool.clone());
//! store.migrate().await?;
//! let engine = Engine::new(store);
//! let app = App::new().configure(idem_actix::engine(engine)).service(create_order);
//! let app = test::init_service(app).await;
//!
//! for replayed in [None, Some("true")] {
//!     let request = test::TestRequest::post()
//!         .uri("/acme/orders")
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
//! # The handler
//!
//! - Exactly one argument is taken by `&mut`: the transaction. Its type picks the store: see
//!   [`Transaction`].
//! - One argument may be taken by `&`: the [`Attempt`].
//! - All others are extractors, in any order. A [`RequestBody`] among them is bound to the key.
//!   Without one, every extractor has to be a [`RequestPart`].
//! - It returns any type that actix-web accepts as a response. A response can carry a [`Settle`] in
//!   its own extensions, not in the request's, to override how it is settled.
//! - It runs on the request's own task. If the client leaves, it moves to another task on the
//!   worker's thread and runs to its end. It need not be `Send`. Values that are bound to the
//!   request's task, such as `tokio::task_local!`, are available until the client leaves.
//!
//! `#[post("…")]` and its siblings go above or below `#[idempotent]`. `#[utoipa::path]` goes above
//! it, where it sees the extractors. `#[tracing::instrument]` can go anywhere.
//!
//! Limits and error handlers of the extractors stay in force. The whole body is bound to the key.
//! So the part of it that no extractor reads is read as `Bytes` are, within the application's
//! `PayloadConfig`. Only the argument that is bound may read the body, except with
//! `fingerprint = "raw"`: an endpoint where another one has read it answers 500 `misconfigured`.
//!
//! The operation is the pattern that matched, with the scopes around it. Routes that differ only in
//! their guards would be one operation: give each of them a name by `operation`. Without one, the
//! second of them answers 500 `misconfigured`. One handler on two hosts has one operation: make the
//! host part of the scope. The path is bound to the key as it is routed, with percent-encoding
//! undone: `/p%61yments` is the same request as `/payments`.
//!
//! # The engine
//!
//! [`engine`] puts it into the application's data. Clones share their memory of requests in flight.
//! So make one engine, outside of the factory that every worker calls: duplicates then meet on all
//! workers. An application without an engine answers 500 `misconfigured`, and logs the missing
//! type.
//!
//! # Shutdown
//!
//! A worker that stops drops its requests and attempts. Nothing is half done then, but clients get
//! no answer. [`run`] replaces `HttpServer::run`, and waits for the attempts first.
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

mod app;
mod body;
mod detached;
mod installed;
mod payload;
mod request;
mod response;
mod route;
mod serve;

#[doc(inline)]
pub use idem_core::*;
pub use idem_macros::idempotent_actix as idempotent;

pub use self::app::{engine, run, shut_down};
pub use self::body::{RequestBody, RequestPart};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
