//! What became of faulted requests.

use std::fmt::{self, Display};
use std::iter::Sum;
use std::thread;
use std::time::Duration;

use crate::checker::Violation;

/// Counts, and what was violated.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many faults were injected.
    pub faults: usize,
    /// How many requests were sent, with and without a fault.
    pub requests: usize,
    /// For how many keys a client got a success.
    pub acknowledged: usize,
    /// What was violated, with what is known of it.
    pub violations: Vec<(Violation, String)>,
    /// How long keys took from the end of a fault to an answer that stays.
    pub recoveries: Vec<Duration>,
    /// How many requests were answered 201 although their fault was done.
    pub resolved: usize,
    /// How many of them got `outcome-unknown`.
    pub unknown: usize,
}

impl Report {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.faults += other.faults;
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.violations.extend(other.violations);
        self.recoveries.extend(other.recoveries);
        self.resolved += other.resolved;
        self.unknown += other.unknown;
        self
    }

    /// Prints it under the name of the test, and asserts that nothing was violated.
    ///
    /// # Panics
    ///
    /// If something was.
    #[track_caller]
    pub fn holds(&self) {
        let test = thread::current();
        println!("{}: {self}", test.name().unwrap_or_default());
        assert!(self.violations.is_empty(), "{self}");
    }

    /// Asserts that every key could be answered a second after its fault (I5).
    ///
    /// # Panics
    ///
    /// If one could not.
    #[track_caller]
    pub fn is_soon_over(&self) {
        let last = self.recovered(100);
        assert!(last < Duration::from_secs(1), "I5: {last:?}");
    }

    /// How long so many in a hundred keys took at most.
    fn recovered(&self, percent: usize) -> Duration {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let place = (sorted.len() * percent / 100).min(last);
        sorted.get(place).copied().unwrap_or_default()
    }
}

impl Sum for Report {
    fn sum<I: Iterator<Item = Self>>(reports: I) -> Self {
        reports.fold(Self::default(), Self::and)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            faults,
            requests,
            acknowledged,
            violations,
            resolved,
            unknown,
            ..
        } = self;
        let [middle, late, last] = [50, 99, 100].map(|percent| self.recovered(percent));
        write!(
            f,
            "{faults} faults in {requests} requests, {} violations; {acknowledged} keys were acknowledged; \
             {resolved} requests were answered 201 in spite of their fault, {unknown} were answered that the outcome is \
             unknown; after its fault a key was answered in {middle:.1?} (p50), {late:.1?} (p99), {last:.1?} (all)",
            violations.len()
        )?;
        for (violation, evidence) in violations {
            write!(f, "\n{violation}: {evidence}")?;
        }
        Ok(())
    }
}
