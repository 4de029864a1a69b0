//! The order of things for one request: admission, claim, handler, settlement.
//!
//! An adapter prepares a request and calls `admit` (`engine/admission.rs`), which answers duplicates
//! from memory. Then [`Turn::run`] (`engine/turn.rs`) claims the identity (`claim.rs`), runs the
//! handler in the claim's transaction (`guard.rs`), and settles (`finish.rs`). A broken attempt and a
//! lost answer to COMMIT are the subject of `recovery.rs`, an answer before the attempt has ended that of
//! `pending.rs`.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::adapter::BeforeHandler;
use crate::cache::{Cache, ReadStart};
use crate::config::Config;
use crate::decision::{Decision, decide};
use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::key::IdempotencyKey;
use crate::meter;
use crate::observe::Answer;
use crate::operation::Operation;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::recent::RecentIdentities;
use crate::record::{Found, Record, Timestamp, Unreadable, Version};
use crate::response::Response;
use crate::single_flight::SingleFlight;
use crate::store::{Store, StoreError};
use crate::throttle::Throttle;

mod admission;
mod claim;
mod endpoints;
mod finish;
mod guard;
mod pending;
mod recovery;
mod turn;

pub use self::admission::Prepared;
pub(crate) use self::admission::{admit, refuse};
pub(crate) use self::endpoints::Endpoints;
pub use self::guard::{ClaimGuard, ClaimSlot};
pub use self::pending::{Patience, answer_within};
pub use self::turn::Turn;

/// Runs handlers at most once for each identity. Cheap to clone; one for each database.
///
/// Call the store's `migrate()` first, at the start of the service or in a deployment step. Without
/// its tables, every protected request is answered 500 `misconfigured`.
///
/// Clones share the memory of requests in flight, so duplicates in one process meet there. Make one
/// engine and clone it.
#[derive(Debug)]
pub struct Engine<S: Store> {
    pub(crate) shared: Arc<Shared<S>>,
}

#[derive(Debug)]
pub(crate) struct Shared<S: Store> {
    pub(crate) store: S,
    pub(crate) before_handler: Option<BeforeHandler<S>>,
    pub(crate) config: Config,
    pub(crate) cache: Cache,
    throttle: Throttle,
    /// The attempts, which a drain waits for.
    pub(crate) attempts: TaskTracker,
    /// The futures of `after_commit`, which a drain waits for after the attempts.
    pub(crate) after_commit: TaskTracker,
    /// A permit for each request that claims or runs.
    room: Arc<Semaphore>,
    /// A permit for each future of `after_commit` that runs.
    after_commit_room: Arc<Semaphore>,
    recent: RecentIdentities,
    pub(crate) endpoints: Endpoints,
    single_flight: Arc<SingleFlight<Shareable>>,
}

impl<S: Store> Engine<S> {
    /// An engine with the default settings.
    pub fn new(store: S) -> Self {
        Self::with_config(store, Config::new())
    }

    /// An engine with settings of its own.
    pub fn with_config(store: S, mut config: Config) -> Self {
        config.mode = S::MODE;
        if config.is_unprotected {
            tracing::error!("protection is off: a retry runs its handler again");
        }
        meter::describe();
        let room = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            shared: Arc::new(Shared {
                cache: Cache::new(config.replay_cache, config.response_limit),
                throttle: Throttle::new(config.rates),
                attempts: TaskTracker::new(),
                after_commit: TaskTracker::new(),
                room: room(config.max_in_flight),
                after_commit_room: room(config.max_after_commit),
                recent: RecentIdentities::new(),
                endpoints: Endpoints::default(),
                single_flight: SingleFlight::new(config.waiters, config.waiters_per_identity),
                before_handler: None,
                store,
                config,
            }),
        }
    }

    /// Adds the hook of an adapter.
    #[doc(hidden)]
    #[must_use]
    pub fn with_before_handler(mut self, hook: BeforeHandler<S>) -> Self {
        let shared = Arc::get_mut(&mut self.shared);
        let shared = shared.expect("the hook is added before the engine is cloned");
        shared.before_handler = Some(hook);
        self
    }

    #[doc(hidden)]
    pub fn has_before_handler(&self) -> bool {
        self.shared.before_handler.is_some()
    }

    /// How many duplicates wait for a handler that runs: for tests.
    #[doc(hidden)]
    pub fn waiting(&self) -> usize {
        self.shared.single_flight.waiting()
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.shared.store
    }
}

impl<S: Store> Engine<S> {
    /// What a record means for a request with `fingerprint`: the next attempt, or an answer.
    fn decide(
        &self,
        record: &Record,
        now: Timestamp,
        fingerprint: &Fingerprint,
        waited: bool,
    ) -> Result<ClaimInfo, Answer> {
        match decide(record, fingerprint, now) {
            Decision::Execute { attempt } => Ok(ClaimInfo {
                attempt,
                replaces: Some(record.version()),
            }),
            Decision::Replay => {
                let markers = &self.shared.config.markers;
                Err(Answer::replay(record, now, waited, markers)
                    .unwrap_or_else(|| self.problem(Problem::RecordUnreadable)))
            }
            Decision::Mismatch => Err(self.problem(Problem::KeyReused)),
            Decision::Ended => {
                let mut answer = self.problem(Problem::TransactionEnded);
                let headers = answer.response.headers_mut();
                self.shared
                    .config
                    .markers
                    .mark_expiry(headers, record.expires_at);
                Err(answer)
            }
        }
    }

    /// Opens the response of a record that has been found. That of an expired record answers nothing, and
    /// stays as it is: its pepper may be gone.
    pub(crate) fn open(
        &self,
        record: &mut Record,
        now: Timestamp,
        identity: &Identity,
        key: &IdempotencyKey,
    ) -> Result<(), Unreadable> {
        if record.expires_at <= now {
            return Ok(());
        }
        record.open(identity, key, self.shared.config.seal.as_ref())
    }

    pub(crate) fn identity(
        &self,
        scope: Option<&str>,
        operation: &Operation,
        key: &IdempotencyKey,
    ) -> Identity {
        let namespace = self.shared.config.namespace.as_deref();
        Identity::in_namespace(namespace, scope, operation, key)
    }

    /// The identity of a request that has a key.
    fn identity_of(&self, request: &Prepared) -> Option<Identity> {
        let key = request.key.as_ref()?;
        Some(self.identity(request.scope.as_deref(), &request.operation, key))
    }

    /// The most bytes that a response's body may have.
    pub(crate) fn response_limit(&self, policy: &Policy) -> usize {
        let limit = policy.response_limit;
        limit.unwrap_or(self.shared.config.response_limit)
    }

    /// The header that sends the request's key back, if the application wants it (rule R10).
    fn key_echo(&self, request: &Prepared) -> Option<(HeaderName, HeaderValue)> {
        let config = &self.shared.config;
        let key = request.key.as_ref().filter(|_| config.echoes_key)?;
        let value = HeaderValue::try_from(key.as_str()).ok()?;
        Some((config.header.clone(), value))
    }

    /// The answer to a request whose first attempt has not ended.
    fn in_flight(&self, request: &Prepared) -> Answer {
        if request.patience.is_some() {
            Answer::pending(pending::response())
        } else {
            self.problem(Problem::InFlight)
        }
    }

    fn problem(&self, problem: Problem) -> Answer {
        Answer::problem(problem, &self.shared.config)
    }
}

impl<S: Store> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

fn with_key_echo(mut response: Response, echo: Option<(HeaderName, HeaderValue)>) -> Response {
    if let Some((name, value)) = echo {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Which attempt a claim is for.
#[derive(Debug, Clone, Copy)]
struct ClaimInfo {
    /// The attempt's number, from 1.
    attempt: i32,
    /// The version of the record that the attempt replaces.
    replaces: Option<Version>,
}

impl ClaimInfo {
    const FIRST: Self = Self {
        attempt: 1,
        replaces: None,
    };
}

/// A record of the database, and the times of its read.
#[derive(Debug)]
struct Known {
    record: Record,
    /// The database's time when it read or wrote the record.
    now: Timestamp,
    /// This process's time then, or a little earlier.
    read_at: Instant,
    /// The same for the cache.
    since: Option<ReadStart>,
}

impl Known {
    fn of(found: Found, read_at: Instant, since: Option<ReadStart>) -> Self {
        let Found { record, now } = found;
        Self {
            record,
            now,
            read_at,
            since,
        }
    }

    /// The database's present time, as far as this process knows.
    fn present(&self) -> Timestamp {
        self.now.plus(self.read_at.elapsed())
    }
}

/// The answer of an owner for the duplicates that wait for it.
#[derive(Debug, Clone)]
enum Shareable {
    /// What the record says. Where it says "run again", `instead` is the answer if there is one.
    Record {
        known: Arc<Known>,
        instead: Option<Problem>,
    },
    /// Each of them would get this.
    Problem(Problem),
}

/// The problem for an error of the store, which is logged.
fn store_problem(error: &StoreError) -> Problem {
    let cause: &dyn std::error::Error = error;
    tracing::error!(error = cause, "the store failed");
    match error {
        StoreError::Unavailable(_) | StoreError::Incomplete { .. } => Problem::Unavailable,
        StoreError::Conflict(_) => Problem::TryAgain,
        StoreError::Unreadable(_) => Problem::RecordUnreadable,
        StoreError::Misconfigured(_) => Problem::Misconfigured,
    }
}

#[cfg(test)]
mod tests;
