//! Records the metrics. Without the feature `metrics` the same names do nothing (`meter/off.rs`).

use metrics::{counter, gauge};

pub(crate) use crate::metrics::describe;
use crate::metrics::{DEAD, FAILED, OLDEST_AGE, PENDING, PUBLISHED};
use crate::{Round, Stats};

pub(crate) const IS_ON: bool = true;

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn stats(stats: Stats) {
    gauge!(PENDING).set(stats.pending as f64);
    gauge!(DEAD).set(stats.dead as f64);
    gauge!(OLDEST_AGE).set(stats.oldest_age.unwrap_or_default().as_secs_f64());
}

pub(crate) fn round(round: Round) {
    counter!(PUBLISHED).increment(round.published.into());
    counter!(FAILED).increment(u64::from(round.failed) + u64::from(round.dead));
}
