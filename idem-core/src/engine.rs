//! The order of things: join the flight, claim, run, settle.
//!
//! One request reads from top to bottom: an adapter calls [`Engine::admit`], which answers
//! duplicates of what is in flight in this process, and then [`Turn::run`], on a task of its own,
//! which claims the identity, runs the handler in the claim's transaction, and settles.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span};

use crate::attempt::Attempt;
use crate::call::{Call, Identity};
use crate::config::Config;
use crate::flight::{Flights, Joined, Owner};
use crate::observe::{self, Answer, Outcome};
use crate::policy::{Policy, Settle};
use crate::problem::Problem;
use crate::record::{Decision, Found, Record, State, Version, decide};
use crate::response::{self, Recorded, Response};
use crate::store::{
    BoxError, ClaimRequest, Claimed, Draft, SettleError, Settlement, Store, StoreError, Times,
};

/// How long the engine asks for the outcome of a commit whose answer was lost.
const RESOLVE: Duration = Duration::from_secs(5);

/// How long the engine waits for the server to let go of an attempt that broke, to write down that
/// it failed.
const LET_GO: Duration = Duration::from_millis(250);

/// Runs handlers at most once for each identity. Cheap to clone; one for each database.
#[derive(Debug)]
pub struct Engine<S> {
    pub(crate) shared: Arc<Shared<S>>,
}

#[derive(Debug)]
pub(crate) struct Shared<S> {
    pub(crate) store: S,
    pub(crate) config: Config,
    pub(crate) attempts: TaskTracker,
    flights: Arc<Flights>,
}

impl<S: Store> Engine<S> {
    /// An engine with the default settings.
    pub fn new(store: S) -> Self {
        Self::with_config(store, Config::new())
    }

    /// An engine with settings of its own.
    pub fn with_config(store: S, config: Config) -> Self {
        let flights = Flights::new(config.waiters, config.waiters_per_identity);
        Self {
            shared: Arc::new(Shared {
                store,
                config,
                attempts: TaskTracker::new(),
                flights,
            }),
        }
    }

    /// Lets a request in: for adapters. Either it gets its turn to run, or it is answered at once
    /// or after waiting for the attempt that is in flight in this process.
    ///
    /// # Errors
    ///
    /// The answer, where the request does not get to run.
    pub async fn admit(&self, call: Call, policy: &'static Policy) -> Result<Turn<S>, Response> {
        let span = observe::span(&call);
        let until = Instant::now() + policy.wait;
        match self.join(&call, policy).instrument(span.clone()).await {
            Ok(owner) => Ok(Turn {
                identity: call.identity(),
                engine: self.clone(),
                call,
                policy,
                owner,
                until,
                span,
                _running: self.shared.attempts.token(),
            }),
            Err(answer) => Err(answer.observed(&span)),
        }
    }

    async fn join(&self, call: &Call, policy: &Policy) -> Result<Option<Owner>, Answer> {
        if call.scope.as_deref() == Some("") {
            tracing::error!("the scope is empty; a key without an owner is not safe");
            return Err(self.answer(Problem::Misconfigured));
        }
        if self.shared.attempts.is_closed() {
            return Err(self.answer(Problem::Unavailable));
        }
        let Some(identity) = call.identity() else {
            return Ok(None);
        };
        match self.shared.flights.join(identity, policy.wait).await {
            Joined::Owner(owner) => Ok(Some(owner)),
            Joined::InFlight => Err(self.answer(Problem::InFlight)),
            Joined::Settled(record) => {
                match decide(&record, &call.fingerprint, record.settled_at) {
                    Decision::Mismatch => Err(self.answer(Problem::KeyReused)),
                    Decision::Replay | Decision::Execute { .. } => {
                        let replay = response::replay(&record);
                        Err(Answer::new(replay, Outcome::Waited))
                    }
                }
            }
        }
    }

    /// Answers with a refusal that needs neither a turn nor the database.
    pub fn refuse(&self, problem: Problem) -> Response {
        tracing::info!(problem = problem.name(), outcome = "rejected", "refused");
        problem.to_response(&self.shared.config.problem_base)
    }

    fn answer(&self, problem: Problem) -> Answer {
        let outcome = match problem {
            Problem::InFlight => Outcome::InFlight,
            Problem::KeyReused => Outcome::Mismatch,
            Problem::Unavailable => Outcome::Unavailable,
            Problem::TransactionEnded => Outcome::FailedFinal,
            Problem::TryAgain
            | Problem::OutcomeUnknown
            | Problem::HandlerPanicked
            | Problem::TransactionAborted
            | Problem::ResponseTooLarge => Outcome::FailedRetriable,
            _ => Outcome::Rejected,
        };
        Answer::new(
            problem.to_response(&self.shared.config.problem_base),
            outcome,
        )
    }
}

impl<S> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// The right of a request to run: in this process it is the only one for its identity.
#[derive(Debug)]
pub struct Turn<S> {
    engine: Engine<S>,
    call: Call,
    identity: Option<Identity>,
    policy: &'static Policy,
    owner: Option<Owner>,
    until: Instant,
    span: Span,
    // A drain waits for it.
    _running: TaskTrackerToken,
}

/// What became of a handler: for adapters.
#[derive(Debug)]
pub enum Ran<C> {
    /// It answered; the response is complete.
    Answered(C, Response),
    /// Its response can't be recorded.
    TooLarge(C),
    /// Its transaction could not be lent to it or be taken back, or its body broke off.
    Broken(BoxError),
}

/// A claim that was won, without its transaction.
struct Won {
    attempt: i32,
    replaces: Option<Version>,
}

impl<S: Store> Turn<S> {
    /// Claims the identity, runs `work` in the claim's transaction, and settles.
    ///
    /// Call it on a task of its own: dropping the future in the middle undoes the attempt.
    pub async fn run<W, F>(mut self, work: W) -> Response
    where
        W: FnOnce(S::Claim, Attempt) -> F,
        F: Future<Output = Ran<S::Claim>>,
    {
        let span = self.span.clone();
        self.attempt(work)
            .instrument(span.clone())
            .await
            .observed(&span)
    }

    async fn attempt<W, F>(&mut self, work: W) -> Answer
    where
        W: FnOnce(S::Claim, Attempt) -> F,
        F: Future<Output = Ran<S::Claim>>,
    {
        let claimed = timeout(self.policy.deadline, self.claim()).await;
        let (claim, won) = match claimed {
            Ok(Ok(won)) => won,
            Ok(Err(answer)) => return answer,
            Err(_elapsed) => return self.problem(Problem::Unavailable),
        };
        self.span.record("attempt", won.attempt);
        let attempt = Attempt::new(&self.call, u32::try_from(won.attempt).unwrap_or(1));

        let handler = AssertUnwindSafe(work(claim, attempt.clone())).catch_unwind();
        let broken = match timeout(self.policy.deadline, handler).await {
            Ok(Ok(Ran::Answered(claim, response))) => {
                return self.settle(&won, claim, response, &attempt).await;
            }
            Ok(Ok(Ran::TooLarge(claim))) => {
                tracing::error!("the response is too large to be recorded");
                let mut response = self.problem(Problem::ResponseTooLarge).response;
                response.extensions_mut().insert(Settle::Retriable);
                return self.settle(&won, claim, response, &attempt).await;
            }
            Ok(Ok(Ran::Broken(error))) => {
                tracing::error!(%error, "the handler's transaction or response broke");
                Problem::TransactionAborted
            }
            Ok(Err(_panic)) => {
                tracing::error!("the handler panicked");
                Problem::HandlerPanicked
            }
            Err(_elapsed) => {
                tracing::error!("the handler passed its deadline");
                Problem::TryAgain
            }
        };
        self.fail(&won, State::FailedRetriable, broken).await
    }

    /// Wins the identity, or finds the answer that there is.
    async fn claim(&mut self) -> Result<(S::Claim, Won), Answer> {
        let Some(identity) = self.identity else {
            let claim = self.store().begin().await;
            let won = |claim| {
                (
                    claim,
                    Won {
                        attempt: 1,
                        replaces: None,
                    },
                )
            };
            return claim.map(won).map_err(|error| self.store_problem(&error));
        };
        let mut won = Won {
            attempt: 1,
            replaces: None,
        };
        let mut pauses = pauses();
        let mut waited = false;
        loop {
            let request = ClaimRequest {
                identity: &identity,
                seen: won.replaces,
                likely_taken: waited,
            };
            match self.store().claim(request).await {
                Ok(Claimed::Won(claim)) => return Ok((claim, won)),
                Ok(Claimed::InFlight) => {
                    let pause = pauses();
                    if Instant::now() + pause > self.until {
                        return Err(self.problem(Problem::InFlight));
                    }
                    waited = true;
                    sleep(pause).await;
                }
                Ok(Claimed::Changed(None)) => (won.attempt, won.replaces) = (1, None),
                Ok(Claimed::Changed(Some(found))) => match self.decide(found, waited) {
                    Ok(next) => won = next,
                    Err(answer) => return Err(answer),
                },
                Err(error) => return Err(self.store_problem(&error)),
            }
        }
    }

    /// What a record means for this request: the next attempt, or an answer.
    fn decide(&mut self, found: Found, waited: bool) -> Result<Won, Answer> {
        let Found { record, now } = found;
        match decide(&record, &self.call.fingerprint, now) {
            Decision::Execute { attempt } => Ok(Won {
                attempt,
                replaces: Some(record.version()),
            }),
            Decision::Mismatch => Err(self.problem(Problem::KeyReused)),
            Decision::Replay => {
                let outcome = if waited {
                    Outcome::Waited
                } else {
                    Outcome::Replayed
                };
                let mut answer = Answer::new(response::replay(&record), outcome);
                answer.age = Some(record.settled_at.until(now));
                self.publish(record);
                Err(answer)
            }
        }
    }

    /// Records the response and commits, or undoes what the handler did.
    async fn settle(
        &mut self,
        won: &Won,
        claim: S::Claim,
        response: Response,
        attempt: &Attempt,
    ) -> Answer {
        let settle = response.extensions().get::<Settle>().copied();
        let state = self.policy.settle(response.status(), settle);
        match self.write(won, claim, state, &response).await {
            Ok(record) => {
                if state == State::Succeeded {
                    self.after_commit(attempt);
                }
                self.answered(state, response, record)
            }
            Err(SettleError::Aborted(error)) => {
                tracing::error!(
                    error,
                    "the handler swallowed an SQL error that broke its transaction"
                );
                let problem = Problem::TransactionAborted;
                self.fail(won, State::FailedRetriable, problem).await
            }
            Err(SettleError::Ended) => {
                tracing::error!("the handler ended its transaction itself; its effect may stand");
                let problem = Problem::TransactionEnded;
                self.fail(won, State::FailedFinal, problem).await
            }
            Err(error) if state == State::FailedRetriable => {
                tracing::warn!(%error, "the failure could not be recorded");
                self.answered(state, response, None)
            }
            Err(SettleError::Superseded) => self.theirs().await,
            Err(SettleError::Refused(error)) => {
                tracing::warn!(error, "the database refused to commit");
                self.problem(Problem::TryAgain)
            }
            Err(SettleError::Unknown(error, times)) => {
                tracing::warn!(error, "the answer to the commit was lost");
                self.resolve(won, state, response, times, attempt).await
            }
        }
    }

    /// Ends the transaction with a record of `response`.
    async fn write(
        &self,
        won: &Won,
        claim: S::Claim,
        state: State,
        response: &Response,
    ) -> Result<Option<Record>, SettleError> {
        let keep_writes = state == State::Succeeded;
        let status = response.status();
        let Some(identity) = &self.identity else {
            let settlement = Settlement {
                keep_writes,
                record: None,
            };
            self.commit(claim, settlement).await?;
            return Ok(None);
        };
        let recorded = state
            .is_replayed()
            .then(|| Recorded::of(response, &self.engine.shared.config.recorded_headers));
        let encoding = recorded.as_ref().map(|r| r.encode(identity, status));
        let draft = Draft {
            identity,
            operation: &self.call.operation,
            state,
            attempts: won.attempt,
            status,
            fingerprint: &self.call.fingerprint,
            response: encoding.as_deref(),
            ttl: self.policy.ttl,
            replaces: won.replaces,
        };
        let settlement = Settlement {
            keep_writes,
            record: Some(draft),
        };
        let record = |times| self.record(won, state, status, recorded.unwrap_or_default(), times);
        Ok(self.commit(claim, settlement).await?.map(record))
    }

    async fn commit(
        &self,
        claim: S::Claim,
        settlement: Settlement<'_>,
    ) -> Result<Option<Times>, SettleError> {
        let settled = self.store().settle(claim, settlement);
        match timeout(self.policy.deadline, settled).await {
            Ok(settled) => settled,
            Err(elapsed) => Err(SettleError::Unknown(elapsed.into(), None)),
        }
    }

    /// Learns under the identity's lock what became of a commit.
    async fn resolve(
        &mut self,
        won: &Won,
        state: State,
        response: Response,
        times: Option<Times>,
        attempt: &Attempt,
    ) -> Answer {
        let ours = |found: &Found| {
            let written = times.is_some_and(|t| t.settled_at == found.record.settled_at);
            written && found.record.attempts == won.attempt
        };
        match self.claim_again(won, RESOLVE).await {
            Ok(Claimed::Changed(Some(found))) if ours(&found) => {
                if state == State::Succeeded {
                    self.after_commit(attempt);
                }
                self.answered(state, response, Some(found.record))
            }
            Ok(Claimed::Changed(Some(found))) => match self.decide(found, false) {
                Err(answer) => answer,
                Ok(_) => self.problem(Problem::TryAgain),
            },
            // Writing a failure in its place proves that the commit did not and will not happen.
            Ok(Claimed::Won(claim)) => {
                let failure = self.problem(Problem::TryAgain);
                let state = State::FailedRetriable;
                match self.write(won, claim, state, &failure.response).await {
                    Ok(_) => failure,
                    Err(_) => self.problem(Problem::OutcomeUnknown),
                }
            }
            Ok(Claimed::Changed(None)) => self.problem(Problem::TryAgain),
            Ok(Claimed::InFlight) | Err(_) => self.problem(Problem::OutcomeUnknown),
        }
    }

    /// Writes down a failure whose transaction is gone, as well as that can be done, and answers
    /// with it.
    async fn fail(&mut self, won: &Won, state: State, problem: Problem) -> Answer {
        let answer = self.problem(problem);
        match self.claim_again(won, LET_GO).await {
            Ok(Claimed::Won(claim)) => {
                match self.write(won, claim, state, &answer.response).await {
                    Ok(Some(record)) if state.is_replayed() => self.publish(record),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "the failure could not be recorded"),
                }
            }
            Ok(_) => tracing::warn!("the failure is not recorded: the identity was taken"),
            Err(error) => tracing::warn!(%error, "the failure could not be recorded"),
        }
        answer
    }

    /// Claims once more after the attempt's own transaction has ended or is about to.
    async fn claim_again(
        &self,
        won: &Won,
        patience: Duration,
    ) -> Result<Claimed<S::Claim>, StoreError> {
        let Some(identity) = &self.identity else {
            return Ok(Claimed::Changed(None));
        };
        let until = Instant::now() + patience;
        let mut pauses = pauses();
        loop {
            let request = ClaimRequest {
                identity,
                seen: won.replaces,
                likely_taken: true,
            };
            let claimed = timeout(patience, self.store().claim(request)).await;
            let claimed = claimed.unwrap_or_else(|e| Err(StoreError::Unavailable(e.into())));
            let pause = pauses();
            match claimed {
                Ok(Claimed::InFlight)
                | Err(StoreError::Unavailable(_) | StoreError::Conflict(_))
                    if Instant::now() + pause < until =>
                {
                    sleep(pause).await;
                }
                claimed => return claimed,
            }
        }
    }

    /// Someone else settled the identity first: theirs is the answer.
    async fn theirs(&mut self) -> Answer {
        let Some(identity) = self.identity else {
            return self.problem(Problem::TryAgain);
        };
        match self.store().find(&identity).await {
            Ok(Some(found)) => match self.decide(found, true) {
                Err(answer) => answer,
                Ok(_) => self.problem(Problem::TryAgain),
            },
            Ok(None) => self.problem(Problem::TryAgain),
            Err(error) => self.store_problem(&error),
        }
    }

    /// The answer of the attempt itself.
    fn answered(&mut self, state: State, mut response: Response, record: Option<Record>) -> Answer {
        let headers = response.headers_mut();
        headers.remove(response::REPLAYED);
        headers.remove(response::EXPIRES);
        if let Some(record) = record.filter(|record| record.state.is_replayed()) {
            response::mark_expiry(headers, record.expires_at);
            self.publish(record);
        }
        let outcome = match state {
            State::Succeeded => Outcome::Executed,
            State::FailedFinal => Outcome::FailedFinal,
            State::FailedRetriable => Outcome::FailedRetriable,
        };
        Answer::new(response, outcome)
    }

    /// Hands the record to those who wait in this process.
    fn publish(&mut self, record: Record) {
        if let Some(owner) = self.owner.take() {
            owner.settle(Arc::new(record));
        }
    }

    fn record(
        &self,
        won: &Won,
        state: State,
        status: StatusCode,
        response: Recorded,
        times: Times,
    ) -> Record {
        Record {
            state,
            attempts: won.attempt,
            status,
            fingerprint: self.call.fingerprint,
            response,
            settled_at: times.settled_at,
            expires_at: times.expires_at,
        }
    }

    fn after_commit(&self, attempt: &Attempt) {
        for future in attempt.take_after_commit() {
            self.engine.shared.attempts.spawn(future.in_current_span());
        }
    }

    fn store(&self) -> &S {
        &self.engine.shared.store
    }

    fn problem(&self, problem: Problem) -> Answer {
        self.engine.answer(problem)
    }

    fn store_problem(&self, error: &StoreError) -> Answer {
        tracing::error!(error = error as &dyn std::error::Error, "the store failed");
        self.problem(match error {
            StoreError::Unavailable(_) => Problem::Unavailable,
            StoreError::Conflict(_) => Problem::TryAgain,
            StoreError::Unreadable(_) => Problem::RecordUnreadable,
            StoreError::Misconfigured(_) => Problem::Misconfigured,
        })
    }
}

/// Pauses between looks at an identity that is in flight elsewhere: 5 ms, growing to 100 ms.
fn pauses() -> impl FnMut() -> Duration {
    let mut pause = Duration::from_millis(5);
    move || {
        let now = pause;
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
        now
    }
}
