//! Rate limits of identities and of scopes (rule L4). Without the feature `rate-limit`, `throttle/off.rs` is in
//! the place of this module.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};
use tokio::time::Instant;

use crate::config::Config;
use crate::identity::{Identity, ScopeDigest};
use crate::problem::Problem;

#[cfg(test)]
mod tests;

/// How many requests are let in: for [`Config::with_key_rate`] and [`Config::with_scope_rate`].
///
/// ```
/// # use idem_core::{Config, RateLimit};
/// let config = Config::new().with_key_rate(RateLimit::per_second(5).with_burst(20));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The time after which one more request is let in.
    interval: Duration,
    burst: NonZeroU32,
}

impl RateLimit {
    /// At most `requests` in a second, and as many at once.
    ///
    /// # Panics
    ///
    /// If it is zero: no request would ever be let in.
    #[must_use]
    pub const fn per_second(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(1))
    }

    /// At most `requests` in a minute, and as many at once.
    ///
    /// # Panics
    ///
    /// If it is zero: no request would ever be let in.
    #[must_use]
    pub const fn per_minute(requests: u32) -> Self {
        Self::new(requests, Duration::from_mins(1))
    }

    /// The most requests that are let in at once, after a pause that is long enough.
    ///
    /// # Panics
    ///
    /// If it is zero: no request would ever be let in.
    #[must_use]
    pub const fn with_burst(self, requests: u32) -> Self {
        Self {
            burst: at_least_one(requests),
            ..self
        }
    }

    const fn new(requests: u32, time: Duration) -> Self {
        let burst = at_least_one(requests);
        Self {
            // More than one request in a nanosecond is no limit.
            interval: match time.checked_div(requests) {
                Some(interval) if !interval.is_zero() => interval,
                _ => Duration::from_nanos(1),
            },
            burst,
        }
    }
}

const fn at_least_one(requests: u32) -> NonZeroU32 {
    NonZeroU32::new(requests).expect("a rate limit of zero lets no request in")
}

impl Config {
    /// Limits the requests with one key, replays and waiting duplicates included ([rule L4]). Any more are
    /// answered 429 `too-many-retries`, without a database connection. There is no limit by default.
    ///
    /// The limit is for each process: with four instances a client can send four times as many.
    ///
    /// [rule L4]: crate::_documentation::contract#l-limits
    #[must_use]
    pub fn with_key_rate(mut self, limit: RateLimit) -> Self {
        self.rates.key = Some(limit);
        self
    }

    /// Limits the requests of one scope, with any key ([rule L4]). Any more are answered 429
    /// `too-many-retries`, without a database connection. Endpoints that are `unscoped` are not counted. There
    /// is no limit by default.
    ///
    /// The limit is for each process, as that of [`with_key_rate`](Self::with_key_rate).
    ///
    /// [rule L4]: crate::_documentation::contract#l-limits
    #[must_use]
    pub fn with_scope_rate(mut self, limit: RateLimit) -> Self {
        self.rates.scope = Some(limit);
        self
    }
}

/// The rate limits of a [`Config`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    key: Option<RateLimit>,
    scope: Option<RateLimit>,
}

#[cfg(feature = "utoipa")]
impl Rates {
    /// Whether a request can be over a limit.
    pub(crate) fn limit(self, is_scoped: bool) -> bool {
        self.key.is_some() || is_scoped && self.scope.is_some()
    }
}

/// Counts the requests of an engine; nothing without settings.
#[derive(Debug)]
pub(crate) struct Throttle {
    keys: Option<Limiter<Identity>>,
    scopes: Option<Limiter<ScopeDigest>>,
}

impl Throttle {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            keys: rates.key.map(Limiter::new),
            scopes: rates.scope.map(Limiter::new),
        }
    }

    /// Counts one request.
    ///
    /// # Errors
    ///
    /// The answer to a request that is over a limit. A request over its key's limit is not counted for the scope: a
    /// client that repeats one key leaves the rest to the other keys.
    pub(crate) fn check(
        &self,
        namespace: Option<&str>,
        scope: Option<&str>,
        identity: Option<&Identity>,
    ) -> Result<(), Problem> {
        if let (Some(keys), Some(identity)) = (&self.keys, identity) {
            keys.check(identity)?;
        }
        if let (Some(scopes), Some(_)) = (&self.scopes, scope) {
            scopes.check(&ScopeDigest::in_namespace(namespace, scope))?;
        }
        Ok(())
    }
}

/// The most keys, or scopes, that are counted at a time.
const ENTRIES: usize = 65_536;

/// One limit for each `K`, for the most recent of them.
struct Limiter<K: Hash + Eq + Clone> {
    states: RateLimiter<K, States<K>, Uptime, NoOpMiddleware<Duration>>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(limit: RateLimit) -> Self {
        // The time to fill the burst has to fit into the 64 bits of governor's nanoseconds, next to an uptime.
        let interval = u64::try_from(limit.interval.as_nanos()).unwrap_or(u64::MAX);
        let most = u32::try_from(u64::MAX / 4 / interval).unwrap_or(u32::MAX);
        let burst = limit
            .burst
            .min(NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN));
        let quota = Quota::with_period(limit.interval).expect("an interval of more than zero");
        let quota = quota.allow_burst(burst);
        Self {
            states: RateLimiter::new(quota, States::new(), Uptime(Instant::now())),
        }
    }

    fn check(&self, key: &K) -> Result<(), Problem> {
        self.states.check_key(key).map_err(|refused| {
            let wait = refused.wait_time_from(self.states.clock().now());
            let more = u64::from(wait.subsec_nanos() > 0);
            Problem::TooManyRetries {
                retry_after: (wait.as_secs() + more).max(1),
            }
        })
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

/// governor's states, in a cache in place of its map: bounded, and a flood of keys that are sent once displaces none
/// that is sent again and again.
struct States<K>(Cache<K, Arc<InMemoryState>>);

impl<K: Hash + Eq + Clone> States<K> {
    fn new() -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(ENTRIES)
            .weight_capacity(ENTRIES as u64)
            .build()
            .expect("both capacities are given");
        Self(Cache::with_options(
            options,
            UnitWeighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ))
    }
}

impl<K: Hash + Eq + Clone> StateStore for States<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let fresh = || Ok::<_, E>(Arc::default());
        let state = self.0.get_or_insert_with(key, fresh)?;
        state.measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

/// The time since the limiter was made, by the clock that the rest of the engine uses.
struct Uptime(Instant);

impl Clock for Uptime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
