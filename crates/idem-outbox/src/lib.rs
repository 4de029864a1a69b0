//! A transactional outbox: messages that are committed with the work itself, and published afterwards.
//!
//! A handler that writes to its database and then publishes a message can die between the two, and the message is lost.
//! Here the handler writes the message in its own transaction, so there are both or neither. A relay publishes it later,
//! until the broker has confirmed it.
//!
//! ```
//! # use std::time::Duration;
//! use idem_core::once::{Failure, Key, Policy};
//! use idem_core::{Attempt, Engine, SqliteStore};
//! use idem_outbox::{Message, Outbox, PushError, Relay};
//! use sqlx::SqliteConnection;
//!
//! #[derive(serde::Serialize)]
//! struct OrderPaid {
//!     order: u64,
//! }
//!
//! static PAY: Policy = Policy::new("pay_order", Duration::from_hours(24));
//!
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let store = SqliteStore::in_memory().await?;
//! # sqlx::query("CREATE TABLE payments (order_id INTEGER)").execute(store.pool()).await?;
//! let outbox = Outbox::new(store.clone());
//! outbox.migrate().await?;
//! let engine = Engine::new(store);
//!
//! // A handler, or a function with `#[idempotent]`: it takes the transaction and the attempt.
//! let pay = async |tx: &mut SqliteConnection, attempt: &Attempt| -> Result<(), Failure<PushError, String>> {
//!     let insert = sqlx::query("INSERT INTO payments VALUES (7)");
//!     insert.execute(&mut *tx).await.map_err(PushError::from)?;
//!     outbox.push(tx, attempt, "orders", &OrderPaid { order: 7 }).await?;
//!     Ok(())
//! };
//! engine.once(&PAY, Key::new("acme", "order-7"), "payload", pay).await?;
//!
//! // In a task of the same service, or in a process of its own.
//! let relay = Relay::new(outbox.clone(), async |message: Message| {
//!     // jetstream.send_publish(…).await?.await?, with `message.id` as the id of the message
//! #   assert_eq!(&*message.payload, br#"{"order":7}"#);
//!     println!("{} to {}: {:?}", message.id, message.topic, message.payload);
//!     Ok(())
//! });
//! # assert_eq!(relay.run_once().await?.published, 1);
//! # if false {
//! relay.run().await;
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! A relay can die after the broker has kept a message, and before it has deleted it. So a message is published at least
//! once, and always with the same [id](Message::id), which comes from the identity of the request: another attempt of it
//! writes the same one. Hand this id to the broker (`Nats-Msg-Id`, `message_id`, a header), and let the consumer take it as
//! its key, as `idem-consume` does: then the request takes effect once on the far side, too.
//!
//! There is no order of messages. A message that can't be published is due again later, and at last a dead letter in the
//! table, until an operator [revives](Outbox::revive) or [discards](Outbox::discard) it.
//!
//! # More
//!
//! [The guide](idem_core::_documentation::outbox) says when to use an outbox, where the id goes for each broker, which
//! messages need a name, and what to watch.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod database;
mod error;
mod message;
#[cfg(feature = "metrics")]
mod meter;
#[cfg(not(feature = "metrics"))]
#[path = "meter/off.rs"]
mod meter;
#[cfg(feature = "metrics")]
pub mod metrics;
mod outbox;
mod relay;
mod sql;

pub use self::database::OutboxStore;
pub use self::error::{Failure, PushError};
pub use self::message::{DeadLetter, Message, Stats, Topic};
pub use self::outbox::Outbox;
pub use self::relay::{Relay, Round};
