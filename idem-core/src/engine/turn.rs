//! One attempt, from the claim to the answer.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::admission::Room;
use super::guard::ClaimGuard;
use super::{Engine, Prepared, Shareable, with_key_echo};
use crate::adapter::HandlerOutcome;
use crate::attempt::Attempt;
use crate::fingerprint::Fingerprint;
use crate::meter::Timer;
use crate::observe::{Answer, Observation};
use crate::policy::Settle;
use crate::problem::Problem;
use crate::response::Response;
use crate::single_flight::Owner;
use crate::store::{Claim as _, Store};

/// The right of a request to run: in this process it is the only one for its identity.
#[derive(Debug)]
pub struct Turn<S: Store> {
    pub(super) engine: Engine<S>,
    pub(super) request: Prepared,
    /// Until it has published an answer.
    pub(super) owner: Option<Owner<Shareable>>,
    /// Until when it waits for an attempt of another process.
    pub(super) until: Instant,
    pub(super) observation: Observation,
    // Freed when the attempt has ended.
    pub(super) _room: Room,
}

/// How an attempt is going to be settled.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) settle: Settle,
    pub(super) response: Response,
    /// The library's own reason, where the response is not the handler's.
    pub(super) problem: Option<Problem>,
    /// How long the store may take.
    pub(super) timeout: Duration,
}

/// What `catch_unwind` makes of a handler that is still in time.
type Caught = Result<HandlerOutcome<Response>, Box<dyn Any + Send>>;

impl<S: Store> Turn<S> {
    /// Claims the identity, runs `work` in the claim's transaction, and settles.
    ///
    /// Dropping the future undoes the attempt: adapters poll it to its end, see
    /// [`DetachOnDrop`](crate::adapter::DetachOnDrop).
    pub async fn run<W, F>(self, work: W) -> Response
    where
        W: FnOnce(ClaimGuard<S::Claim>, Attempt) -> F,
        F: Future<Output = HandlerOutcome<Response>>,
    {
        let (engine, observation) = (self.engine.clone(), self.observation.clone());
        let echo = engine.key_echo(&self.request);
        // One expression: a future in a variable would be moved once more, and be stored twice.
        let answer = AssertUnwindSafe(self.attempt(work))
            .catch_unwind()
            .instrument(observation.span.clone())
            .await;
        let answer = answer.unwrap_or_else(|_panic| {
            let span = &observation.span;
            span.in_scope(|| tracing::error!("idem itself panicked; the outcome is not known"));
            engine.problem(Problem::OutcomeUnknown)
        });
        with_key_echo(observation.end(answer), echo)
    }

    async fn attempt<W, F>(mut self, work: W) -> Answer
    where
        W: FnOnce(ClaimGuard<S::Claim>, Attempt) -> F,
        F: Future<Output = HandlerOutcome<Response>>,
    {
        let (claim, info) = match self.claim().await {
            Ok(won) => won,
            Err(answer) => return answer,
        };
        self.observation.span.record("idem.attempt", info.attempt);
        self.handler_runs(Some(self.request.fingerprint));
        // Without protection there is no identity to claim, and downstream keys stay the same all the same.
        let identity = self
            .request
            .identity
            .or_else(|| self.engine.identity_of(&self.request));
        let attempt = Attempt::new(&self.request, identity, info.attempt.unsigned_abs());

        let (guard, slot) = ClaimGuard::new(claim);
        let handler = AssertUnwindSafe(work(guard, attempt.clone())).catch_unwind();
        let timer = Timer::start();
        let outcome = within(self.request.policy.deadline, handler).await;
        self.observation.meter.handled(timer);
        let Some(claim) = slot.take() else {
            tracing::error!("the handler's transaction did not come back");
            return self.engine.problem(Problem::TryAgain);
        };

        let ending = match claim.problem() {
            Some(problem) => Err(problem),
            None => self.ending(outcome),
        };
        match ending {
            Ok(ending) => self.finish(info, claim, ending, &attempt).await,
            Err(problem) => self.undo(info, claim, problem, &attempt).await,
        }
    }

    /// How the handler's outcome is settled, or why its writes are undone.
    fn ending(&self, outcome: Result<Caught, TooLate>) -> Result<Ending, Problem> {
        match outcome {
            Ok(Ok(HandlerOutcome::Answered {
                response,
                settle,
                closed,
            })) => {
                let settle = settle.map_err(|misuse| {
                    tracing::error!("{misuse}");
                    Problem::Misconfigured
                })?;
                if let (true, Err(error)) = (settle.keeps_writes(), closed) {
                    tracing::error!(error, "the handler's transaction could not be closed");
                    self.observation.meter.transaction_lost(false);
                    return Err(Problem::TransactionAborted);
                }
                // A request of which an argument could not be extracted claims nothing.
                let settle = match settle {
                    Settle::Final if self.request.rejected => Settle::Retriable,
                    settle => settle,
                };
                Ok(Ending {
                    settle,
                    response: final_response(response),
                    problem: None,
                    timeout: self.request.policy.deadline,
                })
            }
            Ok(Ok(HandlerOutcome::TooLarge)) => {
                tracing::error!("the response is too large to be recorded, or has no end");
                Err(Problem::ResponseTooLarge)
            }
            Ok(Ok(HandlerOutcome::Broken(error))) => {
                tracing::error!(error, "the handler's transaction or response broke");
                Err(Problem::TryAgain)
            }
            Ok(Err(_panic)) => {
                tracing::error!("the handler panicked");
                Err(Problem::HandlerPanicked)
            }
            Err(TooLate) => {
                tracing::error!("the handler passed its deadline");
                Err(Problem::TryAgain)
            }
        }
    }

    /// Says to the duplicates in this process that they wait for a handler, here or elsewhere.
    pub(super) fn handler_runs(&self, fingerprint: Option<Fingerprint>) {
        if let Some(owner) = &self.owner {
            owner.handler_runs(fingerprint);
        }
    }

    pub(super) fn store(&self) -> &S {
        &self.engine.shared.store
    }
}

/// A handler was not ready within its deadline.
struct TooLate;

/// A future's output, if it is ready within `limit`. In contrast to a mere timeout, a future that is
/// ready when it is polled after the limit is too late: a process can be frozen in between.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, TooLate> {
    let deadline = Instant::now() + limit;
    match timeout_at(deadline, future).await {
        Ok(output) if Instant::now() <= deadline => Ok(output),
        _ => Err(TooLate),
    }
}

/// A 1xx announces a response and is none: servers send a 500 in its place, so that is recorded.
fn final_response(mut response: Response) -> Response {
    if response.status().is_informational() {
        let status = response.status().as_u16();
        tracing::error!(status, "the handler answered with an interim status");
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}
