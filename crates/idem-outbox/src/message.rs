//! What is in an outbox.
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code, reason = "each database uses a part of it")
)]

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use idem_core::Timestamp;

/// A message, as a relay hands it to the function that publishes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message {
    /// 32 hex digits: the key of the message for its consumers, the same each time that it is published.
    pub id: String,
    /// Where it goes, in the words of the application.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// How often it could not be published.
    pub failures: u32,
    /// When it was pushed, by the database's clock.
    pub pushed_at: Timestamp,
    /// The end of the relay's lease. A later lease has another end.
    pub(crate) leased_until: i64,
}

/// A message that is not published any more.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// The last error.
    pub error: String,
    /// When it has died, by the database's clock.
    pub died_at: Timestamp,
}

/// What there is in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of messages that are to be published.
    pub pending: u64,
    /// The age of the oldest of them.
    pub oldest_age: Option<Duration>,
    /// The number of dead letters.
    pub dead: u64,
}

/// The topic of a message: a text, or a pair of it and a name of the message, such as `("orders", line.id)`.
///
/// A handler with `Steps` leaves out steps that are done, so there each message needs a name. Elsewhere a message is
/// named by its number in the attempt.
#[derive(Debug, Clone)]
pub struct Topic<'t> {
    pub(crate) topic: &'t str,
    pub(crate) name: Option<String>,
}

impl<'t> From<&'t str> for Topic<'t> {
    fn from(topic: &'t str) -> Self {
        Self { topic, name: None }
    }
}

impl<'t, D: Display> From<(&'t str, D)> for Topic<'t> {
    fn from((topic, name): (&'t str, D)) -> Self {
        Self {
            topic,
            name: Some(name.to_string()),
        }
    }
}

/// A row.
#[derive(Debug)]
pub struct Stored {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) failures: i32,
    pub(crate) pushed_at: i64,
    pub(crate) due_at: Option<i64>,
    pub(crate) died_at: Option<i64>,
    pub(crate) last_error: Option<String>,
}

impl From<Stored> for Message {
    fn from(stored: Stored) -> Self {
        Self {
            id: stored.id,
            topic: stored.topic,
            payload: stored.payload.into(),
            failures: stored.failures.unsigned_abs(),
            pushed_at: Timestamp(stored.pushed_at),
            leased_until: stored.due_at.unwrap_or_default(),
        }
    }
}

impl From<Stored> for DeadLetter {
    fn from(mut stored: Stored) -> Self {
        Self {
            error: stored.last_error.take().unwrap_or_default(),
            died_at: Timestamp(stored.died_at.unwrap_or_default()),
            message: stored.into(),
        }
    }
}
