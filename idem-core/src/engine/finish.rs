//! From a handler's outcome to the commit and the answer.

use std::sync::{Arc, OnceLock};

use http::StatusCode;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::turn::Ending;
use super::{ClaimInfo, Known, Shareable, Turn};
use crate::attempt::Attempt;
use crate::meter::{self, Timer};
use crate::observe::Answer;
use crate::policy::Settle;
use crate::problem::Problem;
use crate::record::{Record, State};
use crate::response::{Allowed, NEVER, Recorded, Response};
use crate::seal::Bound;
use crate::store::{BoxError, Draft, SettleError, Settlement, Store};

impl<S: Store> Turn<S> {
    /// Records the response and commits, or undoes the handler's writes.
    ///
    /// The rare ways on are boxed, so that the future of each attempt has no room for them.
    pub(super) async fn finish(
        &mut self,
        info: ClaimInfo,
        claim: S::Claim,
        ending: Ending,
        attempt: &Attempt,
    ) -> Answer {
        let (settled, known) = self.write(info, claim, &ending).await;
        match settled {
            Ok(()) => self.answer(ending, known, attempt),
            Err(SettleError::Aborted(error)) => {
                tracing::error!(error, "the handler swallowed an SQL error");
                self.observation.meter.transaction_lost(false);
                let problem = Problem::TransactionAborted;
                Box::pin(self.fail(info, Settle::Retriable, problem)).await
            }
            Err(SettleError::Ended) => {
                tracing::error!("the handler ended its transaction itself; its effect may stand");
                self.observation.meter.transaction_lost(true);
                let problem = Problem::TransactionEnded;
                Box::pin(self.fail(info, Settle::Final, problem)).await
            }
            Err(SettleError::Superseded) => match Box::pin(self.answer_of_winner()).await {
                Some(answer) => answer,
                None if ending.settle == Settle::Retriable => self.answer(ending, None, attempt),
                None => self.engine.problem(Problem::TryAgain),
            },
            Err(error) if ending.settle == Settle::Retriable => {
                tracing::warn!(%error, "the failure could not be recorded");
                self.answer(ending, None, attempt)
            }
            Err(SettleError::Refused(error)) => {
                tracing::warn!(error, "the database refused to commit");
                self.engine.problem(Problem::TryAgain)
            }
            Err(SettleError::Misconfigured(error)) => {
                tracing::error!(error, "the record can't be written; nothing is kept");
                // Another run would only end in the same way.
                self.share(Shareable::Problem(Problem::Misconfigured));
                self.engine.problem(Problem::Misconfigured)
            }
            Err(SettleError::Unknown(error)) => {
                tracing::warn!(error, "the answer to the commit was lost");
                let answer = Box::pin(self.resolve(info, ending, known, attempt)).await;
                meter::commit_unknown(!answer.is(Problem::OutcomeUnknown));
                answer
            }
        }
    }

    /// Ends the transaction with a record of the ending. The record is known once it is written,
    /// even if the outcome of the commit is not.
    pub(super) async fn write(
        &self,
        info: ClaimInfo,
        claim: S::Claim,
        ending: &Ending,
    ) -> (Result<(), SettleError>, Option<Known>) {
        let request = &self.request;
        let shared = &self.engine.shared;
        let status = ending.response.status();
        let state = ending.settle.state();
        let recorded = if state.is_replayed() {
            self.report_unrecorded_headers(&ending.response);
            let recorded = Recorded::of(&ending.response, self.allowed_headers());
            // The library's own problem has nothing to hide.
            if request.policy.is_head_only && ending.problem.is_none() {
                recorded.without_body(&shared.config.markers)
            } else {
                recorded
            }
        } else {
            Recorded::default()
        };
        let encoding = request
            .identity
            .filter(|_| state.is_replayed())
            .map(|identity| recorded.encode(&identity, status));
        let encoding = match self.sealed(encoding, state, status) {
            Ok(encoding) => encoding,
            // The claim is dropped, and so undone.
            Err(error) => return (Err(SettleError::Refused(error)), None),
        };
        let leaves_no_trace = request.rejected && ending.settle == Settle::Retriable;
        let draft = request.identity.as_ref().filter(|_| !leaves_no_trace);
        let draft = draft.map(|identity| Draft {
            identity,
            operation: &request.operation,
            state,
            attempts: info.attempt,
            status,
            fingerprint: &request.fingerprint,
            response: encoding.as_deref(),
            ttl: request.policy.ttl,
            replaces: info.replaces,
        });
        let times = OnceLock::new();
        let settlement = Settlement {
            keep_writes: ending.settle.keeps_writes(),
            record: draft,
            written: &times,
        };
        let (read_at, since) = (Instant::now(), shared.cache.start_read());
        let begun = Timer::start();
        let settled = timeout(ending.timeout, shared.store.settle(claim, settlement)).await;
        meter::settled::<S>(begun);
        let settled = settled.unwrap_or_else(|elapsed| Err(SettleError::Unknown(elapsed.into())));
        let known = times.into_inner().map(|times| Known {
            record: Record {
                state,
                attempts: info.attempt,
                status,
                fingerprint: request.fingerprint,
                response: recorded.into(),
                settled_at: times.settled_at,
                expires_at: times.expires_at,
            },
            now: times.settled_at,
            read_at,
            since,
        });
        (settled, known)
    }

    /// The stored form of a response, sealed if the application wants that.
    fn sealed(
        &self,
        encoding: Option<Vec<u8>>,
        state: State,
        status: StatusCode,
    ) -> Result<Option<Vec<u8>>, BoxError> {
        let request = &self.request;
        let seal = self.engine.shared.config.seal.as_ref();
        match (encoding, seal, &request.identity, &request.key) {
            (Some(encoding), Some(seal), Some(identity), Some(key)) => {
                let bound = Bound {
                    identity,
                    state,
                    status,
                    fingerprint: &request.fingerprint,
                };
                seal.seal(key, bound, encoding).map(Some)
            }
            (encoding, ..) => Ok(encoding),
        }
    }

    fn allowed_headers(&self) -> Allowed<'_> {
        Allowed {
            names: &self.engine.shared.config.recorded_headers,
            cookies: self.request.policy.cookies,
        }
    }

    /// Logs the names of the headers that a replay will lack; once for each endpoint at warn level, if
    /// they can be recorded.
    fn report_unrecorded_headers(&self, response: &Response) {
        let shared = &self.engine.shared;
        let allowed = self.allowed_headers();
        let headers = response.headers();
        let unrecorded = headers.keys().filter(|name| {
            let mut values = headers.get_all(*name).iter();
            values.any(|value| !allowed.contains(name, value))
        });
        let (never, others): (Vec<_>, Vec<_>) = unrecorded.partition(|name| NEVER.contains(name));
        if !never.is_empty() {
            tracing::debug!(names = ?never, "headers that are never recorded");
        }
        if others.is_empty() {
            return;
        }
        if shared
            .endpoints
            .has_new_unrecorded_headers(self.request.policy)
        {
            tracing::warn!(
                names = ?others,
                "a replay lacks these headers; record them by `Config::try_with_recorded_header`"
            );
        } else {
            tracing::debug!(names = ?others, "headers that are not recorded");
        }
    }

    /// The attempt's own answer, after its settlement is confirmed.
    pub(super) fn answer(
        &mut self,
        ending: Ending,
        known: Option<Known>,
        attempt: &Attempt,
    ) -> Answer {
        let Ending {
            settle,
            mut response,
            problem,
            ..
        } = ending;
        let state = settle.state();
        if settle == Settle::Commit {
            self.run_after_commit(attempt);
        }
        let markers = &self.engine.shared.config.markers;
        let headers = response.headers_mut();
        markers.remove_from(headers);
        if let Some(known) = known.as_ref().filter(|_| state.is_replayed()) {
            markers.mark_expiry(headers, known.record.expires_at);
        }
        // Another run would only end in the same way, for each of those who wait.
        let instead = problem.filter(|problem| *problem == Problem::ResponseTooLarge);
        match (known, instead) {
            (Some(known), instead) if state.is_replayed() || instead.is_some() => {
                self.publish(known, instead);
            }
            (None, Some(problem)) => self.share(Shareable::Problem(problem)),
            _ => {}
        }
        Answer::own(response, state, problem)
    }

    /// Gives the futures of `after_commit` tasks of their own. A drain waits for them, so each has
    /// as long as an attempt, from its start.
    fn run_after_commit(&self, attempt: &Attempt) {
        let limit = self.request.policy.deadline;
        let shared = &self.engine.shared;
        for future in attempt.take_after_commit() {
            let room = Arc::clone(&shared.after_commit_room);
            let bounded = async move {
                let _permit = room.acquire().await;
                if timeout(limit, future).await.is_err() {
                    tracing::error!("a future of `after_commit` passed the deadline");
                }
            };
            let future = bounded.instrument(self.observation.span.clone());
            shared.after_commit.spawn(future);
        }
    }

    /// Hands a record to the duplicates that wait in this process, and to the cache for later ones.
    pub(super) fn publish(&mut self, known: Known, instead: Option<Problem>) {
        if let Some(identity) = self.request.identity {
            let cache = &self.engine.shared.cache;
            cache.insert(identity, &known.record, known.now, known.since);
        }
        let known = Arc::new(known);
        self.share(Shareable::Record { known, instead });
    }

    /// Answers the duplicates that wait in this process.
    pub(super) fn share(&mut self, answer: Shareable) {
        if let Some(owner) = self.owner.take() {
            owner.publish(answer);
        }
    }
}
