//! A limit for the retries to one host, so that a service in trouble is not kept there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// First attempts for which one retry more is let through.
const EARNED: u32 = 10;

/// A token bucket for each host. A full one has `burst` tokens, a retry takes one, and there is a new one
/// after `every`, or after ten first attempts.
#[derive(Debug)]
pub(crate) struct Budget {
    burst: u32,
    every: Duration,
    /// For each host the time at which its bucket is full again.
    full: Mutex<HashMap<String, Instant>>,
}

impl Budget {
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst: burst.max(1),
            every,
            full: Mutex::default(),
        }
    }

    /// Counts a first attempt.
    pub(crate) fn earn(&self, host: &str) {
        let mut hosts = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full) = hosts.get_mut(host) {
            *full = full.checked_sub(self.every / EARNED).unwrap_or(*full);
        }
    }

    /// Takes a token for a retry that is due at `due` or later, and returns the time of that retry; `None`
    /// if there is no token before `deadline`.
    pub(crate) fn take(&self, host: &str, due: Instant, deadline: Instant) -> Option<Instant> {
        let mut hosts = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        hosts.retain(|_, full| *full > now);
        let full = hosts.get(host).copied().unwrap_or(now) + self.every;
        let token = full.checked_sub(self.every * self.burst).unwrap_or(now);
        let due = due.max(token);
        if due >= deadline {
            return None;
        }
        hosts.insert(host.to_owned(), full);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wait(budget: &Budget, host: &str) -> Option<Duration> {
        let now = Instant::now();
        let due = budget.take(host, now, now + 10 * SECOND);
        due.map(|due| due - now)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_the_rest_is_one_each_second() {
        let budget = Budget::new(3, SECOND);
        for _ in 0..3 {
            assert_eq!(wait(&budget, "a"), Some(Duration::ZERO));
        }
        assert_eq!(wait(&budget, "a"), Some(SECOND));
        assert_eq!(wait(&budget, "a"), Some(2 * SECOND));
        assert_eq!(
            wait(&budget, "b"),
            Some(Duration::ZERO),
            "each host has its own"
        );
        advance(5 * SECOND).await;
        for _ in 0..3 {
            assert_eq!(wait(&budget, "a"), Some(Duration::ZERO));
        }
        assert_eq!(
            wait(&budget, "a"),
            Some(SECOND),
            "a bucket holds no more than a burst"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_comes_too_late_is_not_taken() {
        let budget = Budget::new(1, 8 * SECOND);
        assert_eq!(wait(&budget, "a"), Some(Duration::ZERO));
        assert_eq!(wait(&budget, "a"), Some(8 * SECOND));
        assert_eq!(wait(&budget, "a"), None);
        assert_eq!(wait(&budget, "a"), None);
        advance(7 * SECOND).await;
        assert_eq!(wait(&budget, "a"), Some(9 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_first_attempts_earn_a_retry() {
        let budget = Budget::new(1, 10 * SECOND);
        assert_eq!(wait(&budget, "a"), Some(Duration::ZERO));
        assert_eq!(wait(&budget, "a"), None);
        for _ in 0..EARNED {
            budget.earn("a");
        }
        assert_eq!(wait(&budget, "a"), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_in_order_take_no_memory() {
        let budget = Budget::new(1, SECOND);
        for host in ["a", "b", "c"] {
            wait(&budget, host);
        }
        advance(2 * SECOND).await;
        wait(&budget, "d");
        assert_eq!(budget.full.lock().unwrap().len(), 1);
    }
}
