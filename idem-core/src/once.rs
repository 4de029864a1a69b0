//! The engine without HTTP: a value in, a value out ([rules N1 to N7]).
//!
//! For consumers of messages, jobs, gRPC, MCP tools, the items of a batch: whatever has a key and a
//! transaction, and no HTTP request that the attribute could be on. [`Engine::once`] is the engine of the
//! attribute, so all guarantees are the same.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use idem_core::once::{Failure, Key, Once, Policy};
//! use idem_core::{Attempt, Engine, SqliteStore};
//! use serde::{Deserialize, Serialize};
//! use sqlx::SqliteConnection;
//!
//! /// The words of an attribute: the operation, and how long it is remembered.
//! static SETTLE: Policy = Policy::new("settle", Duration::from_hours(24 * 14));
//!
//! #[derive(Serialize)]
//! struct OrderPaid {
//!     id: u64,
//!     tenant: &'static str,
//!     cents: i64,
//! }
//!
//! /// The value, which is recorded.
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Entry(i64);
//!
//! /// A reason that no repetition changes. It is recorded, too.
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! enum Refused {
//!     NothingPaid,
//! }
//!
//! async fn settle(
//!     tx: &mut SqliteConnection,
//!     event: &OrderPaid,
//! ) -> Result<Entry, Failure<sqlx::Error, Refused>> {
//!     if event.cents == 0 {
//!         return Err(Failure::Final(Refused::NothingPaid));
//!     }
//!     let insert = sqlx::query("INSERT INTO ledger (cents) VALUES (?)").bind(event.cents);
//!     let inserted = insert.execute(tx).await?; // an error of the database: `Failure::Again`
//!     Ok(Entry(inserted.last_insert_rowid()))
//! }
//!
//! # let store = SqliteStore::in_memory().await?;
//! # sqlx::query("CREATE TABLE ledger (id INTEGER PRIMARY KEY, cents INTEGER)").execute(store.pool()).await?;
//! # store.migrate().await?;
//! let engine = Engine::new(store);
//! let event = OrderPaid { id: 7, tenant: "acme", cents: 500 };
//! // The second time is a redelivery.
//! for expected in [Once::Fresh(Entry(1)), Once::Replayed(Entry(1))] {
//!     let work = async |tx: &mut SqliteConnection, _: &Attempt| settle(tx, &event).await;
//!     let key = Key::new(event.tenant, event.id);
//!     let settled = engine.once(&SETTLE, key, &event, work).await;
//!     match settled {
//!         Ok(once) => assert_eq!(once, expected), // acknowledge
//!         Err(error) if error.is_retryable() => return Err("deliver it again".into()),
//!         Err(error) => return Err(error.into()), // a dead letter: this key never has a value
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! # The transaction
//!
//! The closure gets what a handler takes by `&mut`: the connection of the engine's store, in the transaction of
//! the claim, or [`Steps`](crate::Steps) of an engine with a [`StepStore`](crate::StepStore).
//! [`Engine::once_shared`] hands out a [`Shared`] handle in place of it. A `sqlx::Transaction` is
//! the `begin()` of the connection, a savepoint.
//!
//! # Cancellation
//!
//! The attempt is a part of the future of [`Engine::once`]: no task is spawned. If the future is dropped, the
//! attempt is undone (finished steps stay), unless its COMMIT was already sent; then the same key has the outcome.
//! So it is safe to drop it, and to ask again. To let an attempt go on without its caller, spawn the future. A
//! [drain](crate::Engine::drain) waits for the attempt while the future lives.
//!
//! The future is `Send` if the closure's is, and the closure may borrow.
//!
//! [rules N1 to N7]: crate::_documentation::contract#n-without-http

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Extensions;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::adapter::HandlerOutcome;
use crate::attempt::Attempt;
use crate::canonical::EncodeError;
use crate::engine::{ClaimGuard, Engine, Prepared, admit, refuse};
use crate::fingerprint::{Binding, BoundTarget, Content, Fingerprint, RequestParts};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
pub use crate::policy::Isolation;
use crate::policy::{self, Misuse};
use crate::problem::Problem;
use crate::response::Response;
use crate::scope::Scope;
use crate::store::{Claim as _, Mode, Store};
use crate::transaction::{Borrowed, Shared};

pub(crate) mod ended;
mod error;

use self::ended::{answer, record};
pub use self::error::{Error, Failure};

/// The longest TTL, as for the attribute.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// In place of a request's bound headers, so that no fingerprint is one of a request (rule N4).
const BOUND: &[u8] = b"idem once";

const HOOK: &str = "the engine's hook before the handler takes a request of actix-web, and there is none; \
                    make another engine without it";

/// An operation and its policy, in the words of the attribute. It is a `static`, so that a mistake in it is a
/// compile error:
///
/// ```
/// # use std::time::Duration;
/// # use idem_core::once::Policy;
/// static SHIP: Policy = Policy::new("ship_order", Duration::from_hours(24 * 14))
///     .with_wait(Duration::ZERO)
///     .with_deadline(Duration::from_secs(10));
/// ```
///
/// ```compile_fail
/// # use std::time::Duration;
/// # use idem_core::once::Policy;
/// static SHIP: Policy = Policy::new("ship_order", Duration::ZERO);
/// ```
#[derive(Debug)]
pub struct Policy {
    /// It has an operation.
    policy: policy::Policy,
}

impl Policy {
    /// The policy of `operation`, whose outcomes are remembered for `ttl`. For messages that is the time in which
    /// they can be delivered again.
    ///
    /// # Panics
    ///
    /// If the operation is empty, or the TTL not between a second and 365 days.
    pub const fn new(operation: &'static str, ttl: Duration) -> Self {
        assert!(!operation.is_empty(), "an operation has a name");
        assert!(ttl.as_secs() >= 1, "a TTL is at least one second");
        assert!(
            ttl.as_secs() <= LONGEST.as_secs(),
            "a TTL is at most 365 days"
        );
        Self {
            policy: policy::Policy::new(ttl).with_operation(operation),
        }
    }

    /// How long a duplicate waits for the attempt in flight, before it is [`Error::InFlight`]: 2 s by default.
    #[must_use]
    pub const fn with_wait(self, wait: Duration) -> Self {
        let policy = self.policy.with_wait(wait);
        Self { policy }
    }

    /// How long an attempt may take: 30 s by default.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    pub const fn with_deadline(self, deadline: Duration) -> Self {
        assert!(!deadline.is_zero(), "an attempt takes time");
        let policy = self.policy.with_deadline(deadline);
        Self { policy }
    }

    /// The isolation level of the transaction; by default the database's own.
    #[must_use]
    pub const fn with_isolation(self, isolation: Isolation) -> Self {
        let policy = self.policy.with_isolation(isolation);
        Self { policy }
    }

    /// How long an attempt with [`Steps`](crate::Steps) holds its key without a sign of life: less than the
    /// deadline. Only such an attempt has a lease, and it needs one.
    ///
    /// # Panics
    ///
    /// If it is shorter than a second.
    #[must_use]
    pub const fn with_lease(self, lease: Duration) -> Self {
        assert!(lease.as_secs() >= 1, "a lease is at least one second");
        let policy = self.policy.with_lease(lease);
        Self { policy }
    }

    /// The most bytes of a recorded value, in place of the application's limit.
    #[must_use]
    pub const fn with_response_limit(self, bytes: usize) -> Self {
        let policy = self.policy.with_response_limit(bytes);
        Self { policy }
    }

    /// Binds nothing to the key: another payload with the key is the same request. For messages whose payload
    /// differs in each delivery.
    #[must_use]
    pub const fn without_fingerprint(self) -> Self {
        let policy = self.policy.with_target(BoundTarget::Nothing);
        Self { policy }
    }

    /// Whether the policy and the transaction fit together.
    fn check(&self, mode: Mode) -> Result<(), String> {
        let problem = match (mode, self.policy.lease) {
            (Mode::Steps, None) => "a closure that takes `Steps` needs `Policy::with_lease`",
            (Mode::Transaction, Some(_)) => "a lease is for a closure that takes `Steps`",
            (Mode::Steps, Some(lease)) if lease >= self.policy.deadline => {
                "the lease is not less than the deadline"
            }
            _ => return Ok(()),
        };
        Err(problem.to_owned())
    }

    /// The operation, for [`Engine::find`] and [`Engine::forget`].
    pub fn operation(&self) -> Operation {
        operation(&self.policy)
    }
}

/// Whose key it is, and the key.
#[derive(Debug, Clone)]
pub struct Key {
    scope: Option<String>,
    text: String,
}

impl Key {
    /// A key of `scope`, such as the tenant of an event. Its text is a key as of rule K3: 1 to 255 visible ASCII
    /// characters without comma, `"` and `\`.
    pub fn new(scope: impl Scope, key: impl Display) -> Self {
        Self {
            scope: Some(scope.scope().into_owned()),
            text: key.to_string(),
        }
    }

    /// A key without an owner: there is one set of such keys for the operation.
    pub fn unscoped(key: impl Display) -> Self {
        Self {
            scope: None,
            text: key.to_string(),
        }
    }
}

/// The value of an operation that has succeeded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once<T> {
    /// The closure has run now.
    Fresh(T),
    /// The closure has run before, and did not run now.
    Replayed(T),
}

impl<T> Once<T> {
    /// The value, which is the same each time.
    pub fn into_inner(self) -> T {
        match self {
            Self::Fresh(value) | Self::Replayed(value) => value,
        }
    }
}

impl<S: Store> Engine<S> {
    /// Runs `work` at most once with success for `key`, and returns its value, now and each time.
    ///
    /// The writes of `work` in its transaction, and its value, are committed together. The value is recorded as
    /// JSON, and `payload` is bound to the key. The module [`once`](crate::once) has an example, the types of the
    /// transaction, and what happens if the future is dropped.
    ///
    /// What the caller gets is read from that JSON, also the first time. So a field that serde skips is missing
    /// the first time, too.
    ///
    /// # Errors
    ///
    /// The closure's own [`Failure`], or the library's reason why there is no value.
    pub async fn once<V, E, F, P, W>(
        &self,
        policy: &'static Policy,
        key: Key,
        payload: &P,
        work: W,
    ) -> Result<Once<V>, Error<E, F>>
    where
        V: Serialize + DeserializeOwned,
        F: Serialize + DeserializeOwned,
        P: Serialize + ?Sized,
        W: AsyncFnOnce(&mut S::Connection, &Attempt) -> Result<V, Failure<E, F>>,
    {
        let borrowing = async |claim: &mut ClaimGuard<S::Claim>, attempt: &Attempt| {
            work(claim.connection(), attempt).await
        };
        self.once_on_claim(policy, key, payload, borrowing).await
    }

    /// The same with a [`Shared`] handle of the connection, for what can't hold a borrow: a unit of work, a
    /// repository, a transaction of SeaORM.
    ///
    /// # Errors
    ///
    /// Those of [`once`](Self::once). If a clone is locked when the closure ends, the attempt is undone.
    pub async fn once_shared<V, E, F, P, W>(
        &self,
        policy: &'static Policy,
        key: Key,
        payload: &P,
        work: W,
    ) -> Result<Once<V>, Error<E, F>>
    where
        V: Serialize + DeserializeOwned,
        F: Serialize + DeserializeOwned,
        P: Serialize + ?Sized,
        W: AsyncFnOnce(Shared<S::Connection>, &Attempt) -> Result<V, Failure<E, F>>,
    {
        let sharing = async |claim: &mut ClaimGuard<S::Claim>, attempt: &Attempt| {
            let owner = Borrowed::new(claim).share();
            work(owner.clone(), attempt).await
        };
        self.once_on_claim(policy, key, payload, sharing).await
    }

    async fn once_on_claim<V, E, F, P, W>(
        &self,
        policy: &'static Policy,
        key: Key,
        payload: &P,
        work: W,
    ) -> Result<Once<V>, Error<E, F>>
    where
        V: Serialize + DeserializeOwned,
        F: Serialize + DeserializeOwned,
        P: Serialize + ?Sized,
        W: AsyncFnOnce(&mut ClaimGuard<S::Claim>, &Attempt) -> Result<V, Failure<E, F>>,
    {
        let content = match policy.policy.target {
            BoundTarget::Nothing => Ok(Content::None),
            _ => Content::of(payload),
        };
        let content = policy
            .check(S::MODE)
            .and_then(|()| content.map_err(|error| unbound(&error)));
        let call = Call {
            policy: &policy.policy,
            scope: key.scope,
            key: Some(key.text),
            content,
            payload: None,
        };
        let returned = Mutex::new(None);
        let response = self
            .run_once(call, |mut claim, attempt| {
                let returned = &returned;
                // Boxed, as the future of an attempt is moved.
                Box::pin(async move {
                    let ended = work(&mut claim, &attempt).await;
                    let (response, settle) = match record(ended) {
                        Ok((response, settle, ended)) => {
                            let mut returned =
                                returned.lock().unwrap_or_else(PoisonError::into_inner);
                            *returned = Some(ended);
                            (response, Ok(settle))
                        }
                        Err(error) => {
                            tracing::error!(%error, "a value can't be written as JSON and read again");
                            (Response::default(), Err(Misuse::Unrecordable))
                        }
                    };
                    HandlerOutcome::Answered {
                        response,
                        settle,
                        closed: Ok(()),
                    }
                })
            })
            .await;
        let returned = returned.into_inner();
        answer(&response, returned.unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` for a key without a request. The response is the one of `work`, a recorded one, or has
    /// the library's own [`Problem`].
    pub(crate) async fn run_once<W, A>(&self, call: Call<'_>, work: W) -> Response
    where
        W: FnOnce(ClaimGuard<S::Claim>, Attempt) -> A,
        A: Future<Output = HandlerOutcome<Response>>,
    {
        let limit = self.response_limit(call.policy);
        let admitted = match self.prepare(call) {
            Ok(request) => admit(self, request).await,
            Err(response) => Err(response),
        };
        let turn = match admitted {
            Ok(turn) => turn,
            Err(response) => return response,
        };
        let hook = self.shared.before_handler.as_ref();
        let attempting = turn.run(async move |mut claim, attempt| {
            if let Some(hook) = hook
                && let Err(error) = hook
                    .run(claim.connection(), &attempt, &Extensions::new())
                    .await
            {
                return HandlerOutcome::Broken(error);
            }
            match work(claim, attempt).await {
                HandlerOutcome::Answered { response, .. } if response.body().len() > limit => {
                    HandlerOutcome::TooLarge
                }
                outcome => outcome,
            }
        });
        attempting.await
    }

    /// The request that the engine sees.
    fn prepare(&self, call: Call<'_>) -> Result<Prepared, Response> {
        let Call {
            policy,
            scope,
            key,
            content,
            payload,
        } = call;
        let config = &self.shared.config;
        let operation = operation(policy);
        let key = key.ok_or_else(|| refuse(self, Problem::KeyMissing, Some(&operation), None))?;
        let key = IdempotencyKey::whole(&key);
        let key = key.and_then(|key| config.check_key(&key).map(|()| key));
        let key = key.map_err(|error| refuse(self, Problem::KeyMalformed(error), None, None))?;
        let hook = self.shared.before_handler.as_ref();
        let content = match hook {
            Some(hook) if !hook.takes::<Extensions>() => Err(HOOK.to_owned()),
            _ => content,
        };
        let content = content.map_err(|reason| {
            tracing::error!(reason, %operation, "the operation can't run");
            refuse(self, Problem::Misconfigured, Some(&operation), Some(&key))
        })?;
        let secret = config.secret.as_deref();
        let fingerprint = fingerprint(&content, payload, policy.target, secret);
        Ok(
            Prepared::new(policy, scope, operation, Some(key), fingerprint)
                .with_rejected(content.is_rejected(payload)),
        )
    }
}

/// What a call without HTTP has in place of a request.
pub(crate) struct Call<'a> {
    /// It has an operation: [`Policy`] and the attribute on a consumer require one.
    pub(crate) policy: &'static policy::Policy,
    pub(crate) scope: Option<String>,
    pub(crate) key: Option<String>,
    /// What is bound to the key, or why the operation can't run.
    pub(crate) content: Result<Content, String>,
    /// The bytes of the message, if there are any.
    pub(crate) payload: Option<&'a [u8]>,
}

/// The operation of a policy that has one.
fn operation(policy: &policy::Policy) -> Operation {
    let name = policy.operation();
    Operation::named(name.expect("without a route there is an operation"))
}

pub(crate) fn unbound(error: &EncodeError) -> String {
    format!("the payload can't be fingerprinted: {error}")
}

/// The fingerprint of a payload: no request has one that matches it (rule N4).
fn fingerprint(
    content: &Content,
    payload: Option<&[u8]>,
    target: BoundTarget,
    secret: Option<&[u8]>,
) -> Fingerprint {
    let nowhere = RequestParts {
        method: "",
        path: "",
        query: None,
        raw: payload,
    };
    let headers = BOUND;
    Fingerprint::bound(nowhere, content, Binding { target, headers }, secret)
}

#[cfg(feature = "sqlite")]
#[cfg(test)]
mod tests;
