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
//! # Exactly once, from end to end
//!
//! A relay can die after the broker has kept a message, and before it has deleted it. So a message is published at least
//! once, and always with the same [id](Message::id). Hand this id to the broker (`Nats-Msg-Id`, `message_id`, a header),
//! and let the consumer take it as its key, as `idem-consume` does: then it takes effect once.
//!
//! | link | what it gives |
//! |---|---|
//! | request → handler | the key of the request: one commit |
//! | handler → outbox | the same transaction |
//! | outbox → broker | at least once, with the same id |
//! | broker → consumer | the id is the key: one commit |
//!
//! # Ids
//!
//! An id comes from the identity of the request (namespace, scope, operation, key), the topic, and the number of the
//! message in its attempt. Another attempt of the same request writes the same ids. Usually nobody sees that, as a failed
//! attempt is undone with its messages. But a failover to a standby that lags can lose a commit whose messages were
//! published: the client's retry then writes the messages again, and the consumers know them.
//!
//! - **In steps** each message needs a name, such as `("orders", "paid")`: an attempt leaves out steps that are done, so
//!   numbers would shift. [`PushError::Unnamed`] says so. A name is used once in a request.
//! - **Messages in a loop** may have a name, too, such as `("orders", line.id)`, if their order can differ in a retry.
//! - **After `KeepAndRetry`** the next attempt writes the same ids. If each attempt has a message of its own, such as one
//!   about a failed login, put [`Attempt::number`](idem_core::Attempt::number) into its name.
//! - **After the TTL** of the request its key is new, and its ids are still the same. So let consumers remember an id for
//!   no longer than the request's TTL, or let clients not use a key again.
//! - **A request without a key** has random ids.
//!
//! # Order
//!
//! There is none. Transactions commit in another order than they push, relays publish a batch at once, and what has failed
//! comes later. A consumer that needs an order takes it from the payload, such as a version of the order.
//!
//! # Failures and dead letters
//!
//! A message whose publication fails is due again after a second, then after two, and so on up to five minutes. After 100
//! failures, or at once by [`Failure::dead`], it is a dead letter: it stays in the table with its last error until an
//! operator [revives](Outbox::revive) or [discards](Outbox::discard) it. After a long outage of the broker there is
//! [`Outbox::revive_all`].
//!
//! # Operating
//!
//! Many relays may run. Each leases a batch by the database's clock, so clocks of instances don't matter. On PostgreSQL,
//! MariaDB and MySQL they skip what another one has locked; on SQLite they take turns with the handlers. No transaction is
//! open while a message is published.
//!
//! Watch the age of the oldest message ([`Stats::oldest_age`], the metric `idem.outbox.oldest_age`): it is the lag. And
//! watch the number of dead letters.
//!
//! Where the queue is in the same database, as with `graphile_worker` or pgmq, write to it on the handler's connection: that
//! is an outbox already.
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
