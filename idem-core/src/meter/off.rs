//! The names of `meter.rs` for a build without the feature `metrics`.
#![expect(
    clippy::unused_self,
    reason = "the names take what those of `meter.rs` take"
)]

use std::time::Duration;

use crate::operation::Operation;
use crate::problem::Problem;

pub(crate) fn describe() {}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer;

impl Timer {
    pub(crate) fn start() -> Self {
        Self
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Request;

impl Request {
    pub(crate) fn begin(_: Option<&Operation>) -> Self {
        Self
    }

    pub(crate) fn answered(&self, _: &'static str, _: Option<Problem>, _: Option<Duration>) {}

    pub(crate) fn handled(&self, _: Timer) {}

    pub(crate) fn transaction_lost(&self, _: bool) {}
}

pub(crate) fn claimed<S>(_: Timer) {}

pub(crate) fn settled<S>(_: Timer) {}

pub(crate) fn commit_unknown(_: bool) {}

pub(crate) fn purged(_: u64) {}

pub(crate) fn purge_completed() {}

pub(crate) fn cache_asked(_: bool) {}

pub(crate) fn step(_: &'static str, _: bool) {}

pub(crate) fn step_failed(_: Problem) {}

pub(crate) fn run_resumed() {}

#[derive(Debug)]
pub(crate) struct Level;

impl Level {
    pub(crate) fn in_flight() -> Self {
        Self
    }

    pub(crate) fn waiter() -> Self {
        Self
    }
}

#[derive(Debug)]
pub(crate) struct CacheBytes;

impl CacheBytes {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn report(&self, _: impl FnOnce() -> u64) {}
}
