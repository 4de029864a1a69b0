//! After an attempt whose transaction broke, or whose end is not known.

use std::time::Duration;

use tokio::time::Instant;

use super::claim::{Terms, bounded};
use super::turn::Ending;
use super::{ClaimInfo, Known, Turn};
use crate::attempt::Attempt;
use crate::observe::Answer;
use crate::policy::{Isolation, Settle};
use crate::problem::Problem;
use crate::record::State;
use crate::store::{Claimed, Opening, Store, StoreError};

/// How long the engine asks for the outcome of a commit whose answer was lost, or tries to record
/// an effect that may stand.
const RESOLVE: Duration = Duration::from_secs(5);

/// How long the engine waits for the server to release a broken attempt.
const RELEASE: Duration = Duration::from_millis(250);

impl<S: Store> Turn<S> {
    /// Undoes the handler's writes, and answers with `problem` in their place.
    ///
    /// A statement of the handler may still be running. If it doesn't end soon, the connection is
    /// closed and the failure is not recorded.
    pub(super) async fn undo(
        &mut self,
        info: ClaimInfo,
        claim: S::Claim,
        problem: Problem,
        attempt: &Attempt,
    ) -> Answer {
        let ending = self.failure(Settle::Retriable, problem, RELEASE);
        self.finish(info, claim, ending, attempt).await
    }

    /// Answers with a failure whose transaction is gone, and records it as well as can be.
    pub(super) async fn fail(
        &mut self,
        info: ClaimInfo,
        settle: Settle,
        problem: Problem,
    ) -> Answer {
        let mut answer = self.engine.problem(problem);
        if self.request.identity.is_none() {
            return answer;
        }
        // An effect that may stand has to be recorded; a failure that left none may be lost.
        let is_final = settle.state().is_replayed();
        let limit = if is_final { RESOLVE } else { RELEASE };
        match self
            .record_failure(info, self.failure(settle, problem, limit))
            .await
        {
            Ok(Some(known)) if is_final => {
                let headers = answer.response.headers_mut();
                let markers = &self.engine.shared.config.markers;
                markers.mark_expiry(headers, known.record.expires_at);
                if known.record.state.is_replayed() {
                    self.publish(known, None);
                }
            }
            Ok(_) => {}
            Err(reason) if is_final => {
                tracing::error!(reason, "an effect may stand, but its key may run again");
            }
            Err(reason) => tracing::warn!(reason, "the failure is not recorded"),
        }
        answer
    }

    /// Records a failure in a transaction of its own.
    async fn record_failure(
        &self,
        info: ClaimInfo,
        ending: Ending,
    ) -> Result<Option<Known>, String> {
        match self.claim_again(info, ending.timeout).await {
            Ok(Reclaimed::Won(claim)) => match self.write(info, claim, &ending).await {
                (Ok(()), known) => Ok(known),
                (Err(error), _) => Err(error.to_string()),
            },
            // The claim had recorded it beforehand.
            Ok(Reclaimed::Changed(known)) if known.record.state == State::Ended => Ok(Some(*known)),
            // Another attempt has settled the identity: it does not run again.
            Ok(Reclaimed::Changed(known)) if known.record.state.is_replayed() => Ok(None),
            Ok(_) => Err("the identity is taken".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Learns, holding the identity, the outcome of a commit whose answer was lost.
    pub(super) async fn resolve(
        &mut self,
        info: ClaimInfo,
        ending: Ending,
        written: Option<Known>,
        attempt: &Attempt,
    ) -> Answer {
        let own_version = written.as_ref().map(|known| known.record.version());
        self.request.rejected = false; // What is written here has to be found.
        match self.claim_again(info, RESOLVE).await {
            Ok(Reclaimed::Changed(known)) if Some(known.record.version()) == own_version => {
                self.answer(ending, written, attempt)
            }
            Ok(Reclaimed::Changed(known)) => match self.answer_or_attempt(*known, true) {
                Err(answer) => answer,
                // Its record may have been there, and be replaced already.
                Ok(_) if ending.settle == Settle::KeepAndRetry => {
                    self.engine.problem(Problem::OutcomeUnknown)
                }
                Ok(_) => self.engine.problem(Problem::TryAgain),
            },
            // A failure recorded in its place proves that the commit has not happened and never
            // will.
            Ok(Reclaimed::Won(claim)) => {
                let failure = self.failure(Settle::Retriable, Problem::TryAgain, RESOLVE);
                let (settled, _) = self.write(info, claim, &failure).await;
                self.engine.problem(match settled {
                    Ok(()) => Problem::TryAgain,
                    Err(_) => Problem::OutcomeUnknown,
                })
            }
            Ok(Reclaimed::Unknown) | Err(_) => self.engine.problem(Problem::OutcomeUnknown),
        }
    }

    /// Another attempt settled the identity first: its record is the answer, if it is one.
    pub(super) async fn answer_of_winner(&mut self) -> Option<Answer> {
        let identity = self.request.identity?;
        let read_at = Instant::now();
        match bounded(RESOLVE, self.store().find(&identity)).await {
            Ok(found) => {
                let known = Known::of(found?, read_at, None);
                self.answer_or_attempt(known, true).err()
            }
            Err(error) => {
                tracing::warn!(%error, "the record of the attempt that won can't be read");
                None
            }
        }
    }

    /// Claims once more, after the attempt's own transaction has ended or while it is about to.
    async fn claim_again(
        &self,
        info: ClaimInfo,
        limit: Duration,
    ) -> Result<Reclaimed<S::Claim>, StoreError> {
        let Some(identity) = &self.request.identity else {
            return Ok(Reclaimed::Unknown);
        };
        // An older snapshot could hide the outcome of the attempt.
        let opening = Opening {
            isolation: Some(Isolation::ReadCommitted),
            deadline: limit,
            lease: self.request.policy.lease,
        };
        let mut terms = Terms::again(opening, Instant::now() + limit);
        let claimed = self.try_claim(identity, info, &mut terms).await?;
        Ok(match claimed {
            Claimed::Won(claim) => Reclaimed::Won(claim),
            Claimed::Changed(Some(found)) => Reclaimed::Changed(Box::new(terms.known(found))),
            Claimed::Changed(None) | Claimed::InFlight => Reclaimed::Unknown,
        })
    }

    fn failure(&self, settle: Settle, problem: Problem, limit: Duration) -> Ending {
        Ending {
            settle,
            response: self.engine.problem(problem).response,
            problem: Some(problem),
            timeout: limit,
        }
    }
}

/// The outcome of claiming an identity again.
enum Reclaimed<C> {
    Won(C),
    /// The record is another version than the one that the attempt replaces.
    Changed(Box<Known>),
    /// There is no way to tell: no identity, no record, or another holder.
    Unknown,
}
