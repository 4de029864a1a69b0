//! From a prepared request to its turn, or to an answer from memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;

use super::{Engine, Shareable, Turn, with_key_echo};
use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::key::IdempotencyKey;
use crate::meter;
use crate::observe::{Answer, Observation};
use crate::operation::Operation;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::response::Response;
use crate::single_flight::{Joined, Owner};
use crate::store::Store;

/// A protected request, reduced to what idempotency needs of it.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(crate) scope: Option<String>,
    pub(super) operation: Operation,
    pub(crate) key: Option<IdempotencyKey>,
    /// What the record is stored under. Admission hashes it, as the engine knows the namespace; `None`
    /// until then, and without a key.
    pub(crate) identity: Option<Identity>,
    pub(super) fingerprint: Fingerprint,
    pub(super) policy: &'static Policy,
    /// Whether the request itself says that it is a retry, by the header that
    /// [`Config::try_with_retry_header`](crate::Config::try_with_retry_header) names.
    pub(super) likely_retry: bool,
    /// How long the client waits for an attempt, if it prefers an early answer.
    pub(super) patience: Option<Duration>,
    /// Whether an argument could not be extracted: then a failure leaves no trace (rule O7).
    pub(super) rejected: bool,
}

impl Prepared {
    /// Whether the handler is in steps.
    pub(crate) fn is_leased(&self) -> bool {
        self.policy.lease.is_some()
    }

    /// A request of `scope`, `None` for an endpoint that is explicitly unscoped, with `key`, `None`
    /// only where the endpoint makes the key optional.
    pub fn new(
        policy: &'static Policy,
        scope: Option<String>,
        operation: Operation,
        key: Option<IdempotencyKey>,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            scope,
            operation,
            key,
            identity: None,
            fingerprint,
            policy,
            likely_retry: false,
            patience: None,
            rejected: false,
        }
    }

    /// The same request, whose client waits for an attempt at most so long, and then asks again.
    #[must_use]
    pub fn with_patience(self, patience: Option<Duration>) -> Self {
        Self { patience, ..self }
    }

    /// The same request, of which an argument could or could not be extracted.
    #[must_use]
    pub fn with_rejected(self, rejected: bool) -> Self {
        Self { rejected, ..self }
    }

    /// The same request, which says of itself whether it is a retry.
    #[must_use]
    pub fn with_likely_retry(self, likely_retry: bool) -> Self {
        Self {
            likely_retry,
            ..self
        }
    }
}

/// Lets a request in: it gets its turn to run, or it is answered at once, or after waiting for the
/// attempt that is in flight in this process.
pub(crate) async fn admit<S: Store>(
    engine: &Engine<S>,
    mut request: Prepared,
) -> Result<Turn<S>, Response> {
    let config = &engine.shared.config;
    let identity = engine.identity_of(&request);
    let observation = Observation::complete(
        request.scope.as_deref(),
        &request.operation,
        request.key.as_ref(),
        identity.as_ref(),
        config,
    );
    // Without protection nothing is stored.
    request.identity = identity.filter(|_| !config.is_unprotected);
    // Without a record, another request would not get the answer of this one.
    request.patience = request.patience.filter(|_| request.identity.is_some());
    let until = Instant::now() + request.wait();
    let joined = engine.join(&request, until);
    let joined = joined.instrument(observation.span.clone()).await;
    let admitted = joined.and_then(|owner| Ok((owner, engine.enter()?)));
    match admitted {
        Ok((owner, room)) => Ok(Turn {
            engine: engine.clone(),
            request,
            owner,
            until,
            observation,
            _room: room,
        }),
        Err(answer) => {
            let echo = engine.key_echo(&request);
            Err(with_key_echo(observation.end(answer), echo))
        }
    }
}

/// Answers a request that does not get as far as [`admit`]. `operation` and `key` are for the span,
/// where they are known.
pub(crate) fn refuse<S: Store>(
    engine: &Engine<S>,
    problem: Problem,
    operation: Option<&Operation>,
    key: Option<&IdempotencyKey>,
) -> Response {
    let observation = Observation::scopeless(operation, key, &engine.shared.config);
    observation.end(engine.problem(problem))
}

impl<S: Store> Engine<S> {
    /// Becomes the owner of the identity in this process, or gets an answer. There is no owner
    /// without an identity.
    async fn join(
        &self,
        request: &Prepared,
        until: Instant,
    ) -> Result<Option<Owner<Shareable>>, Answer> {
        if request.scope.as_deref() == Some("") {
            tracing::error!("the scope is empty; a key that belongs to nobody is refused");
            return Err(self.problem(Problem::Misconfigured));
        }
        if self.shared.attempts.is_closed() {
            return Err(self.problem(Problem::Unavailable));
        }
        let namespace = self.shared.config.namespace.as_deref();
        let scope = request.scope.as_deref();
        let checked = self
            .shared
            .throttle
            .check(namespace, scope, request.identity.as_ref());
        checked.map_err(|problem| self.problem(problem))?;
        let Some(identity) = request.identity else {
            return Ok(None);
        };
        if let Some((record, now)) = self.shared.cache.get(&identity) {
            self.decide(&record, now, &request.fingerprint, false)
                .map(drop)?;
        }
        loop {
            match self.shared.single_flight.join(identity, until).await {
                Joined::Owner(owner) => return Ok(Some(owner)),
                Joined::InFlight(of) => {
                    // Without a wait, a client could only ask again and again, and never succeed.
                    let is_reused = request.wait().is_zero()
                        && of.is_some_and(|of| !of.matches(&request.fingerprint));
                    return Err(if is_reused {
                        self.problem(Problem::KeyReused)
                    } else {
                        self.in_flight(request)
                    });
                }
                Joined::Published(answer) => self.shared_answer(&answer, request)?,
            }
        }
    }

    /// The answer of an owner, for a duplicate that waited for it. Without one the duplicate asks
    /// again: the record has expired in the meantime.
    fn shared_answer(&self, answer: &Shareable, request: &Prepared) -> Result<(), Answer> {
        match answer {
            Shareable::Problem(problem) => Err(self.problem(*problem)),
            Shareable::Record { known, instead } => {
                let now = known.present();
                self.decide(&known.record, now, &request.fingerprint, true)?;
                instead.map_or(Ok(()), |problem| Err(self.problem(problem)))
            }
        }
    }

    /// Room for one more attempt.
    fn enter(&self) -> Result<Room, Answer> {
        let Ok(permit) = Arc::clone(&self.shared.room).try_acquire_owned() else {
            tracing::warn!("as many attempts are in flight as may be");
            return Err(self.problem(Problem::Unavailable));
        };
        let running = self.shared.attempts.token();
        // Check again now that there is a token: a drain waits for the holders of tokens, so none
        // can slip past it.
        if self.shared.attempts.is_closed() {
            return Err(self.problem(Problem::Unavailable));
        }
        Ok(Room {
            _level: meter::Level::in_flight(),
            _permit: permit,
            _running: running,
        })
    }
}

/// An attempt's room, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    // Dropped before the token, so that nothing is in flight after a drain.
    _level: meter::Level,
    _permit: OwnedSemaphorePermit,
    /// What a drain waits for.
    _running: TaskTrackerToken,
}
