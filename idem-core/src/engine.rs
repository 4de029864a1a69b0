//! The order of things: join the flight, claim, run, settle.
//!
//! One request reads from top to bottom: an adapter calls [`Engine::admit`], which answers
//! duplicates of what is in flight in this process, and then [`Turn::run`], on a task of its own,
//! which claims the identity, runs the handler in the claim's transaction, and settles. What is
//! done after an attempt that broke is in `engine/aftermath.rs`.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span};

use crate::attempt::Attempt;
use crate::call::{Call, Identity};
use crate::config::Config;
use crate::flight::{Flights, Joined, Owner};
use crate::observe::{self, Answer};
use crate::policy::{Policy, Settle};
use crate::problem::Problem;
use crate::record::{Decision, Found, Record, State, Version, decide};
use crate::response::{self, Recorded, Response};
use crate::store::{
    BoxError, ClaimRequest, Claimed, Draft, SettleError, Settlement, Store, StoreError, Times,
};

mod aftermath;

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
        let span = observe::span(Some(&call));
        let until = Instant::now() + policy.wait;
        let joined = self.join(&call, policy).instrument(span.clone()).await;
        let owner = joined.map_err(|answer| answer.observed(&span))?;
        let running = self.shared.attempts.token();
        // Looked at once more behind the token, so that a drain can't miss what starts here.
        if self.shared.attempts.is_closed() {
            return Err(self.problem(Problem::Unavailable).observed(&span));
        }
        Ok(Turn {
            identity: call.identity(),
            engine: self.clone(),
            call,
            policy,
            owner,
            until,
            span,
            _running: running,
        })
    }

    async fn join(&self, call: &Call, policy: &Policy) -> Result<Option<Owner>, Answer> {
        if call.scope.as_deref() == Some("") {
            tracing::error!("the scope is empty; a key that belongs to nobody is refused");
            return Err(self.problem(Problem::Misconfigured));
        }
        if self.shared.attempts.is_closed() {
            return Err(self.problem(Problem::Unavailable));
        }
        let Some(identity) = call.identity() else {
            return Ok(None);
        };
        match self.shared.flights.join(identity, policy.wait).await {
            Joined::Owner(owner) => Ok(Some(owner)),
            Joined::InFlight => Err(self.problem(Problem::InFlight)),
            Joined::Settled(record) if record.fingerprint.matches(&call.fingerprint) => {
                Err(Answer::replay(&record, record.settled_at, true))
            }
            Joined::Settled(_) => Err(self.problem(Problem::KeyReused)),
        }
    }

    /// Answers a request that does not get as far as [`admit`](Self::admit): for adapters.
    pub fn refuse(&self, problem: Problem) -> Response {
        self.problem(problem).observed(&observe::span(None))
    }

    fn problem(&self, problem: Problem) -> Answer {
        Answer::problem(problem, &self.shared.config.problem_base)
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
    /// It answered, and the response is complete.
    Answered {
        /// The transaction.
        claim: C,
        /// What [`Open::close`](crate::Open::close) said.
        closed: Result<(), BoxError>,
        /// The handler's response.
        response: Response,
    },
    /// Its response is too large to be recorded.
    TooLarge(C),
    /// Its transaction could not be lent to it, or its response's body broke off.
    Broken(BoxError),
}

/// A claim that was won, without its transaction.
#[derive(Debug, Clone, Copy)]
struct Won {
    attempt: i32,
    replaces: Option<Version>,
}

impl Won {
    const FIRST: Self = Self {
        attempt: 1,
        replaces: None,
    };
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
        let answer = self.attempt(work).instrument(span.clone()).await;
        answer.observed(&span)
    }

    async fn attempt<W, F>(&mut self, work: W) -> Answer
    where
        W: FnOnce(S::Claim, Attempt) -> F,
        F: Future<Output = Ran<S::Claim>>,
    {
        let (claim, won) = match timeout(self.policy.deadline, self.claim()).await {
            Ok(Ok(claimed)) => claimed,
            Ok(Err(answer)) => return answer,
            Err(_elapsed) => return self.problem(Problem::Unavailable),
        };
        self.span.record("attempt", won.attempt);
        let attempt = Attempt::new(&self.call, won.attempt.unsigned_abs());

        let handler = AssertUnwindSafe(work(claim, attempt.clone())).catch_unwind();
        match timeout(self.policy.deadline, handler).await {
            Ok(Ok(Ran::Answered {
                claim,
                closed,
                response,
            })) => {
                let settle = response.extensions().get::<Settle>().copied();
                match (self.policy.settle(response.status(), settle), closed) {
                    (State::Succeeded, Err(error)) => {
                        tracing::error!(error, "the handler's transaction could not be closed");
                        let problem = Problem::TransactionAborted;
                        self.settle_problem(won, claim, problem, &attempt).await
                    }
                    (state, _) => self.settle(won, claim, state, response, &attempt).await,
                }
            }
            Ok(Ok(Ran::TooLarge(claim))) => {
                tracing::error!("the response is too large to be recorded");
                let problem = Problem::ResponseTooLarge;
                self.settle_problem(won, claim, problem, &attempt).await
            }
            Ok(Ok(Ran::Broken(error))) => {
                tracing::error!(error, "the handler's transaction or response broke");
                self.fail(won, State::FailedRetriable, Problem::TryAgain)
                    .await
            }
            Ok(Err(_panic)) => {
                tracing::error!("the handler panicked");
                let problem = Problem::HandlerPanicked;
                self.fail(won, State::FailedRetriable, problem).await
            }
            Err(_elapsed) => {
                tracing::error!("the handler passed its deadline");
                self.fail(won, State::FailedRetriable, Problem::TryAgain)
                    .await
            }
        }
    }

    /// Wins the identity, or finds the answer that there is.
    async fn claim(&mut self) -> Result<(S::Claim, Won), Answer> {
        let Some(identity) = self.identity else {
            let begun = self.store().begin().await;
            return match begun {
                Ok(claim) => Ok((claim, Won::FIRST)),
                Err(error) => Err(self.store_problem(&error)),
            };
        };
        let mut won = Won::FIRST;
        let mut waited = false;
        let mut pauses = pauses();
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
                Ok(Claimed::Changed(None)) => won = Won::FIRST,
                Ok(Claimed::Changed(Some(found))) => won = self.decide(found, waited)?,
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
                let answer = Answer::replay(&record, now, waited);
                self.publish(record);
                Err(answer)
            }
        }
    }

    /// Settles with a problem in place of what the handler did.
    async fn settle_problem(
        &mut self,
        won: Won,
        claim: S::Claim,
        problem: Problem,
        attempt: &Attempt,
    ) -> Answer {
        let response = self.problem(problem).response;
        let state = State::FailedRetriable;
        self.settle(won, claim, state, response, attempt).await
    }

    /// Records the response and commits, or undoes what the handler did.
    async fn settle(
        &mut self,
        won: Won,
        claim: S::Claim,
        state: State,
        response: Response,
        attempt: &Attempt,
    ) -> Answer {
        match self.write(won, claim, state, &response).await {
            Ok(record) => self.answer(state, response, record, attempt),
            Err(SettleError::Aborted(error)) => {
                tracing::error!(error, "the handler swallowed an SQL error");
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
                self.answer(state, response, None, attempt)
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
        won: Won,
        claim: S::Claim,
        state: State,
        response: &Response,
    ) -> Result<Option<Record>, SettleError> {
        let status = response.status();
        let recorded = if state.is_replayed() {
            Recorded::of(response, &self.engine.shared.config.recorded_headers)
        } else {
            Recorded::default()
        };
        let encoding = self
            .identity
            .filter(|_| state.is_replayed())
            .map(|identity| recorded.encode(&identity, status));
        let draft = self.identity.as_ref().map(|identity| Draft {
            identity,
            operation: &self.call.operation,
            state,
            attempts: won.attempt,
            status,
            fingerprint: &self.call.fingerprint,
            response: encoding.as_deref(),
            ttl: self.policy.ttl,
            replaces: won.replaces,
        });
        let settlement = Settlement {
            keep_writes: state == State::Succeeded,
            record: draft,
        };
        let settled = self.store().settle(claim, settlement);
        let times = match timeout(self.policy.deadline, settled).await {
            Ok(settled) => settled?,
            Err(elapsed) => return Err(SettleError::Unknown(elapsed.into(), None)),
        };
        Ok(times.map(
            |Times {
                 settled_at,
                 expires_at,
             }| Record {
                state,
                attempts: won.attempt,
                status,
                fingerprint: self.call.fingerprint,
                response: recorded,
                settled_at,
                expires_at,
            },
        ))
    }

    /// The attempt's own answer, after its settlement is confirmed.
    fn answer(
        &mut self,
        state: State,
        mut response: Response,
        record: Option<Record>,
        attempt: &Attempt,
    ) -> Answer {
        if state == State::Succeeded {
            for future in attempt.take_after_commit() {
                let future = future.instrument(self.span.clone());
                self.engine.shared.attempts.spawn(future);
            }
        }
        let headers = response.headers_mut();
        headers.remove(response::REPLAYED);
        headers.remove(response::EXPIRES);
        if let Some(record) = record.filter(|record| record.state.is_replayed()) {
            response::mark_expiry(headers, record.expires_at);
            self.publish(record);
        }
        Answer::own(response, state)
    }

    /// Hands the record to those who wait in this process.
    fn publish(&mut self, record: Record) {
        if let Some(owner) = self.owner.take() {
            owner.settle(Arc::new(record));
        }
    }

    fn store(&self) -> &S {
        &self.engine.shared.store
    }

    fn problem(&self, problem: Problem) -> Answer {
        self.engine.problem(problem)
    }

    fn store_problem(&self, error: &StoreError) -> Answer {
        let cause: &dyn std::error::Error = error;
        tracing::error!(error = cause, "the store failed");
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
    let mut next = Duration::from_millis(5);
    move || {
        let pause = next;
        next = (next * 3 / 2).min(Duration::from_millis(100));
        pause
    }
}
