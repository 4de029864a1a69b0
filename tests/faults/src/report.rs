//! The results of faulted requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::iter::Sum;
use std::thread;
use std::time::Duration;

use crate::checker::{Answered, Violation};
use crate::freezes::Phase;

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
    /// Only of rides in steps.
    pub rides: Rides,
}

/// The counts of rides in steps.
#[derive(Debug, Clone, Default)]
pub struct Rides {
    /// The requests for a charge.
    pub requests: u64,
    /// The charges.
    pub charges: u64,
    /// The receipts.
    pub receipts: u64,
    /// The number of attempts that were frozen.
    pub frozen: usize,
    /// The number of freezes in which the frozen service kept all others from writing.
    pub blocked: usize,
    /// Where the attempts were frozen.
    pub phases: BTreeMap<Phase, usize>,
    /// The answers of the service that was frozen, once it continued.
    pub own: BTreeMap<String, usize>,
    /// The times from a freeze to the next attempt of a ride that was frozen in no transaction.
    pub takeovers: Vec<Duration>,
    /// The same of a ride that was frozen in a transaction, or before its last one.
    pub waits: Vec<Duration>,
}

impl Rides {
    /// Adds the takeovers of rides that were frozen at this time, in microseconds since 1970.
    pub(crate) fn measure(
        &mut self,
        frozen_at: i64,
        phases: &BTreeMap<String, Phase>,
        answered: &BTreeMap<String, Vec<Answered>>,
    ) {
        for (label, phase) in phases {
            let times = match phase {
                Phase::Between(_) => &mut self.takeovers,
                Phase::Inside(_) | Phase::Settling => &mut self.waits,
                Phase::Unclaimed | Phase::Recorded => continue,
            };
            let ride = answered[label].iter().find_map(|end| match end {
                Answered::Answer(answer) if answer.status == 201 => Some(answer.json()),
                _ => None,
            });
            let ride = ride.expect("a ride that is answered");
            // A later attempt says nothing about the time of this one.
            if ride["attempt"] == 2 {
                let entered_at = ride["entered_at"].as_i64().expect("a time");
                let taken = u64::try_from(entered_at - frozen_at).expect("after the freeze");
                times.push(Duration::from_micros(taken));
            }
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.charges += other.charges;
        self.receipts += other.receipts;
        self.frozen += other.frozen;
        self.blocked += other.blocked;
        for (phase, count) in other.phases {
            *self.phases.entry(phase).or_default() += count;
        }
        for (answer, count) in other.own {
            *self.own.entry(answer).or_default() += count;
        }
        self.takeovers.extend(other.takeovers);
        self.waits.extend(other.waits);
        self
    }

    /// Asserts that 99 of 100 rides that were frozen in no transaction were taken over within a time.
    ///
    /// # Panics
    ///
    /// If they were not, or if there were none.
    #[track_caller]
    pub fn are_taken_over_within(&self, limit: Duration) {
        let late = percentile(&self.takeovers, 99);
        assert!(!self.takeovers.is_empty() && late <= limit, "{late:?}");
    }
}

impl Display for Rides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            charges,
            receipts,
            frozen,
            blocked,
            phases,
            own,
            takeovers,
            waits,
        } = self;
        write!(
            f,
            "{requests} requests for {charges} charges, {receipts} receipts"
        )?;
        if *frozen == 0 {
            return Ok(());
        }
        write!(
            f,
            "; {frozen} attempts were frozen ({phases:?}); in {blocked} freezes nobody else could write; the frozen \
             service answered {own:?}"
        )?;
        for (name, times) in [("no", takeovers), ("a", waits)] {
            let [middle, late, last] = [50, 99, 100].map(|percent| percentile(times, percent));
            write!(
                f,
                "; {} in {name} transaction were taken over {middle:.3?} (p50), {late:.3?} (p99), {last:.3?} (all) after \
                 the freeze",
                times.len()
            )?;
        }
        Ok(())
    }
}

/// The longest of the shortest `percent` of these times.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let place = (sorted.len() * percent / 100).min(last);
    sorted.get(place).copied().unwrap_or_default()
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
        self.rides = self.rides.and(other.rides);
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
        percentile(&self.recoveries, percent)
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
            rides,
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
        if rides.requests > 0 {
            write!(f, "; {rides}")?;
        }
        for (violation, evidence) in violations {
            write!(f, "\n{violation}: {evidence}")?;
        }
        Ok(())
    }
}
