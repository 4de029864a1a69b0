//! The settings of an engine.

use std::sync::Arc;

use http::HeaderName;

use crate::cache::ReplayCache;
use crate::problem::DEFAULT_BASE;
use crate::response::{ALLOWED, NEVER};

/// What is the same for all endpoints of an engine.
///
/// ```
/// use idem_core::Config;
///
/// let config = Config::new()
///     .with_problem_base("https://api.example.com/problems/")
///     .with_response_limit(256 * 1024)
///     .try_with_recorded_header("x-ratelimit-cost")?;
/// # Ok::<(), idem_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) header: HeaderName,
    pub(crate) problem_base: Arc<str>,
    pub(crate) recorded_headers: Vec<HeaderName>,
    pub(crate) response_limit: usize,
    pub(crate) attempts: usize,
    pub(crate) waiters: usize,
    pub(crate) waiters_per_identity: usize,
    pub(crate) secret: Option<Arc<[u8]>>,
    pub(crate) replay_cache: Option<ReplayCache>,
    pub(crate) retry_header: Option<HeaderName>,
}

impl Config {
    /// The defaults that every setting names.
    pub fn new() -> Self {
        Self {
            header: HeaderName::from_static("idempotency-key"),
            problem_base: DEFAULT_BASE.into(),
            recorded_headers: ALLOWED.to_vec(),
            response_limit: 1024 * 1024,
            attempts: 4096,
            waiters: 4096,
            waiters_per_identity: 256,
            secret: None,
            replay_cache: None,
            retry_header: None,
        }
    }

    /// The header that carries the key; `Idempotency-Key` by default.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is no header name.
    pub fn try_with_header(self, name: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            header: header_name(name)?,
            ..self
        })
    }

    /// What the `type` of a problem document begins with; the page of [`crate::problem`] by
    /// default.
    #[must_use]
    pub fn with_problem_base(self, base: &str) -> Self {
        Self {
            problem_base: base.into(),
            ..self
        }
    }

    /// Records one more response header (rule R4).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is no header name, or one that is never recorded, such as
    /// `Set-Cookie`.
    pub fn try_with_recorded_header(mut self, name: &str) -> Result<Self, ConfigError> {
        let name = header_name(name)?;
        if NEVER.contains(&name) {
            return Err(ConfigError::NeverRecorded(name));
        }
        self.recorded_headers.push(name);
        Ok(self)
    }

    /// The most bytes that a recorded response's body may have (rule L1); 1 MiB by default.
    #[must_use]
    pub fn with_response_limit(self, bytes: usize) -> Self {
        Self {
            response_limit: bytes,
            ..self
        }
    }

    /// How many duplicates may wait in this process, in all and for one identity (rule C4); past
    /// that they are told at once that the first is in flight. 4096 and 256 by default.
    #[must_use]
    pub fn with_waiters(self, all: usize, per_identity: usize) -> Self {
        Self {
            waiters: all,
            waiters_per_identity: per_identity,
            ..self
        }
    }

    /// How many attempts may run or wait for a connection in this process; past that, requests are
    /// told that the service is unavailable. 4096 by default.
    #[must_use]
    pub fn with_attempts(self, attempts: usize) -> Self {
        Self { attempts, ..self }
    }

    /// Keys the fingerprints with a secret, so that a stored fingerprint can't be used to guess a
    /// body. Requests recorded under another secret, or none, don't match any more: change it
    /// only when their time to live has passed.
    #[must_use]
    pub fn with_fingerprint_secret(self, secret: &[u8]) -> Self {
        Self {
            secret: Some(secret.into()),
            ..self
        }
    }

    /// Answers replays of what this process has written or read out of memory (rule R8), as far as
    /// the settings of the cache go. There is none by default.
    #[must_use]
    pub fn with_replay_cache(self, cache: ReplayCache) -> Self {
        Self {
            replay_cache: Some(cache),
            ..self
        }
    }

    /// The header by which clients say that they try again: any value but `0`, as in
    /// `X-Stainless-Retry-Count: 1`. There is none by default.
    ///
    /// The engine looks for the record of such a request before it claims the identity, as it does
    /// for what came to this process before. On PostgreSQL that saves a replay a round trip, and
    /// the server's log an error; a request that says so and is no retry costs one round trip more.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is no header name.
    pub fn try_with_retry_header(self, name: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            retry_header: Some(header_name(name)?),
            ..self
        })
    }

    /// The header that carries the key.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The most bytes that a recorded response's body may have.
    pub fn response_limit(&self) -> usize {
        self.response_limit
    }

    /// The header by which clients say that they try again.
    pub fn retry_header(&self) -> Option<&HeaderName> {
        self.retry_header.as_ref()
    }

    /// The secret that keys the fingerprints.
    pub fn fingerprint_secret(&self) -> Option<&[u8]> {
        self.secret.as_deref()
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
            .field("header", &self.header)
            .field("problem_base", &self.problem_base)
            .field("recorded_headers", &self.recorded_headers)
            .field("response_limit", &self.response_limit)
            .field("attempts", &self.attempts)
            .field("waiters", &self.waiters)
            .field("waiters_per_identity", &self.waiters_per_identity)
            .field("secret", &self.secret.as_ref().map(|_| "set"))
            .field("replay_cache", &self.replay_cache)
            .field("retry_header", &self.retry_header)
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
    /// A header that belongs to one connection, one moment or one caller.
    #[error("the header `{0}` is never recorded")]
    NeverRecorded(HeaderName),
}

fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    HeaderName::try_from(name).map_err(|_| ConfigError::HeaderName(name.to_owned()))
}
