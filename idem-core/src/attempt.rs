//! A handler's view of its own execution (rule H1).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::Prepared;
use crate::identity::Identity;
use crate::key::IdempotencyKey;
use crate::operation::Operation;

type AfterCommit = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One execution of a handler. A handler takes it by `&`:
///
/// ```
/// # use idem_core::Attempt;
/// async fn handler(attempt: &Attempt) {
///     let psp_key = attempt.downstream_key("psp");
///     attempt.after_commit(async move { println!("{psp_key:?} is settled") });
/// }
/// ```
#[derive(Clone)]
pub struct Attempt {
    inner: Arc<Inner>,
}

struct Inner {
    key: Option<IdempotencyKey>,
    scope: Option<String>,
    identity: Option<Identity>,
    number: u32,
    /// Whether the handler is in steps, of which a later attempt leaves out some.
    is_leased: bool,
    /// The messages that it has pushed to an outbox.
    pushes: AtomicU32,
    after_commit: Mutex<Vec<AfterCommit>>,
}

impl Attempt {
    pub(crate) fn new(request: &Prepared, identity: Option<Identity>, number: u32) -> Self {
        Self {
            inner: Arc::new(Inner {
                key: request.key.clone(),
                scope: request.scope.clone(),
                identity,
                number,
                is_leased: request.is_leased(),
                pushes: AtomicU32::new(0),
                after_commit: Mutex::default(),
            }),
        }
    }

    /// A first attempt of the operation `test`, for unit tests of code that takes `&Attempt`.
    ///
    /// Futures given to [`after_commit`](Self::after_commit) never run.
    ///
    /// ```
    /// # use idem_core::{Attempt, IdempotencyKey};
    /// let attempt = Attempt::for_test("acme", IdempotencyKey::parse(b"8e03")?);
    /// assert_eq!(attempt.number(), 1);
    /// assert_eq!(attempt.scope(), Some("acme"));
    /// # Ok::<(), idem_core::KeyError>(())
    /// ```
    pub fn for_test(scope: &str, key: IdempotencyKey) -> Self {
        let identity = Identity::new(Some(scope), &Operation::named("test"), &key);
        Self {
            inner: Arc::new(Inner {
                key: Some(key),
                scope: Some(scope.to_owned()),
                identity: Some(identity),
                number: 1,
                is_leased: false,
                pushes: AtomicU32::new(0),
                after_commit: Mutex::default(),
            }),
        }
    }

    /// The client's key; `None` only where the endpoint makes the key optional.
    pub fn key(&self) -> Option<&str> {
        self.inner.key.as_ref().map(IdempotencyKey::as_str)
    }

    /// The scope of the key; `None` for an unscoped endpoint.
    pub fn scope(&self) -> Option<&str> {
        self.inner.scope.as_deref()
    }

    /// The attempt's number, from 1; more than 1 after failures that could be retried.
    pub fn number(&self) -> u32 {
        self.inner.number
    }

    /// A key for a call to another service: 32 hex digits, the same on every attempt of this
    /// identity, and unrelated for another `service`.
    ///
    /// Two deployments that call one account of the other service, such as staging and production, derive
    /// equal keys unless each has its own [namespace](crate::Config::with_namespace).
    ///
    /// An effect outside the transaction happens at least once. With this key the other service can
    /// make it exactly once. `None` without a client's key: then there is nothing stable to derive
    /// it from.
    pub fn downstream_key(&self, service: &str) -> Option<String> {
        Some(self.inner.identity.as_ref()?.derive(service))
    }

    /// Runs `future` after the commit is confirmed; never on a replay or after a failure.
    ///
    /// It runs at most once, on a task of its own, and is lost if the process dies before. It has as
    /// long as the endpoint's `deadline`, and is dropped then, with an error in the log:
    /// [`Engine::drain`](crate::Engine::drain) waits for it. An effect that must not be lost belongs
    /// into an outbox, in a row that the handler writes in its transaction: the crate
    /// [`idem-outbox`](https://docs.rs/idem-outbox) has one.
    pub fn after_commit(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.queue().push(Box::pin(future));
    }

    /// The id of a message in an outbox, for a topic and the name of the message, and the number of messages
    /// before it. The same in each attempt of this identity, and random without one; `None` where a message
    /// needs a name.
    pub(crate) fn message(&self, topic: &str, name: Option<&str>) -> Option<(String, u32)> {
        if name.is_none() && self.inner.is_leased {
            return None;
        }
        let before = self.inner.pushes.fetch_add(1, Ordering::Relaxed);
        let usage = match name {
            Some(name) => format!("outbox {} {topic} {name}", topic.len()),
            None => format!("outbox #{before} {topic}"),
        };
        let identity = self.inner.identity.unwrap_or_else(Identity::random);
        Some((identity.derive(&usage), before))
    }

    pub(crate) fn take_after_commit(&self) -> Vec<AfterCommit> {
        std::mem::take(&mut *self.queue())
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Vec<AfterCommit>> {
        self.inner
            .after_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("key", &self.inner.key)
            .field("scope", &self.inner.scope)
            .field("number", &self.inner.number)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of messages in databases.
    const GOLDEN: [&str; 3] = [
        "d27fbb7becf287204c22a10890fcffbb",
        "69cd53efd6732e3fbd17c61c1780f2f0",
        "67c38e379622d6be03283efa539aaaa9",
    ];

    #[test]
    fn ids_of_messages_are_stable_across_releases() {
        let attempt = Attempt::for_test("acme", IdempotencyKey::parse(b"8e03").unwrap());
        let ids = [None, None, Some("7")].map(|name| attempt.message("orders", name).unwrap().0);
        assert_eq!(ids, GOLDEN);
    }
}
