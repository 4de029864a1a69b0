//! The settings of an engine.

use std::sync::Arc;

use http::HeaderName;

use crate::cache::ReplayCache;
use crate::key::{IdempotencyKey, KeyError, KeyRule};
use crate::problem::{DEFAULT_BASE, ProblemDocument, ProblemForm, Render};
use crate::response::{ALLOWED, Marker, MarkerNames, NEVER};
use crate::seal::Seal;
use crate::store::Mode;
use crate::throttle::Rates;

/// The settings that all endpoints of an engine share.
///
/// ```
/// # use idem_core::Config;
/// let config = Config::new()
///     .with_problem_base("https://api.example.com/problems/")
///     .with_response_limit(256 * 1024)
///     .try_with_recorded_header("x-ratelimit-cost")?;
/// # Ok::<(), idem_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) header: HeaderName,
    pub(crate) key_rules: Vec<KeyRule>,
    pub(crate) echoes_key: bool,
    pub(crate) is_unprotected: bool,
    /// The engine knows it from its store.
    pub(crate) mode: Mode,
    pub(crate) problem_base: Arc<str>,
    /// The application's own form of problem documents.
    pub(crate) problem_form: Option<Arc<Render>>,
    pub(crate) markers: MarkerNames,
    pub(crate) recorded_headers: Vec<HeaderName>,
    pub(crate) response_limit: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) max_after_commit: usize,
    pub(crate) waiters: usize,
    pub(crate) waiters_per_identity: usize,
    pub(crate) secret: Option<Arc<[u8]>>,
    pub(crate) replay_cache: Option<ReplayCache>,
    pub(crate) retry_header: Option<HeaderName>,
    pub(crate) logs_keys: bool,
    pub(crate) rates: Rates,
    /// Always `None` without the feature `seal`.
    pub(crate) seal: Option<Seal>,
}

impl Config {
    /// The defaults, which each setting names.
    pub fn new() -> Self {
        Self {
            namespace: None,
            header: HeaderName::from_static("idempotency-key"),
            key_rules: Vec::new(),
            echoes_key: false,
            is_unprotected: false,
            mode: Mode::Transaction,
            problem_base: DEFAULT_BASE.into(),
            problem_form: None,
            markers: MarkerNames::DEFAULT,
            recorded_headers: ALLOWED.to_vec(),
            response_limit: 1024 * 1024,
            max_in_flight: 4096,
            max_after_commit: 1024,
            waiters: 4096,
            waiters_per_identity: 256,
            secret: None,
            replay_cache: None,
            retry_header: None,
            logs_keys: false,
            rates: Rates::default(),
            seal: None,
        }
    }

    /// The name of this service, which separates its keys from those of all other services ([rule S5]).
    /// There is none by default.
    ///
    /// Services that share a database, or that pass their [downstream keys] to one account of another
    /// service, need a namespace each. It is a part of every identity, erasure, downstream key and lock.
    /// The records that exist are not found any more after the namespace has changed, or is set for the
    /// first time: their requests run again.
    ///
    /// [rule S5]: crate::_documentation::contract#s-scope-and-operation
    /// [downstream keys]: crate::Attempt::downstream_key
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[must_use]
    pub fn with_namespace(self, name: &str) -> Self {
        assert!(!name.is_empty(), "the namespace is empty");
        Self {
            namespace: Some(name.into()),
            ..self
        }
    }

    /// The header that carries the key; `Idempotency-Key` by default.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not a header name, or that of a [`Marker`].
    pub fn try_with_header(self, name: &str) -> Result<Self, ConfigError> {
        let name = header_name(name)?;
        if self.markers.contains(&name) {
            return Err(ConfigError::HeaderInUse(name));
        }
        Ok(Self {
            header: name,
            ..self
        })
    }

    /// One more rule for keys ([rule K7]), wherever an endpoint takes them from. A key that breaks it
    /// is answered 400 `key-malformed`, and the detail says the rule. There is none by default.
    ///
    /// ```
    /// # use idem_core::{Config, KeyRule};
    /// let config = Config::new().with_key_rule(KeyRule::uuid());
    /// ```
    ///
    /// [rule K7]: crate::_documentation::contract#k-the-key
    #[must_use]
    pub fn with_key_rule(mut self, rule: KeyRule) -> Self {
        self.key_rules.push(rule);
        self
    }

    /// The first rule that the key breaks.
    pub(crate) fn check_key(&self, key: &IdempotencyKey) -> Result<(), KeyError> {
        self.key_rules.iter().try_for_each(|rule| rule.check(key))
    }

    /// Sends the key back, in the header that carries keys ([rule R10]): for clients that match answers to
    /// requests by it. A key is not sent back by default.
    ///
    /// [rule R10]: crate::_documentation::contract#r-first-request-and-replay
    #[must_use]
    pub fn with_key_echo(self) -> Self {
        Self {
            echoes_key: true,
            ..self
        }
    }

    /// Switches the protection off ([rule K8]): each handler runs in a plain transaction, without a claim, a
    /// record or a replay, and **a retry runs it again**. It is for an emergency in which idem's own table is
    /// the fault, and for load tests that repeat a key.
    ///
    /// The engine logs an error when it is made, and a warning for each request.
    ///
    /// [rule K8]: crate::_documentation::contract#k-the-key
    #[must_use]
    pub fn without_protection(self) -> Self {
        Self {
            is_unprotected: true,
            ..self
        }
    }

    /// The beginning of a problem document's `type`; by default the page of [`crate::problem`].
    #[must_use]
    pub fn with_problem_base(self, base: &str) -> Self {
        Self {
            problem_base: base.into(),
            ..self
        }
    }

    /// Answers the library's problems in the application's own form ([rule P6]): `form` makes the body and the
    /// headers from the problem document. The status stays that of the problem, and `Retry-After` is added
    /// unless the form has it. By default the document itself is the body.
    ///
    /// ```
    /// # use idem_core::{Config, ProblemForm};
    /// let config = Config::new().with_problem_form(|problem| {
    ///     ProblemForm::json(&serde_json::json!({
    ///         "error": { "code": problem.problem.name(), "message": problem.title },
    ///     }))
    /// });
    /// ```
    ///
    /// All problems of all endpoints take this form, on both frameworks. A form that depends on the request, such
    /// as a page for a browser, is made in a layer or a middleware: the response's extensions have the
    /// [`Problem`](crate::Problem). If `form` panics, the answer is the document itself, and an error is logged.
    ///
    /// [rule P6]: crate::_documentation::contract#p-problem-documents
    #[must_use]
    pub fn with_problem_form<F>(self, form: F) -> Self
    where
        F: Fn(&ProblemDocument) -> ProblemForm + Send + Sync + 'static,
    {
        Self {
            problem_form: Some(Arc::new(form)),
            ..self
        }
    }

    /// Changes the name of a header that marks responses ([rule R13]), as some protocols have names of their own:
    ///
    /// ```
    /// # use idem_core::{Config, Marker};
    /// let config = Config::new().try_with_marker(Marker::Replayed, "Idempotent-Replayed")?;
    /// # Ok::<(), idem_core::ConfigError>(())
    /// ```
    ///
    /// [rule R13]: crate::_documentation::contract#r-first-request-and-replay
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not a header name, or the name of a header with another meaning: one that is
    /// recorded, that carries keys, or that belongs to the connection.
    pub fn try_with_marker(mut self, marker: Marker, name: &str) -> Result<Self, ConfigError> {
        let name = header_name(name)?;
        let is_own = *self.markers.of(marker) == name;
        if !is_own && self.has_other_meaning(&name) {
            return Err(ConfigError::HeaderInUse(name));
        }
        self.markers.set(marker, name);
        Ok(self)
    }

    fn has_other_meaning(&self, name: &HeaderName) -> bool {
        *name == self.header
            || self.markers.contains(name)
            || self.recorded_headers.contains(name)
            || NEVER.contains(name)
    }

    /// Records one more response header ([rule R4]). For a cookie there is the attribute's
    /// `record = cookie("name")`.
    ///
    /// [rule R4]: crate::_documentation::contract#r-first-request-and-replay
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not a header name, or one that is never recorded, such as
    /// `Set-Cookie`.
    pub fn try_with_recorded_header(mut self, name: &str) -> Result<Self, ConfigError> {
        let name = header_name(name)?;
        if NEVER.contains(&name) || self.markers.contains(&name) {
            return Err(ConfigError::NeverRecorded(name));
        }
        self.recorded_headers.push(name);
        Ok(self)
    }

    /// The most bytes that a recorded response's body may have ([rule L1]); 1 MiB by default. A longer
    /// body undoes the attempt: 500 `response-too-large`.
    ///
    /// [rule L1]: crate::_documentation::contract#l-limits
    #[must_use]
    pub fn with_response_limit(self, bytes: usize) -> Self {
        Self {
            response_limit: bytes,
            ..self
        }
    }

    /// The most duplicates that wait for running handlers in this process, in all and for one
    /// identity ([rule C4]). Any more are answered 409 `in-flight` at once. 4096 and 256 by default.
    ///
    /// Duplicates that wait while the first request still reads the record are not counted.
    ///
    /// [rule C4]: crate::_documentation::contract#c-concurrency
    #[must_use]
    pub fn with_waiters(self, all: usize, per_identity: usize) -> Self {
        Self {
            waiters: all,
            waiters_per_identity: per_identity,
            ..self
        }
    }

    /// The most requests that claim or run in this process ([rule O11]). Any more are answered 503
    /// `unavailable`. 4096 by default.
    ///
    /// Replays from the cache, duplicates that wait, and `after_commit` futures are not counted.
    ///
    /// [rule O11]: crate::_documentation::contract#o-outcomes
    #[must_use]
    pub fn with_max_in_flight(self, requests: usize) -> Self {
        Self {
            max_in_flight: requests,
            ..self
        }
    }

    /// The most futures of [`after_commit`](crate::Attempt::after_commit) that run in this process at
    /// once; the others wait, and none is lost. 1024 by default.
    ///
    /// # Panics
    ///
    /// If it is zero: no future would ever run.
    #[must_use]
    pub fn with_max_after_commit(self, futures: usize) -> Self {
        assert!(futures > 0, "no future of `after_commit` could run");
        Self {
            max_after_commit: futures,
            ..self
        }
    }

    /// Keys the fingerprints with a secret, so that a stored fingerprint can't be used to guess a
    /// body. Requests that were recorded under another secret, or none, don't match any more: change
    /// the secret only after their time to live.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the secret is empty: it would protect nothing.
    pub fn try_with_fingerprint_secret(self, secret: &[u8]) -> Result<Self, ConfigError> {
        if secret.is_empty() {
            return Err(ConfigError::EmptySecret);
        }
        Ok(Self {
            secret: Some(secret.into()),
            ..self
        })
    }

    /// Answers replays of records that this process has written or read from memory ([rule R8]),
    /// within the limits of the cache. There is none by default.
    ///
    /// [rule R8]: crate::_documentation::contract#r-first-request-and-replay
    #[must_use]
    pub fn with_replay_cache(self, cache: ReplayCache) -> Self {
        Self {
            replay_cache: Some(cache),
            ..self
        }
    }

    /// Encrypts recorded responses ([rule R12]). None is encrypted by default.
    ///
    /// All instances need the `Seal`, also to answer from records that others have sealed; see
    /// [Operating](crate::_documentation::operating#sealed-records).
    ///
    /// [rule R12]: crate::_documentation::contract#r-first-request-and-replay
    #[cfg(feature = "seal")]
    #[must_use]
    pub fn with_seal(self, seal: Seal) -> Self {
        Self {
            seal: Some(seal),
            ..self
        }
    }

    /// The header by which clients mark a retry: any value but `0`, as in
    /// `X-Stainless-Retry-Count: 1`. There is none by default.
    ///
    /// The engine reads the record of a marked request before it claims the identity, as it does for
    /// an identity that this process has seen recently. On PostgreSQL that saves a replay one round
    /// trip, and the server's log an error. A first request that is marked costs one round trip more.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not a header name.
    pub fn try_with_retry_header(self, name: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            retry_header: Some(header_name(name)?),
            ..self
        })
    }

    /// Logs scopes and keys in clear text ([rule V1]). By default the log has the beginnings of their digests, which the
    /// records have, too: scopes and keys can be personal data, and a scope can be a secret, such as a token.
    ///
    /// [rule V1]: crate::_documentation::contract#v-visibility
    #[must_use]
    pub fn with_logged_keys(self) -> Self {
        Self {
            logs_keys: true,
            ..self
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("namespace", &self.namespace)
            .field("header", &self.header)
            .field("key_rules", &self.key_rules)
            .field("echoes_key", &self.echoes_key)
            .field("is_unprotected", &self.is_unprotected)
            .field("mode", &self.mode)
            .field("problem_base", &self.problem_base)
            .field("problem_form", &self.problem_form.as_ref().map(|_| "set"))
            .field("markers", &self.markers)
            .field("recorded_headers", &self.recorded_headers)
            .field("response_limit", &self.response_limit)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_after_commit", &self.max_after_commit)
            .field("waiters", &self.waiters)
            .field("waiters_per_identity", &self.waiters_per_identity)
            .field("secret", &self.secret.as_ref().map(|_| "set"))
            .field("replay_cache", &self.replay_cache)
            .field("retry_header", &self.retry_header)
            .field("logs_keys", &self.logs_keys)
            .field("rates", &self.rates)
            .field("seal", &self.seal)
            .finish()
    }
}

/// A setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not a header name.
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// The fingerprints' secret is empty.
    #[error("the fingerprint secret is empty; it would protect nothing")]
    EmptySecret,
    /// Not the name of a schema of its own.
    #[error(
        "{0:?} can't be the schema of the records: use 1 to 40 of `a-z`, `0-9` and `_`, with no digit first, \
         and neither `public` nor a schema of the server"
    )]
    Schema(String),
    /// Not the beginning of a table's name.
    #[error(
        "{0:?} can't be a prefix of tables: use 1 to 40 of `a-z`, `0-9` and `_`, with no digit first"
    )]
    TablePrefix(String),
    /// A pepper of a seal is short enough to be guessed.
    #[error("the pepper with the number {0} has less than 16 bytes")]
    ShortPepper(u32),
    /// Two peppers of a seal have one number.
    #[error("two peppers have the number {0}")]
    SamePepper(u32),
    /// A header of the library would have the name of one with another meaning.
    #[error("the header `{0}` has another meaning already")]
    HeaderInUse(HeaderName),
    /// A header that belongs to one connection, one point in time or one caller.
    #[error("the header `{0}` is never recorded")]
    NeverRecorded(HeaderName),
}

fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    HeaderName::try_from(name).map_err(|_| ConfigError::HeaderName(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_a_marker_has_a_name_of_its_own() {
        let config = || Config::new().try_with_recorded_header("x-cost").unwrap();
        for taken in [
            "idempotency-key",
            "Idempotency-Expires",
            "x-cost",
            "location",
            "date",
        ] {
            let error = config()
                .try_with_marker(Marker::Replayed, taken)
                .unwrap_err();
            assert!(matches!(error, ConfigError::HeaderInUse(_)), "{error}");
        }
        for name in ["idempotent-replayed", "idempotency-replayed"] {
            let config = config().try_with_marker(Marker::Replayed, name).unwrap();
            assert!(config.clone().try_with_recorded_header(name).is_err());
            assert!(config.try_with_header(name).is_err());
        }
    }

    #[test]
    fn f4_an_empty_secret_is_refused() {
        let error = Config::new().try_with_fingerprint_secret(b"").unwrap_err();
        assert_eq!(error, ConfigError::EmptySecret);
        assert!(Config::new().try_with_fingerprint_secret(b"s").is_ok());
    }
}
