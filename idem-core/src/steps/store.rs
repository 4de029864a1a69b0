//! The store of requests with steps, over a store of single transactions.
//!
//! The claim of a run, each step and the settlement are a transaction of the inner store each. So that store's
//! locks, time limits and checks hold for them as they are.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::operate::Standing;
use super::{Lease, Recorded, StepConnection, Steps, settle};
use crate::identity::{Identity, ScopeDigest};
use crate::policy::Isolation;
use crate::problem::Problem;
use crate::record::{Found, State};
use crate::store::runs::{Fence, Holder, RunSql, RunStore as _};
use crate::store::{
    Claim, ClaimRequest, Claimed, Draft, Forgotten, Mode, Opening, Purged, SettleError, Settlement,
    Stats, Store, StoreError, Times,
};

/// How long a settlement whose answer was lost is asked for.
const RESOLVE: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(50);

/// Records, runs and steps in the database of `C`. The engine of handlers with [`Steps`] has it.
///
/// It shares the pool and the settings of the store it is made of, and its records:
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn example(pool: sqlx::SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// use idem_core::{Engine, SqliteStore, StepStore};
/// use sqlx::SqliteConnection;
///
/// let store = SqliteStore::new(pool);
/// let steps = StepStore::<SqliteConnection>::new(store.clone());
/// steps.migrate().await?;
/// let (engine, step_engine) = (Engine::new(store), Engine::new(steps));
/// # Ok(())
/// # }
/// ```
pub struct StepStore<C: StepConnection> {
    pub(super) inner: C::Store,
    pub(super) sql: RunSql,
}

/// The hold of an attempt on its run.
pub struct StepClaim<C: StepConnection> {
    steps: Steps<C>,
}

impl<C: StepConnection> Clone for StepStore<C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            sql: self.sql.clone(),
        }
    }
}

impl<C: StepConnection> fmt::Debug for StepStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StepStore").field(&self.inner).finish()
    }
}

impl<C: StepConnection> fmt::Debug for StepClaim<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StepClaim").field(&self.steps).finish()
    }
}

impl<C: StepConnection> Claim for StepClaim<C> {
    type Connection = Steps<C>;

    fn connection(&mut self) -> &mut Steps<C> {
        &mut self.steps
    }

    fn problem(&self) -> Option<Problem> {
        self.steps.broken
    }
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

impl<C: StepConnection> StepStore<C> {
    /// The store of steps beside a store of single transactions. Settings of that store that are changed
    /// later don't reach it.
    pub fn new(store: C::Store) -> Self {
        Self {
            sql: store.runs(),
            inner: store,
        }
    }

    /// Creates the tables of runs and steps, and those of the store below it, or brings them up to date.
    ///
    /// # Errors
    ///
    /// As those of the store's own `migrate()`.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.inner.migrate_runs().await
    }

    fn steps(
        &self,
        fence: Option<Fence>,
        identity: Identity,
        opening: Opening,
    ) -> Result<Steps<C>, StoreError> {
        let duration = opening.lease.ok_or_else(|| {
            let missing = "a handler with steps needs `lease = …` in its attribute";
            StoreError::Misconfigured(missing.into())
        })?;
        Ok(Steps {
            lease: Lease {
                store: self.inner.clone(),
                sql: self.sql.clone(),
                fence,
                opening,
                duration,
            },
            renewed: Instant::now(),
            identity,
            recorded: HashMap::new(),
            used: HashSet::new(),
            broken: None,
        })
    }

    /// Opens a transaction of the inner store that holds the identity. In it there is no record: the run
    /// takes the place of one that has expired, and of the row that a claim may write.
    async fn hold(
        &self,
        request: ClaimRequest<'_>,
    ) -> Result<Claimed<<C::Store as Store>::Claim>, StoreError> {
        let first = ClaimRequest {
            seen: None,
            ..request
        };
        let (mut claimed, replaces) = match self.inner.claim(first).await? {
            Claimed::Changed(Some(found)) if Some(found.record.version()) == request.seen => {
                (self.inner.claim(request).await?, true)
            }
            claimed => (claimed, false),
        };
        if let Claimed::Won(tx) = &mut claimed
            && (replaces || C::Store::CLAIM_WRITES)
        {
            let delete = self.sql.delete_record(request.identity);
            tx.connection().change_runs(delete).await?;
        }
        Ok(claimed)
    }

    /// What there is under the key, in a transaction that holds it.
    async fn look(
        &self,
        tx: &mut <C::Store as Store>::Claim,
        request: ClaimRequest<'_>,
    ) -> Result<Look, StoreError> {
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
        tx: &mut <C::Store as Store>::Claim,
        request: ClaimRequest<'_>,
        fence: &Fence,
        is_resumed: bool,
        steps: &mut Steps<C>,
    ) -> Result<(), StoreError> {
        let connection = tx.connection();
        if is_resumed {
            let rows = connection
                .read_steps(self.sql.steps(request.identity.as_bytes()))
                .await?;
            let recorded = rows.into_iter().map(|row| {
                let (kind, result) = (row.kind, row.result);
                (row.name, Recorded { kind, result })
            });
            steps.recorded = recorded.collect();
            let take_over = self.sql.take_over(&request, fence, steps.lease.duration);
            connection.change_runs(take_over).await?;
        } else {
            let insert = self.sql.insert(&request, fence, steps.lease.duration);
            connection.change_runs(insert).await?;
        }
        Ok(())
    }

    /// Whether the run is this attempt's.
    async fn is_held(&self, fence: &Fence) -> Result<bool, StoreError> {
        let mut tx = self.inner.begin(internal()).await?;
        let run = tx
            .connection()
            .read_run(self.sql.run(&fence.identity))
            .await?;
        drop(settle(&self.inner, tx, false).await);
        Ok(run.is_some_and(|run| run.epoch == fence.epoch && run.is_held_by(fence.holder)))
    }

    /// Records the response, and deletes the run.
    async fn finish(
        &self,
        steps: &Steps<C>,
        fence: Fence,
        draft: Draft<'_>,
    ) -> Result<Times, SettleError> {
        let until = Instant::now() + RESOLVE;
        let mut lost: Option<Times> = None;
        loop {
            let written = OnceLock::new();
            let settled = self.try_finish(steps, fence, draft, &written).await;
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

    async fn is_recorded(&self, draft: Draft<'_>, lost: Option<Times>) -> bool {
        let Some(times) = lost else { return false };
        let found = self.inner.find(draft.identity).await.ok().flatten();
        found.is_some_and(|found| {
            found.record.attempts == draft.attempts && found.record.settled_at == times.settled_at
        })
    }

    async fn try_finish(
        &self,
        steps: &Steps<C>,
        fence: Fence,
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
            opening: opening(steps.lease.opening.deadline),
            seen: None,
            likely_taken: false,
        };
        let mut tx = match self.inner.claim(request).await.map_err(refused)? {
            Claimed::Won(tx) => tx,
            Claimed::InFlight => return Err(SettleError::Refused("the identity is held".into())),
            Claimed::Changed(_) => return Err(SettleError::Superseded),
        };
        let connection = tx.connection();
        let held = connection
            .change_runs(self.sql.fence(&fence, steps.lease.duration))
            .await;
        if held.map_err(refused)? == 0 {
            return Err(SettleError::Superseded);
        }
        let deleted = connection
            .change_runs(self.sql.delete(fence.identity.as_bytes()))
            .await;
        deleted.map_err(refused)?;
        let settlement = Settlement {
            keep_writes: true,
            record: Some(Draft {
                replaces: None,
                ..draft
            }),
            written,
        };
        self.inner.settle(tx, settlement).await
    }

    /// Ends the lease. The steps stay for the next attempt; a run without steps stays if it binds its key.
    async fn release(
        &self,
        steps: &Steps<C>,
        fence: Fence,
        binds: bool,
    ) -> Result<(), SettleError> {
        let refused = |error: StoreError| SettleError::Refused(error.into());
        let begun = self
            .inner
            .begin(opening(steps.lease.opening.deadline))
            .await;
        let mut tx = begun.map_err(refused)?;
        let connection = tx.connection();
        let leaves_nothing = !binds && steps.recorded.is_empty() && steps.used.is_empty();
        let held = connection.change_runs(self.sql.release(&fence)).await;
        if held.map_err(refused)? == 0 {
            return Err(SettleError::Superseded);
        }
        if leaves_nothing {
            let deleted = connection
                .change_runs(self.sql.delete(fence.identity.as_bytes()))
                .await;
            deleted.map_err(refused)?;
        }
        settle(&self.inner, tx, true).await
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
pub(super) fn internal() -> Opening {
    opening(RESOLVE)
}

impl<C: StepConnection> Store for StepStore<C> {
    const MODE: Mode = Mode::Steps;

    type Connection = Steps<C>;
    type Claim = StepClaim<C>;

    async fn begin(&self, opening: Opening) -> Result<StepClaim<C>, StoreError> {
        let identity = Identity::random();
        let steps = self.steps(None, identity, opening)?;
        Ok(StepClaim { steps })
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<StepClaim<C>>, StoreError> {
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
                let undone = settle(&self.inner, tx, false).await;
                undone.map_err(|error| StoreError::Unavailable(error.into()))?;
                return Ok(match other {
                    Look::Changed(found) => Claimed::Changed(found),
                    _ => Claimed::InFlight,
                });
            }
        };
        let fence = Fence {
            identity: *request.identity,
            epoch,
            holder: Holder::new(),
        };
        let mut steps = self.steps(Some(fence), fence.identity, request.opening)?;
        self.take(&mut tx, request, &fence, is_resumed, &mut steps)
            .await?;
        match settle(&self.inner, tx, true).await {
            Ok(()) => {}
            // The holder's name is this attempt's alone, so the run itself tells.
            Err(SettleError::Unknown(_)) if self.is_held(&fence).await? => {}
            Err(SettleError::Superseded) => {
                return Err(StoreError::Conflict("the claim was refused".into()));
            }
            Err(error) => return Err(StoreError::Unavailable(error.into())),
        }
        steps.renewed = Instant::now();
        Ok(Claimed::Won(StepClaim { steps }))
    }

    async fn settle(
        &self,
        claim: StepClaim<C>,
        settlement: Settlement<'_>,
    ) -> Result<(), SettleError> {
        let steps = claim.steps;
        let Some(fence) = steps.lease.fence else {
            return Ok(());
        };
        let ended = steps.broken == Some(Problem::TransactionEnded);
        match settlement.record {
            // The effect of a closure that ended its transaction may stand, so it must not run again.
            Some(draft) if ended => {
                let draft = Draft {
                    state: State::Ended,
                    response: None,
                    ..draft
                };
                self.finish(&steps, fence, draft).await?;
                Err(SettleError::Ended)
            }
            Some(draft) if draft.state.is_replayed() => {
                steps.report_unused();
                let times = self.finish(&steps, fence, draft).await?;
                let _ = settlement.written.set(times);
                Ok(())
            }
            record => self.release(&steps, fence, record.is_some()).await,
        }
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        self.inner.find(identity).await
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        let mut purged = self.inner.purge_expired(limit).await?;
        let mut tx = self.inner.begin(internal()).await?;
        let start = Instant::now();
        let expired = tx.connection().read_runs(self.sql.expired(limit)).await?;
        for run in &expired {
            let delete = self.sql.delete(&run.identity);
            tx.connection().change_runs(delete).await?;
        }
        self.end(tx).await?;
        purged.records += expired.len() as u64;
        if C::Store::HAS_ONE_WRITER {
            purged.held += start.elapsed();
        }
        Ok(purged)
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        let (runs, steps) = self.sql.erase(scope);
        let mut tx = self.inner.begin(internal()).await?;
        // From here on their holders are refused.
        let erased = tx.connection().change_runs(runs).await?;
        tx.connection().change_runs(steps).await?;
        self.end(tx).await?;
        Ok(erased + self.inner.erase(scope).await?)
    }

    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        let mut tx = self.inner.begin(internal()).await?;
        let standing = self.lock(&mut tx, identity).await?;
        if standing == Standing::Free {
            let delete = self.sql.delete(identity.as_bytes());
            tx.connection().change_runs(delete).await?;
        }
        self.end(tx).await?;
        match standing {
            Standing::Free => Ok(Forgotten::Deleted),
            Standing::Held => Ok(Forgotten::InFlight),
            Standing::Missing => self.inner.forget(identity).await,
        }
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        self.inner.tally(scope).await
    }
}

impl<C: StepConnection> Steps<C> {
    /// A recorded step that the code no longer has is a sign of a name that has changed (rule T11).
    fn report_unused(&self) {
        let unused = self
            .recorded
            .keys()
            .filter(|name| !self.used.contains(*name));
        let unused: Vec<_> = unused.collect();
        if !unused.is_empty() {
            tracing::warn!(steps = ?unused, "recorded steps that the handler did not visit");
        }
    }
}
