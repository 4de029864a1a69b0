//! The names of the metrics; with the feature `metrics`.
//!
//! They are recorded through the facade of the crate [`metrics`](https://docs.rs/metrics), 0.24. The gauges are set by
//! [`Outbox::stats`](crate::Outbox::stats), and every ten seconds by [`Relay::run`](crate::Relay::run): each instance
//! measures the same table, so take the maximum over instances, and not the sum.

use metrics::{Unit, describe_counter, describe_gauge};

/// Gauge: the messages that are to be published.
pub const PENDING: &str = "idem.outbox.pending";
/// Gauge in seconds: the age of the oldest of them, the lag.
pub const OLDEST_AGE: &str = "idem.outbox.oldest_age";
/// Gauge: the dead letters.
pub const DEAD: &str = "idem.outbox.dead";
/// Counter of messages that were published.
pub const PUBLISHED: &str = "idem.outbox.published";
/// Counter of publications that have failed.
pub const FAILED: &str = "idem.outbox.failed";

/// Tells the recorder the unit and the meaning of each metric.
pub(crate) fn describe() {
    describe_gauge!(PENDING, Unit::Count, "Messages that are to be published");
    describe_gauge!(OLDEST_AGE, Unit::Seconds, "The age of the oldest message");
    describe_gauge!(DEAD, Unit::Count, "Dead letters");
    describe_counter!(PUBLISHED, Unit::Count, "Messages that were published");
    describe_counter!(FAILED, Unit::Count, "Publications that have failed");
}
