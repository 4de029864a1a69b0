//! Unfinished runs, for operators.

use serde::Serialize;

use super::{StepConnection, StepKind, StepStore};
use crate::engine::Engine;
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::record::{Timestamp, Unreadable};
use crate::store::StoreError;
use crate::store::runs::{Run, RunStore as _, StepRow};

/// A request with steps that has no record yet: its attempt runs, or is waited for, or is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedRun {
    /// The endpoint.
    pub operation: Operation,
    /// The number of attempts so far.
    pub attempts: u32,
    /// The last claim.
    pub claimed_at: Timestamp,
    /// The end of the lease. Until then an attempt may run.
    pub leased_until: Timestamp,
    /// The time after which the run is forgotten.
    pub expires_at: Timestamp,
    /// The database's time.
    pub now: Timestamp,
    /// The recorded steps, in the order of their recording.
    pub steps: Vec<RecordedStep>,
}

impl UnfinishedRun {
    /// Whether an attempt may be running.
    pub fn is_leased(&self) -> bool {
        self.leased_until > self.now
    }
}

/// A step of an [`UnfinishedRun`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedStep {
    /// The step's name.
    pub name: String,
    /// `commit`, `call` or `call_once`.
    pub kind: &'static str,
    /// Whether this is a `call_once` that may have happened (rule T4).
    pub is_uncertain: bool,
    /// The time of the recording.
    pub recorded_at: Timestamp,
}

/// What an operator has found out about a `call_once`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution<T> {
    /// It has happened, with this result.
    Found(T),
    /// It has not happened: the next attempt makes the call.
    Absent,
}

/// The outcome of [`Engine::resolve_step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// The next attempt goes on.
    Done,
    /// There is no such run, or its step is not a `call_once` without a result.
    Missing,
    /// An attempt holds the run; nothing was changed.
    InFlight,
}

impl<C: StepConnection> Engine<StepStore<C>> {
    /// The unfinished run of a key; `None` if there is no run, or if its response is recorded.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    pub async fn find_run(
        &self,
        scope: Option<&str>,
        operation: &Operation,
        key: &IdempotencyKey,
    ) -> Result<Option<UnfinishedRun>, StoreError> {
        let identity = self.identity(scope, operation, key);
        let run = self.store().runs.run(&identity).await?;
        run.map(UnfinishedRun::new).transpose()
    }

    /// At most this many unfinished runs, those with the oldest claim first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    pub async fn unfinished_runs(&self, limit: u32) -> Result<Vec<UnfinishedRun>, StoreError> {
        let runs = self.store().runs.runs(limit).await?;
        runs.into_iter().map(UnfinishedRun::new).collect()
    }

    /// Ends the doubt about a `call_once`, after the operator has found out (rule T4).
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer; [`StoreError::Unreadable`] if the result can't be
    /// written as JSON.
    pub async fn resolve_step<T: Serialize + Sync>(
        &self,
        scope: Option<&str>,
        operation: &Operation,
        key: &IdempotencyKey,
        step: &str,
        resolution: Resolution<&T>,
    ) -> Result<Resolved, StoreError> {
        let result = match resolution {
            Resolution::Found(result) => {
                let result = serde_json::to_vec(result);
                Some(result.map_err(|_not_json| Unreadable("result of a step"))?)
            }
            Resolution::Absent => None,
        };
        let identity = self.identity(scope, operation, key);
        self.store().runs.resolve(&identity, step, result).await
    }
}

impl UnfinishedRun {
    fn new((run, steps): (Run, Vec<StepRow>)) -> Result<Self, StoreError> {
        let steps = steps.into_iter().map(|step| {
            Ok(RecordedStep {
                kind: StepKind::from_code(step.kind)
                    .ok_or(Unreadable("kind of a step"))?
                    .name(),
                is_uncertain: step.result.is_none(),
                name: step.name,
                recorded_at: Timestamp(step.recorded_at),
            })
        });
        let steps: Result<_, Unreadable> = steps.collect();
        Ok(Self {
            operation: Operation::named(&run.operation),
            attempts: run.attempts.unsigned_abs(),
            claimed_at: Timestamp(run.claimed_at),
            leased_until: Timestamp(run.leased_until),
            expires_at: Timestamp(run.expires_at),
            now: Timestamp(run.now),
            steps: steps?,
        })
    }
}
