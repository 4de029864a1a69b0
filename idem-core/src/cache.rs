//! Replays without the database (rule R8): an optional, bounded memory of records.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use quick_cache::sync::{Cache as Entries, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::time::Instant;

use crate::identity::{Identity, ScopeDigest};
use crate::meter;
use crate::record::{Record, Timestamp};
use crate::response::Recorded;

#[cfg(test)]
mod tests;

/// The settings of a replay cache: its size, and the age that its answers may have.
///
/// An engine with a cache, by [`Config::with_replay_cache`](crate::Config::with_replay_cache),
/// keeps the records that it has written or read in memory. It answers their replays, and 422 for
/// other requests with their keys, without the database. A record is never kept past its expiry,
/// and [`Engine::erase`](crate::Engine::erase) on this engine reaches its cache. Extractors run as
/// without a cache.
///
/// # Max age
///
/// Some changes of records bypass this engine: another instance's `erase`, rows deleted by hand, a
/// failover that lost a commit, a backup that was restored. The cache notices them when an entry
/// reaches its max age. Until then it replays the old record, and answers 422 to another request
/// with that key. The age counts from before the engine sent its read, or its COMMIT, to the
/// database. A replay from the cache does not prolong it.
///
/// ```
/// # use idem_core::{Config, ReplayCache};
/// use std::time::Duration;
///
/// let cache = ReplayCache::new(64 * 1024 * 1024, Duration::from_secs(60));
/// let config = Config::new().with_replay_cache(cache);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayCache {
    bytes: usize,
    max_age: Duration,
}

impl ReplayCache {
    /// A cache of at most `bytes` bytes, whose entries are used for at most `max_age`.
    ///
    /// An entry counts with its body, its recorded headers and about half a kilobyte. When the
    /// cache is full, entries that are rarely read are dropped first.
    pub const fn new(bytes: usize, max_age: Duration) -> Self {
        Self { bytes, max_age }
    }
}

/// The bytes of an entry besides its body and headers: the record, its place in the table, and the
/// places of recent keys that are remembered without a record.
const ENTRY: usize = 512;

/// The bytes of a header besides its text.
const HEADER: usize = 96;

/// The bytes of a typical entry: the table is laid out for as many as fit.
const TYPICAL: usize = 2048;

/// More shards would not make anything faster.
const MOST_SHARDS: usize = 64;

type Records = Entries<Identity, Entry, Bytewise>;

/// The cached records; none without settings.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Option<Records>,
    max_age: Duration,
    /// The number of erasures so far. A record is inserted only if none came since its read began.
    erasures: RwLock<u64>,
    bytes: meter::CacheBytes,
}

/// The time right before a read or a COMMIT is sent to the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadStart {
    instant: Instant,
    calendar: SystemTime,
    erasures: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    record: Arc<Record>,
    /// The database's time, not before `since`.
    now: Timestamp,
    since: ReadStart,
    life: Duration,
    weight: usize,
}

impl Cache {
    /// A cache in which a body of `response_limit` bytes fits.
    pub(crate) fn new(settings: Option<ReplayCache>, response_limit: usize) -> Self {
        Self {
            entries: settings.and_then(|settings| entries(settings.bytes, response_limit)),
            max_age: settings.map_or(Duration::ZERO, |settings| settings.max_age),
            erasures: RwLock::default(),
            bytes: meter::CacheBytes::new(),
        }
    }

    /// Notes the time before a read; `None` without a cache, which has no use for it.
    pub(crate) fn start_read(&self) -> Option<ReadStart> {
        self.entries.as_ref()?;
        Some(ReadStart {
            instant: Instant::now(),
            calendar: SystemTime::now(),
            erasures: *self.erasures.read().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Caches `record`. `now` is the database's time of the read; `since` was taken before the read
    /// was sent.
    pub(crate) fn insert(
        &self,
        identity: Identity,
        record: &Record,
        now: Timestamp,
        since: Option<ReadStart>,
    ) {
        let (Some(entries), Some(since)) = (&self.entries, since) else {
            return;
        };
        let life = self.max_age.min(now.until(record.expires_at));
        if !record.state.is_replayed() || since.elapsed() >= life {
            return;
        }
        let Some(response) = record.response.readable() else {
            return;
        };
        let entry = Entry {
            weight: weight(response),
            record: Arc::new(Record {
                response: compact(response).into(),
                ..record.clone()
            }),
            now,
            since,
            life,
        };
        // Hold the read lock across the insert: a concurrent `erase` either ran first and we see
        // its count, or runs after and removes this entry.
        let erasures = self.erasures.read().unwrap_or_else(PoisonError::into_inner);
        if *erasures == since.erasures {
            entries.insert(identity, entry);
        }
        self.bytes.report(|| entries.weight());
    }

    /// The record of `identity`, with the present time of the database as far as this process knows.
    pub(crate) fn get(&self, identity: &Identity) -> Option<(Arc<Record>, Timestamp)> {
        let entries = self.entries.as_ref()?;
        let found = Self::get_of(entries, identity);
        meter::cache_asked(found.is_some());
        found
    }

    fn get_of(entries: &Records, identity: &Identity) -> Option<(Arc<Record>, Timestamp)> {
        let entry = entries.get(identity)?;
        let elapsed = entry.since.elapsed();
        if elapsed >= entry.life {
            entries.remove_if(identity, |entry| entry.since.elapsed() >= entry.life);
            return None;
        }
        Some((entry.record, entry.now.plus(elapsed)))
    }

    /// Forgets the records of a scope after the store has deleted them. Reads that began before are
    /// not inserted any more.
    pub(crate) fn erase(&self, scope: &ScopeDigest) {
        self.count_erasure();
        if let Some(entries) = &self.entries {
            entries.retain(|identity, _| !scope.contains(identity));
            self.bytes.report(|| entries.weight());
        }
    }

    /// The same for one record.
    pub(crate) fn forget(&self, identity: &Identity) {
        self.count_erasure();
        if let Some(entries) = &self.entries {
            entries.remove(identity);
        }
    }

    fn count_erasure(&self) {
        let erasures = self.erasures.write();
        *erasures.unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

impl ReadStart {
    fn elapsed(&self) -> Duration {
        // The monotonic clock may stop while the machine is suspended.
        let by_calendar = self.calendar.elapsed().unwrap_or_default();
        self.instant.elapsed().max(by_calendar)
    }
}

/// Weighs entries by their bytes.
#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Identity, Entry> for Bytewise {
    fn weight(&self, _: &Identity, entry: &Entry) -> u64 {
        entry.weight as u64
    }
}

fn entries(bytes: usize, response_limit: usize) -> Option<Records> {
    // A shard takes no entry larger than itself, so there are only as many as leave room for the
    // largest entry.
    let largest = response_limit.saturating_add(ENTRY).saturating_mul(4);
    let options = OptionsBuilder::new()
        .shards((bytes / largest).clamp(1, MOST_SHARDS))
        .estimated_items_capacity(bytes / TYPICAL)
        .weight_capacity(bytes as u64)
        .build()
        .ok()?;
    Some(Entries::with_options(
        options,
        Bytewise,
        DefaultHashBuilder::default(),
        DefaultLifecycle::default(),
    ))
}

fn weight(response: &Recorded) -> usize {
    let headers = response.headers.iter();
    let headers = headers.map(|(name, value)| HEADER + name.as_str().len() + value.len());
    ENTRY + response.body.len() + headers.sum::<usize>()
}

/// A copy that takes no more memory than it weighs: a handler's body can be a small slice of a large
/// buffer.
fn compact(response: &Recorded) -> Recorded {
    let copy = |(name, value): &(HeaderName, HeaderValue)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        (name.clone(), value)
    };
    Recorded {
        headers: response.headers.iter().map(copy).collect(),
        body: Bytes::copy_from_slice(&response.body),
    }
}
