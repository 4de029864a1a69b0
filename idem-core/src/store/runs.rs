//! Stores of requests with steps: their runs, leases and steps.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use super::{
    ClaimRequest, Claimed, Draft, Forgotten, Opening, Purged, Row, SettleError, Stats, StoreError,
    Times,
};
use crate::fingerprint::Fingerprint;
use crate::identity::{Identity, ScopeDigest};
use crate::record::{Found, State, Timestamp, Unreadable, Version};
use crate::steps::{Resolved, StepError, StepKind};

/// A store of requests with [`Steps`](crate::Steps): of their runs, and of their records.
///
/// A run is an unfinished request. An attempt that has claimed a run holds it by a [`Lease`].
///
/// # Contract
///
/// - **The fence.** Each write of an attempt compares the lease's epoch and its holder with those of the
///   run, and is one atomic operation with this comparison. The clock decides only when another attempt may
///   claim, never whether a late holder may write.
/// - Times are the store's own, read when an operation runs.
/// - An operation whose answer was lost can be sent again by the store: the holder's name tells whether it
///   has happened.
/// - Runs and records exclude each other: [`finish`](Self::finish) deletes the run and writes the record in
///   one atomic operation.
pub trait RunStore: Clone + Debug + Send + Sync + 'static {
    /// Claims the run of `request.identity` for `lease.holder`. Sets `lease.epoch`, and returns the steps that
    /// earlier attempts have recorded.
    ///
    /// A run that no attempt holds is shown to the engine as a record by [`Run::found`], and is taken over
    /// if it has the version that the engine has seen: the epoch grows by one, and the steps stay. A run
    /// that has expired is replaced with its steps. So is a record that has the version that was seen.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store can't tell who has the run.
    ///
    /// # Cancellation
    ///
    /// The run may be claimed, until the end of the lease.
    fn claim(
        &self,
        request: ClaimRequest<'_>,
        lease: &mut Lease,
    ) -> impl Future<Output = Result<Claimed<Vec<StepRow>>, StoreError>> + Send;

    /// Renews a lease, also one that is over, unless another attempt has claimed the run.
    ///
    /// # Errors
    ///
    /// [`StepError::Lost`] if the run is another attempt's, or gone.
    fn renew(&self, lease: &Lease) -> impl Future<Output = Result<(), StepError>> + Send;

    /// Records a step, and renews the lease. `None` in place of a result is the intent of a `call_once`.
    ///
    /// # Errors
    ///
    /// [`StepError::Lost`] as for [`renew`](Self::renew); [`StepError::Unconfirmed`] if the step may be
    /// recorded.
    fn record(
        &self,
        lease: &Lease,
        name: &str,
        kind: StepKind,
        result: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<(), StepError>> + Send;

    /// Records the result of a `call_once` whose intent is recorded, and renews the lease.
    ///
    /// # Errors
    ///
    /// As those of [`record`](Self::record); [`StepError::Lost`] also if there is no intent without a result.
    fn complete(
        &self,
        lease: &Lease,
        name: &str,
        result: Vec<u8>,
    ) -> impl Future<Output = Result<(), StepError>> + Send;

    /// Replaces the run and its steps by a record.
    ///
    /// # Errors
    ///
    /// [`SettleError`], of which [`SettleError::Superseded`] says that the run is another attempt's.
    fn finish(
        &self,
        lease: &Lease,
        draft: Draft<'_>,
    ) -> impl Future<Output = Result<Times, SettleError>> + Send;

    /// Ends a lease, so that the next attempt may begin at once. The steps stay, unless the run is to be
    /// forgotten.
    ///
    /// # Errors
    ///
    /// As those of [`finish`](Self::finish).
    fn release(
        &self,
        lease: &Lease,
        forget: bool,
    ) -> impl Future<Output = Result<(), SettleError>> + Send;

    /// Reads a record. A run is none.
    ///
    /// # Errors
    ///
    /// As those of [`Store::find`](super::Store::find).
    fn find(
        &self,
        identity: &Identity,
    ) -> impl Future<Output = Result<Option<Found>, StoreError>> + Send;

    /// Deletes at most `limit` expired runs, and as many expired records.
    ///
    /// # Errors
    ///
    /// As those of [`Store::purge_expired`](super::Store::purge_expired).
    fn purge_expired(&self, limit: u32) -> impl Future<Output = Result<Purged, StoreError>> + Send;

    /// Deletes the runs and the records of a scope. The holders of the runs are refused afterwards.
    ///
    /// # Errors
    ///
    /// As those of [`Store::erase`](super::Store::erase).
    fn erase(&self, scope: &ScopeDigest) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Deletes the run, or the record, of an identity. A run that is leased stays.
    ///
    /// # Errors
    ///
    /// As those of [`Store::forget`](super::Store::forget).
    fn forget(
        &self,
        identity: &Identity,
    ) -> impl Future<Output = Result<Forgotten, StoreError>> + Send;

    /// Counts records.
    ///
    /// # Errors
    ///
    /// As those of [`Store::tally`](super::Store::tally).
    fn tally(
        &self,
        scope: Option<&ScopeDigest>,
    ) -> impl Future<Output = Result<Stats, StoreError>> + Send;

    /// Reads a run, with its steps in the order of their times.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer.
    fn run(
        &self,
        identity: &Identity,
    ) -> impl Future<Output = Result<Option<(Run, Vec<StepRow>)>, StoreError>> + Send;

    /// Reads at most `limit` runs, those with the oldest claim first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer.
    fn runs(
        &self,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Run, Vec<StepRow>)>, StoreError>> + Send;

    /// Gives a `call_once` without a result the result that an operator has found, or deletes its intent
    /// for `None`. From then on the last holder is refused: it may be frozen, and not dead. A run that is
    /// leased stays as it is.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer.
    fn resolve(
        &self,
        identity: &Identity,
        name: &str,
        result: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<Resolved, StoreError>> + Send;
}

/// The hold of an attempt on its run.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// The run.
    pub identity: Identity,
    /// The number of the claim. It grows with each attempt that takes over.
    pub epoch: i64,
    /// The attempt.
    pub holder: Holder,
    /// How long the run is held without a sign of life.
    pub duration: Duration,
    /// How to open the transactions of steps, where there are transactions.
    pub opening: Opening,
}

/// A random name of an attempt. An epoch alone does not tell two attempts apart: runs that were deleted
/// begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder([u8; 16]);

impl Holder {
    pub(crate) fn new() -> Self {
        let mut name = [0; 16];
        name.copy_from_slice(&Identity::random().as_bytes()[..16]);
        Self(name)
    }

    /// The stored form.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A run, as every store has it.
#[derive(Debug, Clone)]
pub struct Run {
    /// [`Identity::as_bytes`].
    pub identity: Vec<u8>,
    /// The endpoint.
    pub operation: String,
    /// [`Fingerprint::to_bytes`].
    pub fingerprint: Vec<u8>,
    /// [`Lease::epoch`].
    pub epoch: i64,
    /// [`Holder::as_bytes`] of the last holder.
    pub holder: Vec<u8>,
    /// The number of attempts.
    pub attempts: i32,
    /// [`Timestamp`] of the last claim.
    pub claimed_at: i64,
    /// [`Timestamp`] of the end of the lease.
    pub leased_until: i64,
    /// [`Timestamp`] after which the run is forgotten.
    pub expires_at: i64,
    /// [`Timestamp`] of the read.
    pub now: i64,
}

impl Run {
    /// Whether an attempt may be running.
    pub const fn is_leased(&self) -> bool {
        self.leased_until > self.now
    }

    /// Whether the run binds its key no longer.
    pub const fn is_expired(&self) -> bool {
        self.expires_at <= self.now && !self.is_leased()
    }

    /// The version that the next claim has seen.
    pub const fn version(&self) -> Version {
        Version {
            attempts: self.attempts,
            settled_at: Timestamp(self.claimed_at),
        }
    }

    /// The request that the run is bound to.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if this release did not write the run.
    pub fn fingerprint(&self) -> Result<Fingerprint, Unreadable> {
        Fingerprint::from_bytes(&self.fingerprint).ok_or(Unreadable("fingerprint of a run"))
    }

    /// Whether this attempt claimed the run last.
    pub fn is_held_by(&self, holder: Holder) -> bool {
        self.holder == holder.0
    }

    /// The run as the record of an attempt that failed and may be repeated: it binds its key, and the next
    /// attempt replaces exactly this version.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if this release did not write the run.
    pub fn found(self, identity: &Identity) -> Result<Found, Unreadable> {
        let row = Row {
            state: State::FailedRetriable.code(),
            attempts: self.attempts,
            status: 500,
            fingerprint: self.fingerprint,
            response: None,
            settled_at: self.claimed_at,
            expires_at: self.expires_at.max(self.leased_until),
        };
        Ok(Found {
            record: row.decode(identity)?,
            now: Timestamp(self.now),
        })
    }
}

/// A step, as every store has it.
#[derive(Debug, Clone)]
pub struct StepRow {
    /// The name.
    pub name: String,
    /// [`StepKind::code`].
    pub kind: i16,
    /// `None` for a `call_once` that may have happened.
    pub result: Option<Vec<u8>>,
    /// [`Timestamp`] of the recording.
    pub recorded_at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock of this process would be in another century.
    #[test]
    fn t5_a_lease_is_over_by_the_clock_of_its_store() {
        let mut run = Run {
            identity: Vec::new(),
            operation: String::new(),
            fingerprint: Vec::new(),
            epoch: 1,
            holder: Vec::new(),
            attempts: 1,
            claimed_at: 1_000,
            leased_until: 3_000,
            expires_at: 2_000,
            now: 2_999,
        };
        assert!(run.is_leased() && !run.is_expired());
        run.now = 3_000;
        assert!(!run.is_leased() && run.is_expired());
        run.expires_at = 4_000;
        assert!(!run.is_expired());
    }
}
