//! What a handler may know of, and ask from, its own execution (rule H1).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use crate::call::Call;
use crate::identity::Identity;

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
    key: Option<String>,
    scope: Option<String>,
    identity: Option<Identity>,
    number: u32,
    after_commit: Mutex<Vec<AfterCommit>>,
}

impl Attempt {
    /// An attempt of a call. Tests make one to call a handler's logic without HTTP; see
    /// [`for_test`](Self::for_test).
    pub(crate) fn new(call: &Call, number: u32) -> Self {
        Self {
            inner: Arc::new(Inner {
                key: call.key.as_ref().map(|key| key.as_str().to_owned()),
                scope: call.scope.clone(),
                identity: call.identity(),
                number,
                after_commit: Mutex::default(),
            }),
        }
    }

    /// A first attempt for unit tests of code that takes `&Attempt`.
    ///
    /// What is given to [`after_commit`](Self::after_commit) never runs.
    ///
    /// ```
    /// use idem_core::Attempt;
    ///
    /// let attempt = Attempt::for_test("acme", "8e03");
    /// assert_eq!(attempt.number(), 1);
    /// assert_eq!(attempt.scope(), Some("acme"));
    /// ```
    pub fn for_test(scope: &str, key: &str) -> Self {
        let identity = crate::key::IdempotencyKey::parse(key.as_bytes())
            .ok()
            .map(|key| {
                Identity::new(
                    Some(scope),
                    &crate::operation::Operation::named("test"),
                    &key,
                )
            });
        Self {
            inner: Arc::new(Inner {
                key: Some(key.to_owned()),
                scope: Some(scope.to_owned()),
                identity,
                number: 1,
                after_commit: Mutex::default(),
            }),
        }
    }

    /// The client's key; `None` only where the endpoint makes it optional.
    pub fn key(&self) -> Option<&str> {
        self.inner.key.as_deref()
    }

    /// Whose key it is; `None` for an unscoped endpoint.
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
    /// Effects outside the transaction happen at least once. With this key the other service can
    /// make them exactly once. Without a client's key there is nothing stable to derive it from,
    /// and it is `None`.
    pub fn downstream_key(&self, service: &str) -> Option<String> {
        Some(self.inner.identity.as_ref()?.derive(service))
    }

    /// Runs `future` once after the commit is confirmed; never on a replay or after a failure.
    ///
    /// It runs at most once, and is lost if the process dies in between. What must not be lost
    /// belongs into an outbox table, written by the handler in its transaction:
    ///
    /// ```sql
    /// INSERT INTO outbox (kind, payload) VALUES ('receipt', …)
    /// ```
    pub fn after_commit(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.queue().push(Box::pin(future));
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
