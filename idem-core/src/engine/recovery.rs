//! What is done after an attempt whose transaction broke, or whose end is not known.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{End, Turn, Won, pauses};
use crate::attempt::Attempt;
use crate::observe::Answer;
use crate::policy::Isolation;
use crate::problem::Problem;
use crate::record::{Record, State};
use crate::response;
use crate::store::{ClaimRequest, Claimed, Opening, Store, StoreError};

/// How long the engine asks for the outcome of a commit whose answer was lost, or tries to write
/// down an effect that may stand.
const RESOLVE: Duration = Duration::from_secs(5);

/// How long the engine waits for the server to let go of a broken attempt.
const LET_GO: Duration = Duration::from_millis(250);

impl<S: Store> Turn<S> {
    /// Undoes what the handler did, and answers with `problem` in its place.
    ///
    /// A statement of the handler may still be running; if it doesn't end soon, the connection is
    /// closed and the failure is not recorded.
    pub(super) async fn undo(
        &mut self,
        won: Won,
        claim: S::Claim,
        problem: Problem,
        attempt: &Attempt,
    ) -> Answer {
        let end = End {
            state: State::FailedRetriable,
            response: self.problem(problem).response,
            patience: LET_GO,
        };
        self.settle(won, claim, end, attempt).await
    }

    /// Answers with a failure whose transaction is gone, and writes it down as well as can be.
    pub(super) async fn fail(&mut self, won: Won, state: State, problem: Problem) -> Answer {
        let mut answer = self.problem(problem);
        if self.identity.is_none() {
            return answer;
        }
        // An effect that may stand has to be written down; a failure that left none may be lost.
        let patience = if state.is_replayed() { RESOLVE } else { LET_GO };
        let written = match self.claim_again(won, patience).await {
            Ok(Claimed::Won(claim)) => {
                let end = End {
                    state,
                    response: answer.response.clone(),
                    patience,
                };
                match self.write(won, claim, &end).await {
                    (Ok(()), record) => Ok(record),
                    (Err(error), _) => Err(error.to_string()),
                }
            }
            // The claim had written it down beforehand.
            Ok(Claimed::Changed(Some(found))) if found.record.state == State::Ended => {
                Ok(Some(found.record))
            }
            Ok(_) => Err("the identity is taken".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match written {
            Ok(Some(record)) if state.is_replayed() => {
                response::mark_expiry(answer.response.headers_mut(), record.expires_at);
                if record.state.is_replayed() {
                    let now = record.settled_at;
                    self.publish(record, now);
                }
            }
            Ok(_) => {}
            Err(reason) if state.is_replayed() => {
                tracing::error!(reason, "what may have had an effect may run again");
            }
            Err(reason) => tracing::warn!(reason, "the failure is not recorded"),
        }
        answer
    }

    /// Learns, holding the identity, what became of a commit whose answer was lost.
    pub(super) async fn resolve(
        &mut self,
        won: Won,
        end: End,
        record: Option<Record>,
        attempt: &Attempt,
    ) -> Answer {
        let ours = record.as_ref().map(Record::version);
        match self.claim_again(won, RESOLVE).await {
            Ok(Claimed::Changed(Some(found))) if Some(found.record.version()) == ours => {
                self.answer(end, record, attempt)
            }
            Ok(Claimed::Changed(Some(found))) => match self.decide(found, true) {
                Err(answer) => answer,
                Ok(_) => self.problem(Problem::TryAgain),
            },
            // Writing a failure in its place proves that the commit has not happened and never
            // will.
            Ok(Claimed::Won(claim)) => {
                let failure = self.problem(Problem::TryAgain);
                let end = End {
                    state: State::FailedRetriable,
                    response: failure.response.clone(),
                    patience: RESOLVE,
                };
                match self.write(won, claim, &end).await {
                    (Ok(()), _) => failure,
                    (Err(_), _) => self.problem(Problem::OutcomeUnknown),
                }
            }
            Ok(Claimed::Changed(None) | Claimed::InFlight) | Err(_) => {
                self.problem(Problem::OutcomeUnknown)
            }
        }
    }

    /// Someone else settled the identity first: theirs is the answer, if it is one.
    pub(super) async fn theirs(&mut self) -> Option<Answer> {
        let identity = self.identity?;
        match self.store().find(&identity).await {
            Ok(found) => self.decide(found?, true).err(),
            Err(error) => Some(self.store_problem(&error)),
        }
    }

    /// Claims once more, after the attempt's own transaction has ended or while it is about to.
    async fn claim_again(
        &self,
        won: Won,
        patience: Duration,
    ) -> Result<Claimed<S::Claim>, StoreError> {
        let Some(identity) = &self.identity else {
            return Ok(Claimed::Changed(None));
        };
        // An older snapshot could miss what became of the attempt.
        let opening = Opening {
            isolation: Some(Isolation::ReadCommitted),
            deadline: patience,
        };
        let until = Instant::now() + patience;
        let mut pauses = pauses();
        loop {
            let request = ClaimRequest {
                likely_taken: true,
                ..self.request(identity, won, opening)
            };
            let claimed = match timeout(patience, self.store().claim(request)).await {
                Ok(claimed) => claimed,
                Err(elapsed) => Err(StoreError::Unavailable(elapsed.into())),
            };
            let pause = pauses();
            let may_change = matches!(
                claimed,
                Ok(Claimed::InFlight) | Err(StoreError::Unavailable(_) | StoreError::Conflict(_))
            );
            if !may_change || Instant::now() + pause > until {
                return claimed;
            }
            sleep(pause).await;
        }
    }
}
