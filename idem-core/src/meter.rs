//! Records the metrics of rule V2. Without the feature `metrics` the same names do nothing (`meter/off.rs`).

use std::any::type_name;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Gauge, SharedString, counter, gauge, histogram};
use tokio::time::Instant;

pub(crate) use crate::metrics::describe;
use crate::metrics::{
    CACHE_BYTES, CACHE_REQUESTS, CLAIM_DURATION, COMMITS_UNKNOWN, ERROR_TYPE, HANDLER_DURATION,
    HIT, IN_FLIGHT, KEPT, KIND, OPERATION, OUTCOME, PURGE_COMPLETED, RECORDS_PURGED, REPLAY_AGE,
    REQUEST_DURATION, REQUESTS, RESOLVED, RESUMED, RUNS_RESUMED, SETTLE_DURATION, STEPS,
    STEPS_FAILED, STORE, TRANSACTIONS_LOST, WAITERS,
};
use crate::operation::Operation;
use crate::problem::Problem;

/// The beginning of a duration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer(Instant);

impl Timer {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

/// A request that is measured.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    operation: SharedString,
    begun: Timer,
}

impl Request {
    pub(crate) fn begin(operation: Option<&Operation>) -> Self {
        let operation = operation.map(|operation| Arc::from(bounded(operation.as_str())));
        Self {
            operation: operation.map_or("unknown".into(), SharedString::from_shared),
            begun: Timer::start(),
        }
    }

    /// `age` is that of the original, for a replay.
    pub(crate) fn answered(
        &self,
        outcome: &'static str,
        problem: Option<Problem>,
        age: Option<Duration>,
    ) {
        let operation = || self.operation.clone();
        let error = problem.map_or("", Problem::name);
        counter!(REQUESTS, OPERATION => operation(), OUTCOME => outcome, ERROR_TYPE => error)
            .increment(1);
        histogram!(REQUEST_DURATION, OPERATION => operation(), OUTCOME => outcome)
            .record(self.begun.0.elapsed());
        if let Some(age) = age {
            histogram!(REPLAY_AGE, OPERATION => operation()).record(age);
        }
    }

    pub(crate) fn handled(&self, timer: Timer) {
        histogram!(HANDLER_DURATION, OPERATION => self.operation.clone()).record(timer.0.elapsed());
    }

    /// Rule O14.
    pub(crate) fn transaction_lost(&self, may_stand: bool) {
        let kept = if may_stand { "maybe" } else { "false" };
        counter!(TRANSACTIONS_LOST, OPERATION => self.operation.clone(), KEPT => kept).increment(1);
    }
}

/// Clients can make up methods, and a route for any method lets them in.
fn bounded(operation: &str) -> Cow<'_, str> {
    const METHODS: &[&str] = &[
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    match operation.split_once(" /") {
        Some((method, path)) if !METHODS.contains(&method) => format!("other /{path}").into(),
        _ => operation.into(),
    }
}

pub(crate) fn claimed<S>(timer: Timer) {
    histogram!(CLAIM_DURATION, STORE => store::<S>()).record(timer.0.elapsed());
}

pub(crate) fn settled<S>(timer: Timer) {
    histogram!(SETTLE_DURATION, STORE => store::<S>()).record(timer.0.elapsed());
}

/// A store's type, without its path and parameters.
fn store<S>() -> &'static str {
    let path = type_name::<S>().split('<').next().unwrap_or_default();
    path.rsplit("::").next().unwrap_or_default()
}

/// Rule O9.
pub(crate) fn commit_unknown(is_resolved: bool) {
    counter!(COMMITS_UNKNOWN, RESOLVED => text(is_resolved)).increment(1);
}

pub(crate) fn purged(records: u64) {
    counter!(RECORDS_PURGED).increment(records);
}

pub(crate) fn purge_completed() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    gauge!(PURGE_COMPLETED).set(now.unwrap_or_default());
}

pub(crate) fn cache_asked(is_hit: bool) {
    counter!(CACHE_REQUESTS, HIT => text(is_hit)).increment(1);
}

/// Rule T7.
pub(crate) fn step(kind: &'static str, is_resumed: bool) {
    counter!(STEPS, KIND => kind, RESUMED => text(is_resumed)).increment(1);
}

/// Rule T13.
pub(crate) fn step_failed(problem: Problem) {
    counter!(STEPS_FAILED, ERROR_TYPE => problem.name()).increment(1);
}

pub(crate) fn run_resumed() {
    counter!(RUNS_RESUMED).increment(1);
}

fn text(is_true: bool) -> &'static str {
    if is_true { "true" } else { "false" }
}

/// One of the requests that a gauge counts, until it is dropped. It keeps the gauge, so what went up comes down, on
/// whichever thread.
#[derive(Debug)]
pub(crate) struct Level(Gauge);

impl Level {
    pub(crate) fn in_flight() -> Self {
        Self::of(gauge!(IN_FLIGHT))
    }

    pub(crate) fn waiter() -> Self {
        Self::of(gauge!(WAITERS))
    }

    fn of(gauge: Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// One cache's share of the gauge, which counts the bytes of all caches.
#[derive(Debug, Default)]
pub(crate) struct CacheBytes(AtomicU64);

impl CacheBytes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[expect(clippy::cast_precision_loss, reason = "no cache has 2^53 bytes")]
    pub(crate) fn report(&self, bytes: impl FnOnce() -> u64) {
        let bytes = bytes();
        let reported = self.0.swap(bytes, Ordering::Relaxed);
        gauge!(CACHE_BYTES).increment(bytes as f64 - reported as f64);
    }
}

impl Drop for CacheBytes {
    fn drop(&mut self) {
        self.report(|| 0);
    }
}
