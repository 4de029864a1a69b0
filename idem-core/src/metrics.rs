//! The names of the metrics, and of their labels ([rule V2]); with the feature `metrics`.
//!
//! They are recorded through the facade of the crate [`metrics`](https://docs.rs/metrics), 0.24. Install its recorder
//! before an engine is made: the engine describes its metrics then. [The operator's guide] has an example, and the
//! table of all metrics with their labels.
//!
//! A label never has a key or a scope. `operation` has as many values as there are protected routes.
//!
//! [rule V2]: crate::_documentation::contract#v-visibility
//! [The operator's guide]: crate::_documentation::operating#metrics

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Counter of answers, by [`OPERATION`], [`OUTCOME`] and [`ERROR_TYPE`].
pub const REQUESTS: &str = "idem.requests";
/// Histogram in seconds, by [`OPERATION`] and [`OUTCOME`]: from the end of the extractors to the answer.
pub const REQUEST_DURATION: &str = "idem.request.duration";
/// Histogram in seconds, by [`OPERATION`]: the handler alone.
pub const HANDLER_DURATION: &str = "idem.handler.duration";
/// Histogram in seconds, by [`STORE`]: one claim, with the wait for a connection.
pub const CLAIM_DURATION: &str = "idem.claim.duration";
/// Histogram in seconds, by [`STORE`]: one settlement, with its commit.
pub const SETTLE_DURATION: &str = "idem.settle.duration";
/// Histogram in seconds, by [`OPERATION`]: the time since the original of a replay was settled.
pub const REPLAY_AGE: &str = "idem.replay.age";
/// Gauge: requests that claim or run.
pub const IN_FLIGHT: &str = "idem.in_flight";
/// Gauge: duplicates that wait for a running handler.
pub const WAITERS: &str = "idem.waiters";
/// Counter of commits whose answer was lost (rule O9), by [`RESOLVED`].
pub const COMMITS_UNKNOWN: &str = "idem.commits.unknown";
/// Counter of transactions that their handler broke (rule O14), by [`OPERATION`] and [`KEPT`].
pub const TRANSACTIONS_LOST: &str = "idem.transactions.lost";
/// Counter of expired records that a purge has deleted.
pub const RECORDS_PURGED: &str = "idem.records.purged";
/// Gauge, in seconds since 1970: the end of the last purge that left no expired record.
pub const PURGE_COMPLETED: &str = "idem.purge.completed.timestamp";
/// Counter of questions to the replay cache, by [`HIT`].
pub const CACHE_REQUESTS: &str = "idem.cache.requests";
/// Gauge in bytes: the content of the replay cache.
pub const CACHE_BYTES: &str = "idem.cache.bytes";

/// Counter of finished steps (rule T7), by [`KIND`] and [`RESUMED`].
pub const STEPS: &str = "idem.steps";
/// Counter of steps that failed by themselves (rule T13), by [`ERROR_TYPE`]; `in-flight` is a lease that was lost.
pub const STEPS_FAILED: &str = "idem.steps.failed";
/// Counter of runs that a later attempt has claimed.
pub const RUNS_RESUMED: &str = "idem.runs.resumed";

/// Label: the operation as in the records, such as `POST /payments/{}`; `unknown` where a request was refused before.
pub const OPERATION: &str = "operation";
/// Label: the outcome as in the log.
pub const OUTCOME: &str = "outcome";
/// Label: the name of the problem document; empty for other answers.
pub const ERROR_TYPE: &str = "error.type";
/// Label: the type of the store, such as `PostgresStore`.
pub const STORE: &str = "store";
/// Label: `true` if the outcome of the commit was learned.
pub const RESOLVED: &str = "resolved";
/// Label: `false` if nothing of the transaction was kept, `maybe` if its effect may stand.
pub const KEPT: &str = "kept";
/// Label: `true` if the cache had the record.
pub const HIT: &str = "hit";
/// Label: `commit`, `call` or `call_once`.
pub const KIND: &str = "kind";
/// Label: `true` if the result was that of an earlier attempt.
pub const RESUMED: &str = "resumed";

/// Buckets for the durations, in seconds: from a claim on a fast disk to a request that uses up its deadline.
pub const DURATION_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Buckets for [`REPLAY_AGE`], in seconds: from a client that retries at once to one that asks again after a week.
pub const AGE_BUCKETS: &[f64] = &[
    0.1, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0,
    604_800.0,
];

/// Tells the recorder the unit and the meaning of each metric.
pub(crate) fn describe() {
    let (seconds, count) = (Unit::Seconds, Unit::Count);
    describe_counter!(REQUESTS, count, "Answers to protected requests");
    describe_histogram!(
        REQUEST_DURATION,
        seconds,
        "From the extractors to the answer"
    );
    describe_histogram!(HANDLER_DURATION, seconds, "The handler alone");
    describe_histogram!(
        CLAIM_DURATION,
        seconds,
        "One claim, with the wait for a connection"
    );
    describe_histogram!(SETTLE_DURATION, seconds, "One settlement, with its commit");
    describe_histogram!(
        REPLAY_AGE,
        seconds,
        "The age of the answers that are replayed"
    );
    describe_gauge!(IN_FLIGHT, count, "Requests that claim or run");
    describe_gauge!(WAITERS, count, "Duplicates that wait for a running handler");
    describe_counter!(COMMITS_UNKNOWN, count, "Commits whose answer was lost");
    describe_counter!(
        TRANSACTIONS_LOST,
        count,
        "Transactions that their handler broke"
    );
    describe_counter!(RECORDS_PURGED, count, "Expired records that were deleted");
    describe_gauge!(
        PURGE_COMPLETED,
        seconds,
        "When a purge last left no expired record"
    );
    describe_counter!(CACHE_REQUESTS, count, "Questions to the replay cache");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "The content of the replay cache");
    describe_counter!(STEPS, count, "Finished steps");
    describe_counter!(STEPS_FAILED, count, "Steps that failed by themselves");
    describe_counter!(RUNS_RESUMED, count, "Runs that a later attempt has claimed");
}
