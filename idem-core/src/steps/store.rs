//! The store of requests with steps, over any store of runs.

use std::collections::HashSet;
use std::fmt;

use tokio::time::Instant;

use super::{Recorded, StepConnection, Steps};
use crate::identity::{Identity, ScopeDigest};
use crate::meter;
use crate::problem::Problem;
use crate::record::{Found, State};
use crate::store::runs::{Holder, Lease, RunStore as _, StepRow};
use crate::store::{
    Claim, ClaimRequest, Claimed, Draft, Forgotten, Mode, Opening, Purged, SettleError, Settlement,
    Stats, Store, StoreError,
};

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
    pub(super) runs: C::Runs,
}

/// The hold of an attempt on its run.
pub struct StepClaim<C: StepConnection> {
    steps: Steps<C>,
}

impl<C: StepConnection> Clone for StepStore<C> {
    fn clone(&self) -> Self {
        let runs = self.runs.clone();
        Self { runs }
    }
}

impl<C: StepConnection> fmt::Debug for StepStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StepStore").field(&self.runs).finish()
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

impl<C: StepConnection> StepStore<C> {
    /// The store of steps over a store of runs, for a database that is not an SQL one.
    pub fn with_runs(runs: C::Runs) -> Self {
        Self { runs }
    }

    /// The store of runs below it.
    pub fn runs(&self) -> &C::Runs {
        &self.runs
    }

    fn steps(
        &self,
        lease: Lease,
        renewed: Instant,
        recorded: Option<Vec<StepRow>>,
    ) -> StepClaim<C> {
        let has_key = recorded.is_some();
        let rows = recorded.unwrap_or_default().into_iter();
        let recorded = rows.map(
            |StepRow {
                 name, kind, result, ..
             }| (name, Recorded { kind, result }),
        );
        StepClaim {
            steps: Steps {
                runs: self.runs.clone(),
                lease,
                has_key,
                renewed,
                recorded: recorded.collect(),
                used: HashSet::new(),
                broken: None,
            },
        }
    }
}

/// A lease of the first claim.
fn lease(identity: Identity, opening: Opening) -> Result<Lease, StoreError> {
    let duration = opening.lease.ok_or_else(|| {
        let missing = "a handler with steps needs `lease = …` in its attribute";
        StoreError::Misconfigured(missing.into())
    })?;
    Ok(Lease {
        identity,
        epoch: 1,
        holder: Holder::new(),
        duration,
        opening,
    })
}

impl<C: StepConnection> Store for StepStore<C> {
    const MODE: Mode = Mode::Steps;

    type Connection = Steps<C>;
    type Claim = StepClaim<C>;

    async fn begin(&self, opening: Opening) -> Result<StepClaim<C>, StoreError> {
        let lease = lease(Identity::random(), opening)?;
        Ok(self.steps(lease, Instant::now(), None))
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<StepClaim<C>>, StoreError> {
        let mut lease = lease(*request.identity, request.opening)?;
        let sent = Instant::now();
        Ok(match self.runs.claim(request, &mut lease).await? {
            Claimed::Won(recorded) => {
                if lease.epoch > 1 {
                    meter::run_resumed();
                }
                Claimed::Won(self.steps(lease, sent, Some(recorded)))
            }
            Claimed::InFlight => Claimed::InFlight,
            Claimed::Changed(found) => Claimed::Changed(found),
        })
    }

    async fn settle(
        &self,
        claim: StepClaim<C>,
        settlement: Settlement<'_>,
    ) -> Result<(), SettleError> {
        let steps = claim.steps;
        if !steps.has_key {
            return Ok(());
        }
        let lease = &steps.lease;
        let ended = steps.broken == Some(Problem::TransactionEnded);
        match settlement.record {
            // The effect of a closure that ended its transaction may stand, so it must not run again.
            Some(draft) if ended => {
                let draft = Draft {
                    state: State::Ended,
                    response: None,
                    ..draft
                };
                self.runs.finish(lease, draft).await?;
                Err(SettleError::Ended)
            }
            Some(draft) if draft.state.is_replayed() => {
                steps.report_unused();
                let times = self.runs.finish(lease, draft).await?;
                let _ = settlement.written.set(times);
                Ok(())
            }
            // The steps stay for the next attempt. A run without steps stays if it binds its key.
            record => {
                let forget = record.is_none() && steps.recorded.is_empty() && steps.used.is_empty();
                self.runs.release(lease, forget).await
            }
        }
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        self.runs.find(identity).await
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        self.runs.purge_expired(limit).await
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        self.runs.erase(scope).await
    }

    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        self.runs.forget(identity).await
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        self.runs.tally(scope).await
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
