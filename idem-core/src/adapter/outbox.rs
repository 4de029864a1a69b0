//! For the crate of outboxes.

use crate::attempt::Attempt;
use crate::identity::Identity;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use crate::store::connection::CheckedConnection;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use crate::store::place::Place;

/// The id of a message, and the number of messages before it in this attempt; `None` where a message needs a
/// name.
pub fn message(attempt: &Attempt, topic: &str, name: Option<&str>) -> Option<(String, u32)> {
    attempt.message(topic, name)
}

/// The id of no message.
pub fn random_id() -> String {
    Identity::random().derive("outbox")
}
