//! The order of things: join the flight, claim, run, settle.
//!
//! One request reads from top to bottom: an adapter calls [`Engine::admit`], which answers
//! duplicates of what is in flight in this process, and then [`Turn::run`], on a task of its own,
//! which claims the identity, runs the handler in the claim's transaction, and settles. What is
//! done after an attempt that broke is in `engine/aftermath.rs`.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span};

use crate::attempt::Attempt;
use crate::cache::{Cache, Moment};
use crate::call::Call;
use crate::config::Config;
use crate::decision::{Decision, decide};
use crate::identity::Identity;
use crate::observe::{self, Answer};
use crate::policy::{Policy, Settle};
use crate::problem::Problem;
use crate::recent::RecentIdentities;
use crate::record::{Found, Record, State, Timestamp, Version};
use crate::response::{self, Recorded, Response};
use crate::single_flight::{Flights, Joined, Owner};
use crate::store::{
    ClaimRequest, Claimed, Draft, Opening, SettleError, Settlement, Store, StoreError,
};

mod guard;
mod recovery;

pub use self::guard::{Lent, Ran};

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
    pub(crate) cache: Cache,
    lately: RecentIdentities,
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
        let cache = Cache::new(config.replay_cache, config.response_limit);
        Self {
            shared: Arc::new(Shared {
                store,
                config,
                attempts: TaskTracker::new(),
                cache,
                lately: RecentIdentities::new(),
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
            asked: self.shared.cache.moment(),
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
        let attempts = &self.shared.attempts;
        if attempts.is_closed() || attempts.len() >= self.shared.config.attempts {
            return Err(self.problem(Problem::Unavailable));
        }
        let Some(identity) = call.identity() else {
            return Ok(None);
        };
        if let Some((record, now)) = self.shared.cache.get(&identity) {
            return Err(self.recorded(&record, now, call, false));
        }
        match self.shared.flights.join(identity, policy.wait).await {
            Joined::Owner(owner) => Ok(Some(owner)),
            Joined::InFlight => Err(self.problem(Problem::InFlight)),
            Joined::Settled(record) => Err(self.recorded(&record, record.settled_at, call, true)),
        }
    }

    /// What a living record answers, without the database.
    fn recorded(&self, record: &Record, now: Timestamp, call: &Call, waited: bool) -> Answer {
        if record.fingerprint.matches(&call.fingerprint) {
            Answer::replay(record, now, waited)
        } else {
            self.problem(Problem::KeyReused)
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
    /// When the store was asked for the record that there is, or before.
    asked: Moment,
    owner: Option<Owner>,
    until: Instant,
    span: Span,
    // A drain waits for it.
    _running: TaskTrackerToken,
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

/// How an attempt is settled.
#[derive(Debug)]
struct End {
    state: State,
    response: Response,
    /// How long the store may take.
    patience: Duration,
}

impl<S: Store> Turn<S> {
    /// Claims the identity, runs `work` in the claim's transaction, and settles.
    ///
    /// Call it on a task of its own: dropping the future in the middle undoes the attempt.
    pub async fn run<W, F>(mut self, work: W) -> Response
    where
        W: FnOnce(Lent<S::Claim>, Attempt) -> F,
        F: Future<Output = Ran>,
    {
        let span = self.span.clone();
        let answer = self.attempt(work).instrument(span.clone()).await;
        answer.observed(&span)
    }

    async fn attempt<W, F>(&mut self, work: W) -> Answer
    where
        W: FnOnce(Lent<S::Claim>, Attempt) -> F,
        F: Future<Output = Ran>,
    {
        let (claim, won) = match self.claim().await {
            Ok(claimed) => claimed,
            Err(answer) => return answer,
        };
        self.span.record("attempt", won.attempt);
        let attempt = Attempt::new(&self.call, won.attempt.unsigned_abs());

        let (lent, home) = Lent::out(claim);
        let handler = AssertUnwindSafe(work(lent, attempt.clone())).catch_unwind();
        let ran = timeout(self.policy.deadline, handler).await;
        let Some(claim) = home.take() else {
            tracing::error!("the handler's transaction did not come back");
            return self.problem(Problem::TryAgain);
        };

        let problem = match ran {
            Ok(Ok(Ran::Answered { closed, response })) => {
                let settle = response.extensions().get::<Settle>().copied();
                match (self.policy.settle(response.status(), settle), closed) {
                    (State::Succeeded, Err(error)) => {
                        tracing::error!(error, "the handler's transaction could not be closed");
                        Problem::TransactionAborted
                    }
                    (state, _) => {
                        let patience = self.policy.deadline;
                        let end = End {
                            state,
                            response,
                            patience,
                        };
                        return self.settle(won, claim, end, &attempt).await;
                    }
                }
            }
            Ok(Ok(Ran::TooLarge)) => {
                tracing::error!("the response is too large to be recorded");
                Problem::ResponseTooLarge
            }
            Ok(Ok(Ran::Broken(error))) => {
                tracing::error!(error, "the handler's transaction or response broke");
                Problem::TryAgain
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
        self.undo(won, claim, problem, &attempt).await
    }

    /// Wins the identity, or finds the answer that there is.
    async fn claim(&mut self) -> Result<(S::Claim, Won), Answer> {
        let Some(identity) = self.identity else {
            return match self.bounded(self.store().begin(self.opening())).await {
                Ok(claim) => Ok((claim, Won::FIRST)),
                Err(error) => Err(self.store_problem(&error)),
            };
        };
        let mut won = Won::FIRST;
        let mut waited = false;
        let mut likely_taken = self.engine.shared.lately.mark(&identity) || self.call.likely_retry;
        let mut pauses = pauses();
        loop {
            self.asked = self.engine.shared.cache.moment();
            let request = ClaimRequest {
                likely_taken,
                ..self.request(&identity, won, self.opening())
            };
            match self.bounded(self.store().claim(request)).await {
                Ok(Claimed::Won(claim)) => return Ok((claim, won)),
                taken @ (Ok(Claimed::InFlight) | Err(StoreError::Conflict(_))) => {
                    let pause = pauses();
                    if Instant::now() + pause > self.until {
                        return Err(match taken {
                            Err(error) => self.store_problem(&error),
                            Ok(_) => self.problem(Problem::InFlight),
                        });
                    }
                    waited = true;
                    likely_taken = true;
                    sleep(pause).await;
                }
                Ok(Claimed::Changed(found)) => {
                    won = found.map_or(Ok(Won::FIRST), |found| self.decide(found, waited))?;
                    likely_taken = false;
                }
                Err(error) => return Err(self.store_problem(&error)),
            }
        }
    }

    /// A store that does not answer within the deadline is unavailable.
    async fn bounded<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = timeout(self.policy.deadline, answer).await;
        answer.unwrap_or_else(|elapsed| Err(StoreError::Unavailable(elapsed.into())))
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
                self.publish(record, now);
                Err(answer)
            }
            Decision::Ended => {
                let mut answer = self.problem(Problem::TransactionEnded);
                response::mark_expiry(answer.response.headers_mut(), record.expires_at);
                Err(answer)
            }
        }
    }

    /// Records the response and commits, or undoes what the handler did.
    async fn settle(&mut self, won: Won, claim: S::Claim, end: End, attempt: &Attempt) -> Answer {
        let (written, record) = self.write(won, claim, &end).await;
        match written {
            Ok(()) => self.answer(end, record, attempt),
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
            Err(SettleError::Superseded) => match self.theirs().await {
                Some(answer) => answer,
                None if end.state == State::FailedRetriable => self.answer(end, None, attempt),
                None => self.problem(Problem::TryAgain),
            },
            Err(error) if end.state == State::FailedRetriable => {
                tracing::warn!(%error, "the failure could not be recorded");
                self.answer(end, None, attempt)
            }
            Err(SettleError::Refused(error)) => {
                tracing::warn!(error, "the database refused to commit");
                self.problem(Problem::TryAgain)
            }
            Err(SettleError::Unknown(error)) => {
                tracing::warn!(error, "the answer to the commit was lost");
                self.resolve(won, end, record, attempt).await
            }
        }
    }

    /// Ends the transaction with a record of the end. The record is there once it is written, also
    /// if it is not known whether it was committed.
    async fn write(
        &mut self,
        won: Won,
        claim: S::Claim,
        end: &End,
    ) -> (Result<(), SettleError>, Option<Record>) {
        let status = end.response.status();
        let recorded = if end.state.is_replayed() {
            Recorded::of(&end.response, &self.engine.shared.config.recorded_headers)
        } else {
            Recorded::default()
        };
        let encoding = self
            .identity
            .filter(|_| end.state.is_replayed())
            .map(|identity| recorded.encode(&identity, status));
        let draft = self.identity.as_ref().map(|identity| Draft {
            identity,
            operation: &self.call.operation,
            state: end.state,
            attempts: won.attempt,
            status,
            fingerprint: &self.call.fingerprint,
            response: encoding.as_deref(),
            ttl: self.policy.ttl,
            replaces: won.replaces,
        });
        self.asked = self.engine.shared.cache.moment();
        let times = OnceLock::new();
        let settlement = Settlement {
            keep_writes: end.state == State::Succeeded,
            record: draft,
            written: &times,
        };
        let settled = self.store().settle(claim, settlement);
        let settled = match timeout(end.patience, settled).await {
            Ok(settled) => settled,
            Err(elapsed) => Err(SettleError::Unknown(elapsed.into())),
        };
        let record = times.into_inner().map(|times| Record {
            state: end.state,
            attempts: won.attempt,
            status,
            fingerprint: self.call.fingerprint,
            response: recorded,
            settled_at: times.settled_at,
            expires_at: times.expires_at,
        });
        (settled, record)
    }

    /// The attempt's own answer, after its settlement is confirmed.
    fn answer(&mut self, end: End, record: Option<Record>, attempt: &Attempt) -> Answer {
        let End {
            state,
            mut response,
            ..
        } = end;
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
            let now = record.settled_at;
            self.publish(record, now);
        }
        Answer::own(response, state)
    }

    /// Hands the record that the database had at `now` to those who wait in this process, and to
    /// those who will ask soon.
    fn publish(&mut self, record: Record, now: Timestamp) {
        if let Some(identity) = self.identity {
            let cache = &self.engine.shared.cache;
            cache.insert(identity, &record, now, self.asked);
        }
        if let Some(owner) = self.owner.take() {
            owner.settle(Arc::new(record));
        }
    }

    fn store(&self) -> &S {
        &self.engine.shared.store
    }

    fn opening(&self) -> Opening {
        Opening {
            isolation: self.policy.isolation,
            deadline: self.policy.deadline,
        }
    }

    fn request<'a>(
        &'a self,
        identity: &'a Identity,
        won: Won,
        opening: Opening,
    ) -> ClaimRequest<'a> {
        ClaimRequest {
            identity,
            operation: &self.call.operation,
            fingerprint: &self.call.fingerprint,
            attempt: won.attempt,
            ttl: self.policy.ttl,
            opening,
            seen: won.replaces,
            likely_taken: false,
        }
    }

    fn problem(&self, problem: Problem) -> Answer {
        self.engine.problem(problem)
    }

    fn store_problem(&self, error: &StoreError) -> Answer {
        let cause: &dyn std::error::Error = error;
        tracing::error!(error = cause, "the store failed");
        self.problem(match error {
            StoreError::Unavailable(_) | StoreError::Incomplete { .. } => Problem::Unavailable,
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

#[cfg(test)]
mod tests;
