//! Runs in SQL tables beside a store's records.
//!
//! The claim of a run, each step and the settlement are a transaction of that store each. So its locks, time
//! limits and checks hold for them as they are.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{Entered, Resolved, StepConnection, StepError, StepKind, StepName, StepStore, Steps};
use crate::identity::{Identity, ScopeDigest};
use crate::meter;
use crate::policy::Isolation;
use crate::record::Found;
use crate::store::rehearsal::{HIDDEN, Rehearsal, misconfigured};
use crate::store::run_sql::{RunConnection as _, RunSql, SqlRunStore};
use crate::store::runs::{Holder, Lease, Run, RunStore, StepRow};
use crate::store::{
    Claim as _, ClaimRequest, Claimed, Draft, Forgotten, Opening, Purged, SettleError, Settlement,
    Stats, Store as _, StoreError, Times,
};
use crate::transaction::Transaction;

/// How long a settlement whose answer was lost is asked for.
const RESOLVE: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(50);

/// Runs and steps in the database of a store, which has the records.
#[derive(Clone)]
pub struct SqlRuns<S> {
    store: S,
    sql: RunSql,
}

impl<S: fmt::Debug> fmt::Debug for SqlRuns<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqlRuns").field(&self.store).finish()
    }
}

/// A connection of an SQL database, on which steps can be committed.
pub trait SqlStepConnection:
    Transaction<Connection = Self, Store: SqlRunStore<Connection = Self>>
    + StepConnection<Runs = SqlRuns<<Self as Transaction>::Store>>
{
}

impl<C> SqlStepConnection for C where
    C: Transaction<Connection = C, Store: SqlRunStore<Connection = C>>
        + StepConnection<Runs = SqlRuns<<C as Transaction>::Store>>
{
}

impl<C: SqlStepConnection> StepStore<C> {
    /// The store of steps beside a store of single transactions. Settings of that store that are changed
    /// later don't reach it.
    pub fn new(store: C::Store) -> Self {
        let sql = store.run_sql();
        Self::with_runs(SqlRuns { store, sql })
    }

    /// Creates the tables of runs and steps, and those of the store below it, or brings them up to date.
    ///
    /// # Errors
    ///
    /// As those of the store's own `migrate()`.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.runs.store.migrate_runs().await
    }

    /// Checks the store below it, and the tables of runs and steps: it claims a run that nobody else has,
    /// renews the lease, records a step, and rolls back. So missing tables and rights are found at the start
    /// of a service, and not by its first request.
    ///
    /// # Errors
    ///
    /// As those of the store's own `check()`.
    pub async fn check(&self) -> Result<(), StoreError> {
        let SqlRuns { store, sql } = &self.runs;
        store.check_records().await?;
        let rehearsal = Rehearsal::new();
        let lease = Lease {
            identity: rehearsal.identity,
            epoch: 1,
            holder: Holder::new(),
            duration: RESOLVE,
            opening: internal(),
        };
        let insert = sql.insert(&rehearsal.claim(None), &lease);
        let record = sql.record(&lease, "check", StepKind::CallOnce, None);
        let complete = sql.complete(&lease.identity, "check", b"1".into());
        let mut tx = store.begin(lease.opening).await?;
        let connection = tx.connection();
        connection.change_runs(insert).await?;
        let renewed = connection.change_runs(sql.fence(&lease)).await?;
        connection.run_prepared(record).await?;
        let completed = connection.run_prepared(complete).await?;
        let delete = sql.delete(lease.identity.as_bytes());
        connection.change_runs(delete).await?;
        drop(self.runs.end(tx, false).await);
        if (renewed, completed) == (1, 1) {
            Ok(())
        } else {
            Err(misconfigured(HIDDEN))
        }
    }
}

impl<C: SqlStepConnection> Steps<C> {
    /// Runs `work` in a transaction of its own, once: its writes, its result, and the proof that the key is
    /// still this attempt's are one commit (rule T2).
    ///
    /// A later attempt gets the result without running `work`.
    ///
    /// # Errors
    ///
    /// The closure's own, after which its writes are undone; a [`StepError`], of which only
    /// [`StepError::Unconfirmed`] leaves open whether the step was committed: then a retry finds out.
    ///
    /// # Cancellation
    ///
    /// The transaction is undone.
    pub async fn commit<T, E, F>(&mut self, name: impl Into<StepName>, work: F) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
        F: AsyncFnOnce(&mut C) -> Result<T, E>,
    {
        let name = name.into().into_string();
        if let Entered::Done(value) = self.enter(&name, StepKind::Commit)? {
            return Ok(value);
        }
        let sent = Instant::now();
        let begun = if self.has_key {
            self.runs.begin(&self.lease).await
        } else {
            let begun = self.runs.store.begin(self.lease.opening).await;
            begun.map_err(StepError::Store)
        };
        let mut tx = begun.map_err(|error| self.fail(error))?;
        // Here, and not at the commit.
        self.renewed = sent;
        let value = match work(tx.connection()).await {
            Ok(value) => value,
            Err(error) => {
                let undone = self.runs.undo(tx).await;
                undone.map_err(|error| self.fail(error))?;
                return Err(error);
            }
        };
        let result = self.encode(&name, &value)?;
        let kept = if self.has_key {
            let (lease, kind) = (&self.lease, StepKind::Commit);
            self.runs.keep(tx, lease, &name, kind, Some(result)).await
        } else {
            self.runs.commit(tx).await
        };
        kept.map_err(|error| self.fail(error))?;
        meter::step(StepKind::Commit.name(), false);
        Ok(value)
    }
}

/// What there is of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A run that no attempt holds.
    Free,
    Held,
    Missing,
}

/// What a claim makes of the run that there is.
enum Look {
    /// Nobody holds the key; the epoch of the next claim.
    Free {
        epoch: i64,
        is_resumed: bool,
    },
    Held,
    Changed(Option<Found>),
}

impl<S: SqlRunStore> SqlRuns<S> {
    /// Opens a transaction that only the holder of the run can commit.
    async fn begin(&self, lease: &Lease) -> Result<S::Claim, StepError> {
        let mut tx = self.store.begin(lease.opening).await?;
        if tx.connection().change_runs(self.sql.fence(lease)).await? == 0 {
            return Err(StepError::Lost);
        }
        Ok(tx)
    }

    /// Records a step in a transaction that [`begin`](Self::begin) has opened, and commits it.
    async fn keep(
        &self,
        mut tx: S::Claim,
        lease: &Lease,
        name: &str,
        kind: StepKind,
        result: Option<Vec<u8>>,
    ) -> Result<(), StepError> {
        let record = self.sql.record(lease, name, kind, result);
        if let Some(proof) = self.sql.proof() {
            if let Err(error) = tx.connection().change_runs(proof).await {
                return Err(self.refused(tx, error).await);
            }
            // The savepoint is a new one, so only the end of the connection undoes the step.
            tx.connection().run_prepared(record).await?;
        } else if let Err(error) = tx.connection().run_prepared(record).await {
            return Err(self.refused(tx, error).await);
        }
        self.commit(tx).await
    }

    /// Undoes a transaction that took no step. One of the handler's own takes none, and can't be undone.
    async fn refused(&self, tx: S::Claim, error: StoreError) -> StepError {
        match self.end(tx, false).await {
            Err(SettleError::Ended) => StepError::Ended,
            _ => StepError::Store(error),
        }
    }

    async fn commit(&self, tx: S::Claim) -> Result<(), StepError> {
        Ok(self.end(tx, true).await?)
    }

    /// Undoes the transaction of a closure that failed.
    async fn undo(&self, tx: S::Claim) -> Result<(), StepError> {
        match self.end(tx, false).await {
            Err(SettleError::Ended) => Err(StepError::Ended),
            Err(error) => {
                tracing::warn!(%error, "the connection of a failed step is closed");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Ends a transaction without a record.
    async fn end(&self, tx: S::Claim, keep_writes: bool) -> Result<(), SettleError> {
        let settlement = Settlement {
            keep_writes,
            record: None,
            written: &OnceLock::new(),
        };
        self.store.settle(tx, settlement).await
    }

    /// The same for a transaction of the store's own, or of an operator.
    async fn end_own(&self, tx: S::Claim, keep_writes: bool) -> Result<(), StoreError> {
        let ended = self.end(tx, keep_writes).await;
        ended.map_err(|error| StoreError::Unavailable(error.into()))
    }

    /// Opens a transaction that holds the identity. In it there is no record: the run takes the place of one
    /// that has expired, and of the row that a claim may write.
    async fn hold(&self, request: ClaimRequest<'_>) -> Result<Claimed<S::Claim>, StoreError> {
        let first = ClaimRequest {
            seen: None,
            ..request
        };
        let (mut claimed, replaces) = match self.store.claim(first).await? {
            Claimed::Changed(Some(found)) if Some(found.record.version()) == request.seen => {
                (self.store.claim(request).await?, true)
            }
            claimed => (claimed, false),
        };
        if let Claimed::Won(tx) = &mut claimed
            && (replaces || S::CLAIM_WRITES)
        {
            let delete = self.sql.delete_record(request.identity);
            tx.connection().change_runs(delete).await?;
        }
        Ok(claimed)
    }

    /// What there is under the key, in a transaction that holds it.
    async fn look(&self, tx: &mut S::Claim, request: ClaimRequest<'_>) -> Result<Look, StoreError> {
        let connection = tx.connection();
        let Some(run) = connection.read_run(self.sql.run(request.identity)).await? else {
            return Ok(Look::Free {
                epoch: 1,
                is_resumed: false,
            });
        };
        if !run.is_expired() && !run.fingerprint()?.matches(request.fingerprint) {
            return Ok(Look::Changed(Some(run.found(request.identity)?)));
        }
        if run.is_leased() {
            return Ok(Look::Held);
        }
        if !run.is_expired() && Some(run.version()) != request.seen {
            return Ok(Look::Changed(Some(run.found(request.identity)?)));
        }
        // A step that outlasts its lease holds the row.
        let locked = connection.read_run(self.sql.lock(request.identity)).await?;
        Ok(match locked {
            Some(locked) if locked.epoch == run.epoch && !locked.is_leased() => Look::Free {
                epoch: run.epoch + 1,
                is_resumed: !run.is_expired(),
            },
            _ => Look::Held,
        })
    }

    async fn take(
        &self,
        tx: &mut S::Claim,
        request: ClaimRequest<'_>,
        lease: &Lease,
        is_resumed: bool,
    ) -> Result<Vec<StepRow>, StoreError> {
        let connection = tx.connection();
        if is_resumed {
            let steps = self.sql.steps(request.identity.as_bytes());
            let steps = connection.read_steps(steps).await?;
            let take_over = self.sql.take_over(&request, lease);
            connection.change_runs(take_over).await?;
            Ok(steps)
        } else {
            let insert = self.sql.insert(&request, lease);
            connection.change_runs(insert).await?;
            Ok(Vec::new())
        }
    }

    /// Whether the run is this attempt's.
    async fn is_held(&self, lease: &Lease) -> Result<bool, StoreError> {
        let mut tx = self.store.begin(internal()).await?;
        let run = tx
            .connection()
            .read_run(self.sql.run(&lease.identity))
            .await?;
        drop(self.end(tx, false).await);
        Ok(run.is_some_and(|run| run.epoch == lease.epoch && run.is_held_by(lease.holder)))
    }

    async fn is_recorded(&self, draft: Draft<'_>, lost: Option<Times>) -> bool {
        let Some(times) = lost else { return false };
        let found = self.store.find(draft.identity).await.ok().flatten();
        found.is_some_and(|found| {
            found.record.attempts == draft.attempts && found.record.settled_at == times.settled_at
        })
    }

    async fn try_finish(
        &self,
        lease: &Lease,
        draft: Draft<'_>,
        written: &OnceLock<Times>,
    ) -> Result<(), SettleError> {
        let refused = |error: StoreError| SettleError::Refused(error.into());
        let request = ClaimRequest {
            identity: draft.identity,
            operation: draft.operation,
            fingerprint: draft.fingerprint,
            attempt: draft.attempts,
            ttl: draft.ttl,
            opening: opening(lease.opening.deadline),
            seen: None,
            likely_taken: false,
        };
        let mut tx = match self.store.claim(request).await.map_err(refused)? {
            Claimed::Won(tx) => tx,
            Claimed::InFlight => return Err(SettleError::Refused("the identity is held".into())),
            Claimed::Changed(_) => return Err(SettleError::Superseded),
        };
        let connection = tx.connection();
        let held = connection.change_runs(self.sql.fence(lease)).await;
        if held.map_err(refused)? == 0 {
            return Err(SettleError::Superseded);
        }
        let delete = self.sql.delete(lease.identity.as_bytes());
        connection.change_runs(delete).await.map_err(refused)?;
        let settlement = Settlement {
            keep_writes: true,
            record: Some(Draft {
                replaces: None,
                ..draft
            }),
            written,
        };
        self.store.settle(tx, settlement).await
    }

    /// Locks the run of an identity, if no attempt holds it.
    async fn lock(&self, tx: &mut S::Claim, identity: &Identity) -> Result<Standing, StoreError> {
        let connection = tx.connection();
        Ok(match connection.read_run(self.sql.lock(identity)).await? {
            Some(run) if run.is_leased() => Standing::Held,
            Some(_) => Standing::Free,
            // A step of an attempt may have locked it.
            None => match connection.read_run(self.sql.run(identity)).await? {
                Some(_) => Standing::Held,
                None => Standing::Missing,
            },
        })
    }

    async fn read(&self, select: String) -> Result<Vec<(Run, Vec<StepRow>)>, StoreError> {
        let mut tx = self.store.begin(internal()).await?;
        let mut runs = Vec::new();
        for run in tx.connection().read_runs(select).await? {
            let steps = self.sql.steps(&run.identity);
            let steps = tx.connection().read_steps(steps).await?;
            runs.push((run, steps));
        }
        self.end_own(tx, true).await?;
        Ok(runs)
    }
}

impl<S: SqlRunStore> RunStore for SqlRuns<S> {
    async fn claim(
        &self,
        request: ClaimRequest<'_>,
        lease: &mut Lease,
    ) -> Result<Claimed<Vec<StepRow>>, StoreError> {
        let held = ClaimRequest {
            opening: opening(request.opening.deadline),
            ..request
        };
        let mut tx = match self.hold(held).await? {
            Claimed::Won(tx) => tx,
            Claimed::InFlight => return Ok(Claimed::InFlight),
            Claimed::Changed(found) => return Ok(Claimed::Changed(found)),
        };
        let (epoch, is_resumed) = match self.look(&mut tx, request).await? {
            Look::Free { epoch, is_resumed } => (epoch, is_resumed),
            other => {
                self.end_own(tx, false).await?;
                return Ok(match other {
                    Look::Changed(found) => Claimed::Changed(found),
                    _ => Claimed::InFlight,
                });
            }
        };
        lease.epoch = epoch;
        let steps = self.take(&mut tx, request, lease, is_resumed).await?;
        match self.end(tx, true).await {
            Ok(()) => {}
            // The holder's name is this attempt's alone, so the run itself tells.
            Err(SettleError::Unknown(_)) if self.is_held(lease).await? => {}
            Err(SettleError::Superseded) => {
                return Err(StoreError::Conflict("the claim was refused".into()));
            }
            Err(error) => return Err(StoreError::Unavailable(error.into())),
        }
        Ok(Claimed::Won(steps))
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StepError> {
        let tx = self.begin(lease).await?;
        self.commit(tx).await
    }

    async fn record(
        &self,
        lease: &Lease,
        name: &str,
        kind: StepKind,
        result: Option<Vec<u8>>,
    ) -> Result<(), StepError> {
        let tx = self.begin(lease).await?;
        self.keep(tx, lease, name, kind, result).await
    }

    async fn complete(&self, lease: &Lease, name: &str, result: Vec<u8>) -> Result<(), StepError> {
        let mut tx = self.begin(lease).await?;
        let complete = self.sql.complete(&lease.identity, name, result);
        if tx.connection().run_prepared(complete).await? == 0 {
            return Err(StepError::Lost);
        }
        self.commit(tx).await
    }

    async fn finish(&self, lease: &Lease, draft: Draft<'_>) -> Result<Times, SettleError> {
        let until = Instant::now() + RESOLVE;
        let mut lost: Option<Times> = None;
        loop {
            let written = OnceLock::new();
            let settled = self.try_finish(lease, draft, &written).await;
            match (settled, written.into_inner()) {
                (Ok(()), Some(times)) => return Ok(times),
                (Ok(()), None) => {
                    return Err(SettleError::Unknown("the record has no times".into()));
                }
                // The commit whose answer was lost has happened: only this attempt could delete its run.
                (Err(SettleError::Superseded), _) if self.is_recorded(draft, lost).await => {
                    return lost.ok_or(SettleError::Superseded);
                }
                (Err(SettleError::Unknown(_)), times) if Instant::now() + PAUSE < until => {
                    lost = times.or(lost);
                }
                // Another transaction holds the identity for a moment, or the database is away.
                (Err(SettleError::Refused(_)), _) if Instant::now() + PAUSE < until => {}
                (Err(error), _) => return Err(error),
            }
            sleep(PAUSE).await;
        }
    }

    async fn release(&self, lease: &Lease, forget: bool) -> Result<(), SettleError> {
        let refused = |error: StoreError| SettleError::Refused(error.into());
        let begun = self.store.begin(opening(lease.opening.deadline)).await;
        let mut tx = begun.map_err(refused)?;
        let connection = tx.connection();
        let held = connection.change_runs(self.sql.release(lease)).await;
        if held.map_err(refused)? == 0 {
            return Err(SettleError::Superseded);
        }
        if forget {
            let delete = self.sql.delete(lease.identity.as_bytes());
            connection.change_runs(delete).await.map_err(refused)?;
        }
        self.end(tx, true).await
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        self.store.find(identity).await
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        let mut purged = self.store.purge_expired(limit).await?;
        let mut tx = self.store.begin(internal()).await?;
        let start = Instant::now();
        let expired = tx.connection().read_runs(self.sql.expired(limit)).await?;
        for run in &expired {
            let delete = self.sql.delete(&run.identity);
            tx.connection().change_runs(delete).await?;
        }
        self.end_own(tx, true).await?;
        purged.records += expired.len() as u64;
        if S::HAS_ONE_WRITER {
            purged.held += start.elapsed();
        }
        Ok(purged)
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        let (runs, steps) = self.sql.erase(scope);
        let mut tx = self.store.begin(internal()).await?;
        // From here on their holders are refused.
        let erased = tx.connection().change_runs(runs).await?;
        tx.connection().change_runs(steps).await?;
        self.end_own(tx, true).await?;
        Ok(erased + self.store.erase(scope).await?)
    }

    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        match self.store.forget(identity).await? {
            Forgotten::Missing => {}
            forgotten => return Ok(forgotten),
        }
        let mut tx = self.store.begin(internal()).await?;
        let standing = self.lock(&mut tx, identity).await?;
        if standing == Standing::Free {
            let delete = self.sql.delete(identity.as_bytes());
            tx.connection().change_runs(delete).await?;
        }
        self.end_own(tx, true).await?;
        Ok(match standing {
            Standing::Free => Forgotten::Deleted,
            Standing::Held => Forgotten::InFlight,
            // The attempt that was in flight has recorded its response in the meantime.
            Standing::Missing if self.store.find(identity).await?.is_some() => Forgotten::InFlight,
            Standing::Missing => Forgotten::Missing,
        })
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        self.store.tally(scope).await
    }

    async fn run(&self, identity: &Identity) -> Result<Option<(Run, Vec<StepRow>)>, StoreError> {
        Ok(self.read(self.sql.run(identity)).await?.pop())
    }

    async fn runs(&self, limit: u32) -> Result<Vec<(Run, Vec<StepRow>)>, StoreError> {
        self.read(self.sql.all(limit)).await
    }

    async fn resolve(
        &self,
        identity: &Identity,
        name: &str,
        result: Option<Vec<u8>>,
    ) -> Result<Resolved, StoreError> {
        let mut tx = self.store.begin(internal()).await?;
        let resolved = match self.lock(&mut tx, identity).await? {
            Standing::Free => {
                let connection = tx.connection();
                let changed = if let Some(result) = result {
                    let complete = self.sql.complete(identity, name, result);
                    connection.run_prepared(complete).await?
                } else {
                    let retract = self.sql.retract(identity, name);
                    connection.change_runs(retract).await?
                };
                if changed == 0 {
                    Resolved::Missing
                } else {
                    let refuse = self.sql.refuse(identity);
                    connection.change_runs(refuse).await?;
                    Resolved::Done
                }
            }
            Standing::Held => Resolved::InFlight,
            Standing::Missing => Resolved::Missing,
        };
        self.end_own(tx, true).await?;
        Ok(resolved)
    }
}

/// The opening of a transaction in which no code of the application runs.
fn opening(deadline: Duration) -> Opening {
    Opening {
        isolation: Some(Isolation::ReadCommitted),
        deadline,
        lease: None,
    }
}

/// The same for a transaction of the store's own, or of an operator.
fn internal() -> Opening {
    opening(RESOLVE)
}
