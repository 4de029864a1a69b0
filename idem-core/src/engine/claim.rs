//! Winning the identity, or finding the answer that there is.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{ClaimInfo, Known, Shareable, Turn, store_problem};
use crate::cache::ReadStart;
use crate::identity::Identity;
use crate::meter::{self, Timer};
use crate::observe::Answer;
use crate::problem::Problem;
use crate::record::Found;
use crate::store::{ClaimRequest, Claimed, Opening, Store, StoreError};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The same for a run that is held by a lease: a takeover comes at most so late.
const LONGEST_PAUSE_OF_A_RUN: Duration = Duration::from_millis(50);

/// How many times a record may change between a read and the claim before the next claim waits.
const QUICK_CHANGES: u32 = 3;

/// The terms of a claim that is tried more than once.
#[derive(Debug)]
pub(super) struct Terms {
    /// How each try opens its transaction. Its deadline bounds the try.
    opening: Opening,
    /// When no further try begins.
    until: Instant,
    /// Before the next try.
    pause: Duration,
    has_waited: bool,
    /// Whether an unreachable database is asked again.
    outlasts_outages: bool,
    likely_taken: bool,
    /// The times before the last try.
    asked: (Instant, Option<ReadStart>),
}

impl Terms {
    fn new(opening: Opening, until: Instant) -> Self {
        Self {
            opening,
            until,
            pause: FIRST_PAUSE,
            has_waited: false,
            outlasts_outages: false,
            likely_taken: false,
            asked: (Instant::now(), None),
        }
    }

    /// For an identity that was just held, by an attempt whose end has to be learned.
    pub(super) fn again(opening: Opening, until: Instant) -> Self {
        Self {
            likely_taken: true,
            outlasts_outages: true,
            ..Self::new(opening, until)
        }
    }

    /// Waits before another try; `false` if there is no time for one.
    async fn pause(&mut self) -> bool {
        let has_time = Instant::now() + self.pause <= self.until;
        if has_time {
            sleep(self.pause).await;
            let longest = match self.opening.lease {
                Some(_) => LONGEST_PAUSE_OF_A_RUN,
                None => LONGEST_PAUSE,
            };
            self.pause = (self.pause * 3 / 2).min(longest);
            self.has_waited = true;
        }
        has_time
    }

    pub(super) fn known(&self, found: Found) -> Known {
        let (read_at, since) = self.asked;
        Known::of(found, read_at, since)
    }
}

impl<S: Store> Turn<S> {
    /// Wins the identity, or finds the answer that there is.
    pub(super) async fn claim(&mut self) -> Result<(S::Claim, ClaimInfo), Answer> {
        let opening = self.opening();
        let Some(identity) = self.request.identity else {
            if self.engine.shared.config.is_unprotected {
                tracing::warn!("protection is off: the handler runs, also if it has run before");
            }
            let timer = Timer::start();
            let begun = bounded(opening.deadline, self.store().begin(opening)).await;
            meter::claimed::<S>(timer);
            let claim = begun.map_err(|error| self.engine.problem(store_problem(&error)))?;
            return Ok((claim, ClaimInfo::FIRST));
        };
        let is_recent = self.engine.shared.recent.mark(&identity);
        let mut terms = Terms::new(opening, self.until);
        terms.likely_taken = is_recent || self.request.likely_retry;
        let mut info = ClaimInfo::FIRST;
        let mut changes = 0;
        loop {
            match self.try_claim(&identity, info, &mut terms).await {
                Ok(Claimed::Won(claim)) => return Ok((claim, info)),
                Ok(Claimed::InFlight) => return Err(self.engine.in_flight(&self.request)),
                Ok(Claimed::Changed(found)) => {
                    info = match found.map(|found| terms.known(found)) {
                        Some(known) => self.answer_or_attempt(known, terms.has_waited)?,
                        None => ClaimInfo::FIRST,
                    };
                    changes += 1;
                    if changes > QUICK_CHANGES && !terms.pause().await {
                        return Err(self.engine.problem(Problem::TryAgain));
                    }
                    terms.likely_taken = false;
                }
                Err(error) => {
                    let problem = store_problem(&error);
                    // A conflict is this request's own; all else would meet the duplicates, too.
                    if !matches!(error, StoreError::Conflict(_)) {
                        self.share(Shareable::Problem(problem));
                    }
                    return Err(self.engine.problem(problem));
                }
            }
        }
    }

    /// Asks the store until its answer is a lasting one, or the time is used up: the one loop for
    /// all claims.
    pub(super) async fn try_claim(
        &self,
        identity: &Identity,
        info: ClaimInfo,
        terms: &mut Terms,
    ) -> Result<Claimed<S::Claim>, StoreError> {
        loop {
            terms.asked = (Instant::now(), self.engine.shared.cache.start_read());
            let request = ClaimRequest {
                identity,
                operation: &self.request.operation,
                fingerprint: &self.request.fingerprint,
                attempt: info.attempt,
                ttl: self.request.policy.ttl,
                opening: terms.opening,
                seen: info.replaces,
                likely_taken: terms.likely_taken,
            };
            let timer = Timer::start();
            let claimed = bounded(terms.opening.deadline, self.store().claim(request)).await;
            meter::claimed::<S>(timer);
            let may_change = match &claimed {
                Ok(Claimed::InFlight) => {
                    // Another process runs a handler; duplicates here wait for that one.
                    self.handler_runs(None);
                    true
                }
                Err(StoreError::Conflict(_)) => true,
                Err(StoreError::Unavailable(_)) => terms.outlasts_outages,
                _ => false,
            };
            if !may_change || !terms.pause().await {
                return claimed;
            }
            terms.likely_taken = true;
        }
    }

    /// What a record means for this request: an answer, which all who wait get too, or the next
    /// attempt.
    pub(super) fn answer_or_attempt(
        &mut self,
        mut known: Known,
        waited: bool,
    ) -> Result<ClaimInfo, Answer> {
        let Known { record, now, .. } = &mut known;
        if let (Some(identity), Some(key)) = (&self.request.identity, &self.request.key)
            && let Err(unreadable) = self.engine.open(record, *now, identity, key)
        {
            let problem = store_problem(&unreadable.into());
            self.share(Shareable::Problem(problem));
            return Err(self.engine.problem(problem));
        }
        let fingerprint = &self.request.fingerprint;
        let decided = self
            .engine
            .decide(&known.record, known.now, fingerprint, waited);
        if known.record.state.is_replayed() && decided.is_err() {
            self.publish(known, None);
        }
        decided
    }

    fn opening(&self) -> Opening {
        Opening {
            isolation: self.request.policy.isolation,
            deadline: self.request.policy.deadline,
            lease: self.request.policy.lease,
        }
    }
}

/// A store that does not answer in time is unavailable.
///
/// The store's future is boxed: it can have 9 kB, and the future of an attempt would hold it many times.
pub(super) fn bounded<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> impl Future<Output = Result<T, StoreError>> {
    let answer = timeout(limit, Box::pin(answer));
    async {
        let answer = answer.await;
        answer.unwrap_or_else(|elapsed| Err(StoreError::Unavailable(elapsed.into())))
    }
}
