//! What is done after an attempt whose transaction broke, or whose end is not known.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Turn, Won, pauses};
use crate::attempt::Attempt;
use crate::observe::Answer;
use crate::problem::Problem;
use crate::record::{Found, State};
use crate::response::Response;
use crate::store::{ClaimRequest, Claimed, Store, StoreError, Times};

/// How long the engine asks for the outcome of a commit whose answer was lost, or tries to write
/// down an effect that may stand.
const RESOLVE: Duration = Duration::from_secs(5);

/// How long the engine waits for the server to let go of a broken attempt, to write down that it
/// failed.
const LET_GO: Duration = Duration::from_millis(250);

impl<S: Store> Turn<S> {
    /// Answers with a failure whose transaction is gone, and writes it down as well as can be.
    pub(super) async fn fail(&mut self, won: Won, state: State, problem: Problem) -> Answer {
        let answer = self.problem(problem);
        if self.identity.is_none() {
            return answer;
        }
        // An effect that may stand has to be written down; a failure that left none may be lost.
        let patience = if state.is_replayed() { RESOLVE } else { LET_GO };
        match self.claim_again(won, patience).await {
            Ok(Claimed::Won(claim)) => {
                match self.write(won, claim, state, &answer.response).await {
                    Ok(Some(record)) if state.is_replayed() => self.publish(record),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "the failure could not be recorded"),
                }
            }
            Ok(_) => tracing::warn!("the failure is not recorded: the identity is taken"),
            Err(error) => tracing::warn!(%error, "the failure could not be recorded"),
        }
        answer
    }

    /// Learns, holding the identity, what became of a commit whose answer was lost.
    pub(super) async fn resolve(
        &mut self,
        won: Won,
        state: State,
        response: Response,
        times: Option<Times>,
        attempt: &Attempt,
    ) -> Answer {
        let is_ours = |found: &Found| {
            let written = times.is_some_and(|t| t.settled_at == found.record.settled_at);
            written && found.record.attempts == won.attempt
        };
        match self.claim_again(won, RESOLVE).await {
            Ok(Claimed::Changed(Some(found))) if is_ours(&found) => {
                self.answer(state, response, Some(found.record), attempt)
            }
            Ok(Claimed::Changed(Some(found))) => self.answer_of(found),
            // Writing a failure in its place proves that the commit has not happened and never
            // will.
            Ok(Claimed::Won(claim)) => {
                let failure = self.problem(Problem::TryAgain);
                let state = State::FailedRetriable;
                match self.write(won, claim, state, &failure.response).await {
                    Ok(_) => failure,
                    Err(_) => self.problem(Problem::OutcomeUnknown),
                }
            }
            Ok(Claimed::Changed(None) | Claimed::InFlight) | Err(_) => {
                self.problem(Problem::OutcomeUnknown)
            }
        }
    }

    /// Someone else settled the identity first: theirs is the answer.
    pub(super) async fn theirs(&mut self) -> Answer {
        let Some(identity) = self.identity else {
            return self.problem(Problem::TryAgain);
        };
        match self.store().find(&identity).await {
            Ok(Some(found)) => self.answer_of(found),
            Ok(None) => self.problem(Problem::TryAgain),
            Err(error) => self.store_problem(&error),
        }
    }

    fn answer_of(&mut self, found: Found) -> Answer {
        match self.decide(found, true) {
            Err(answer) => answer,
            Ok(_) => self.problem(Problem::TryAgain),
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
        let until = Instant::now() + patience;
        let mut pauses = pauses();
        loop {
            let request = ClaimRequest {
                identity,
                seen: won.replaces,
                likely_taken: true,
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
