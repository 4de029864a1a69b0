//! What became of faulted requests.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::checker::Violation;

/// Counts, and what was violated.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many faults were injected.
    pub faults: usize,
    /// What was violated, with what is known of it.
    pub violations: Vec<(Violation, String)>,
    /// The longest time from the end of a fault to an answer of the same key.
    pub slowest: Duration,
    /// How many requests were answered 201 although their fault was done.
    pub resolved: usize,
    /// How many of them were told that the outcome is unknown.
    pub unknown: usize,
}

impl Report {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.faults += other.faults;
        self.violations.extend(other.violations);
        self.slowest = self.slowest.max(other.slowest);
        self.resolved += other.resolved;
        self.unknown += other.unknown;
        self
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            faults,
            violations,
            slowest,
            resolved,
            unknown,
        } = self;
        write!(
            f,
            "{faults} faults, {} violations; {resolved} requests were answered all the same, {unknown} were told \
             that the outcome is unknown; the slowest answer came {slowest:?} after its fault",
            violations.len()
        )?;
        for (violation, evidence) in violations {
            write!(f, "\n{violation}: {evidence}")?;
        }
        Ok(())
    }
}
