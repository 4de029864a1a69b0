//! The results of faulted requests.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::iter::Sum;
use std::thread;
use std::time::Duration;

use crate::checker::Violation;

/// Counts and violations.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The number of injected faults.
    pub faults: usize,
    /// The number of requests, with and without a fault.
    pub requests: usize,
    /// The number of keys for which a client was answered with a success.
    pub acknowledged: usize,
    /// The number of committed effects of these keys.
    pub effects: u64,
    /// The number of lasting answers that were compared with an earlier one to the same key.
    pub replays: usize,
    /// The number of acknowledged keys that were lost as a whole, where that is allowed.
    pub lost: usize,
    /// The violations, with the known facts about each.
    pub violations: Vec<(Violation, String)>,
    /// For each key, the time from the end of a fault to a lasting answer.
    pub recoveries: Vec<Duration>,
    /// The number of requests that were answered with 201 in spite of their fault.
    pub resolved: usize,
    /// The number of them that were answered with `outcome-unknown`.
    pub unknown: usize,
}

impl Report {
    /// The sum of both reports.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.faults += other.faults;
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.effects += other.effects;
        self.replays += other.replays;
        self.lost += other.lost;
        self.violations.extend(other.violations);
        self.recoveries.extend(other.recoveries);
        self.resolved += other.resolved;
        self.unknown += other.unknown;
        self
    }

    /// Where the last requests may be lost as a whole: counts their keys instead. The retry of a lost
    /// success runs again, and is answered otherwise. All other violations stay.
    #[must_use]
    pub fn allowing_losses(mut self) -> Self {
        let is_loss =
            |(found, _): &(Violation, _)| matches!(found, Violation::Lost | Violation::Differs);
        let (lost, others): (Vec<_>, Vec<_>) = self.violations.into_iter().partition(is_loss);
        let keys: BTreeSet<String> = lost.into_iter().map(|(_, evidence)| evidence).collect();
        self.lost += keys.len();
        self.violations = others;
        self
    }

    /// Prints the report under the name of the test, and asserts that there are no violations.
    ///
    /// # Panics
    ///
    /// If there is a violation.
    #[track_caller]
    pub fn holds(&self) {
        let test = thread::current();
        println!("{}: {self}", test.name().unwrap_or_default());
        assert!(self.violations.is_empty(), "{self}");
    }

    /// Asserts that every key was answered within a second after its fault (I5).
    ///
    /// # Panics
    ///
    /// If a key was not.
    #[track_caller]
    pub fn is_soon_over(&self) {
        let last = self.recovered(100);
        assert!(last < Duration::from_secs(1), "I5: {last:?}");
    }

    /// The longest time to an answer among the fastest `percent` of all keys.
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
            effects,
            replays,
            lost,
            violations,
            resolved,
            unknown,
            ..
        } = self;
        let [middle, late, last] = [50, 99, 100].map(|percent| self.recovered(percent));
        write!(
            f,
            "{faults} faults in {requests} requests, {} violations; {acknowledged} keys were acknowledged, {lost} of \
             them lost as a whole; {effects} effects; {replays} answers were compared with an earlier one; {resolved} requests were answered 201 in spite of their fault, {unknown} were answered that the outcome is \
             unknown; after its fault a key was answered in {middle:.1?} (p50), {late:.1?} (p99), {last:.1?} (all)",
            violations.len()
        )?;
        for (violation, evidence) in violations {
            write!(f, "\n{violation}: {evidence}")?;
        }
        Ok(())
    }
}
