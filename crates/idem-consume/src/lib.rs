//! Exactly-once consumers of messages and jobs.
//!
//! `#[idempotent]` takes the id of a message as its key, and runs the consumer in the same database transaction as the
//! key's record. One commit, or nothing. A broker delivers a message at least once; with its record in your database it
//! takes effect once.
//!
//! ```
//! # use std::sync::{Arc, Mutex};
//! use idem_consume::{Consumer, Delivery, Engine, Event, Failure, SqliteStore, Verdict, idempotent};
//! use serde::{Deserialize, Serialize};
//! use sqlx::SqliteConnection;
//!
//! #[derive(Serialize, Deserialize)]
//! struct OrderPaid {
//!     id: String,
//!     tenant: String,
//!     cents: i64,
//! }
//!
//! #[idempotent(ttl = "14d", operation = "ship_order", key = "event.id", scope = "event.tenant")]
//! async fn ship_order(tx: &mut SqliteConnection, event: Event<OrderPaid>) -> Result<(), Failure> {
//!     if event.cents <= 0 {
//!         return Err(Failure::dead("nothing was paid"));
//!     }
//!     let insert = sqlx::query("INSERT INTO shipments (tenant) VALUES (?)").bind(&event.tenant);
//!     insert.execute(tx).await?; // an error of the database: delivered again
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let store = SqliteStore::in_memory().await?;
//! # sqlx::query("CREATE TABLE shipments (tenant TEXT)").execute(store.pool()).await?;
//! # store.migrate().await?;
//! # let pool = store.pool().clone();
//! let consumer = Consumer::new(Engine::new(store));
//! # let payload = r#"{"id": "7", "tenant": "acme", "cents": 500}"#;
//! # for expected in [false, true] {
//! match consumer.run(ship_order, Delivery::new(payload)).await {
//!     Verdict::Done { is_duplicate } => {
//!         // Acknowledge it, also if it is a duplicate.
//! #       assert_eq!(is_duplicate, expected);
//!     }
//!     Verdict::Again { after, cause } => {
//!         // Have it delivered again, `after` that time if there is one.
//! #       panic!("{cause}, {after:?}");
//!     }
//!     Verdict::Dead(cause) => {
//!         // Keep it with the cause, and acknowledge it.
//! #       panic!("{cause}");
//!     }
//! }
//! # }
//! # let shipped: i64 = sqlx::query_scalar("SELECT count(*) FROM shipments").fetch_one(&pool).await?;
//! # assert_eq!(shipped, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # The order of things
//!
//! Acknowledge after [`Consumer::run`] has returned, never before. A crash between its COMMIT and the acknowledgement is
//! a redelivery, which is [`Done`](Verdict::Done) without running. So no acknowledgement has to be exact, and no
//! transaction of the broker is needed.
//!
//! # The key
//!
//! It is the same in each delivery of one message, and another one in each other message. An id outside of the payload
//! is handed over by [`Delivery::with_id`], and taken by [`MessageId`]. [Which id to take](_documentation::messages#the-id)
//! of each broker is a page of its own, with its traps.
//!
//! The TTL is the time in which the message can come again: the retention of a topic, `max_age` of a stream, 14 days
//! on SQS. A message that comes later runs once more.
//!
//! # Dead letters
//!
//! A message is [`Dead`](Verdict::Dead) if an argument can't be made of it, if the consumer says so by
//! [`Failure::dead`], or if its id was used with another content. The first leaves no record, so a deployment that
//! understands the message runs it. The second is recorded: to run it again, an operator
//! [forgets](Engine::forget) the key.
//!
//! # More
//!
//! The consumer takes what a handler takes by `&mut`, so [`Steps`] work, too. [`Engine::once`] is the same for code
//! that has no attribute. [Messages and jobs](_documentation::messages) is the guide, and the
//! [contract](_documentation::contract#n-without-http) has the rules.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod delivery;
mod failure;
mod locate;
mod serve;
mod verdict;

#[doc(inline)]
pub use idem_core::*;
pub use idem_macros::idempotent_consume as idempotent;

pub use self::delivery::{
    Delivery, Event, FromDelivery, FromRef, MessageContent, MessageId, Rejection, State,
};
pub use self::failure::Failure;
pub use self::serve::{Consumer, ConsumerResult, Protected};
pub use self::verdict::{Cause, Failed, Verdict};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
