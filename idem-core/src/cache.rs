//! Replays without the database (rule R8): an optional, bounded memory of records.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use quick_cache::sync::{Cache as Entries, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::time::Instant;

use crate::identity::{Identity, ScopeDigest};
use crate::record::{Record, Timestamp};
use crate::response::Recorded;

#[cfg(test)]
mod tests;

/// The settings of a replay cache: how large it may become, and how stale its answers.
///
/// An engine with one, by [`Config::with_replay_cache`](crate::Config::with_replay_cache), keeps
/// the records that it has written or read in memory and answers their replays, and 422 for other
/// requests with their keys, without the database. A record is never kept past its expiry, and
/// [`Engine::erase`](crate::Engine::erase) on this engine reaches its cache. Extractors run as
/// ever.
///
/// # Staleness
///
/// What happens to records behind this engine's back is noticed when an entry's time is over:
/// another instance's `erase`, rows deleted by hand, a failover that lost a commit, a backup that
/// was restored. Until then the cache still answers with what it has, and 422 for another request
/// with that key. `staleness` bounds how long: it counts from before the engine asked the
/// database, or told it to commit, and a replay out of the cache doesn't prolong it.
///
/// ```
/// use std::time::Duration;
///
/// use idem_core::{Config, ReplayCache};
///
/// let cache = ReplayCache::new(64 * 1024 * 1024, Duration::from_secs(60));
/// let config = Config::new().with_replay_cache(cache);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayCache {
    bytes: usize,
    staleness: Duration,
}

impl ReplayCache {
    /// A cache of at most so many bytes, whose answers are at most so stale.
    ///
    /// An entry counts with its body, its recorded headers and about half a kilobyte. When there
    /// is no room, entries that are asked for seldom give way.
    pub const fn new(bytes: usize, staleness: Duration) -> Self {
        Self { bytes, staleness }
    }
}

/// What an entry takes beside its body and headers: the record, its place in the table, and that
/// of the keys that were there before.
const ENTRY: usize = 512;

/// What a header takes beside its text.
const HEADER: usize = 96;

/// What a typical entry takes, by which the table is laid out.
const TYPICAL: usize = 2048;

/// More would not make anything faster.
const MOST_SHARDS: usize = 64;

/// The records that are remembered; none without settings.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Option<Entries<Identity, Entry, Bytewise>>,
    staleness: Duration,
    /// How many times a scope was erased. What is inserted was asked for since the last time.
    erasures: RwLock<u64>,
}

/// A moment before the store is asked, or told to commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    instant: Instant,
    calendar: SystemTime,
    erasures: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    record: Arc<Record>,
    /// The database's time, not before `since`.
    now: Timestamp,
    since: Moment,
    life: Duration,
    weight: usize,
}

impl Cache {
    /// `response_limit` is how many bytes the longest body has that is to fit.
    pub(crate) fn new(settings: Option<ReplayCache>, response_limit: usize) -> Self {
        Self {
            entries: settings.and_then(|settings| entries(settings.bytes, response_limit)),
            staleness: settings.map_or(Duration::ZERO, |settings| settings.staleness),
            erasures: RwLock::default(),
        }
    }

    /// The present moment. What is learned after it may be inserted with it.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            instant: Instant::now(),
            calendar: SystemTime::now(),
            erasures: *self.erasures.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Remembers a record that the store had, by the database's time, at `now`, and that it was
    /// asked for after `since`.
    pub(crate) fn insert(
        &self,
        identity: Identity,
        record: &Record,
        now: Timestamp,
        since: Moment,
    ) {
        let Some(entries) = &self.entries else {
            return;
        };
        let life = self.staleness.min(now.until(record.expires_at));
        if !record.state.is_replayed() || since.elapsed() >= life {
            return;
        }
        let record = Record {
            response: compact(&record.response),
            ..record.clone()
        };
        let entry = Entry {
            weight: weight(&record.response),
            record: Arc::new(record),
            now,
            since,
            life,
        };
        // The guard is held meanwhile, so that an erasure finds what is inserted, or is found.
        let erasures = self.erasures.read().unwrap_or_else(PoisonError::into_inner);
        if *erasures == since.erasures {
            entries.insert(identity, entry);
        }
    }

    /// The record of `identity`, with what the database's time should be.
    pub(crate) fn get(&self, identity: &Identity) -> Option<(Arc<Record>, Timestamp)> {
        let entries = self.entries.as_ref()?;
        let entry = entries.get(identity)?;
        let elapsed = entry.since.elapsed();
        if elapsed >= entry.life {
            entries.remove_if(identity, |entry| entry.since.elapsed() >= entry.life);
            return None;
        }
        Some((entry.record, entry.now.plus(elapsed)))
    }

    /// Forgets the records of a scope, which the store has deleted: what it was asked for before
    /// is not inserted any more.
    pub(crate) fn erase(&self, scope: &ScopeDigest) {
        let mut erasures = self
            .erasures
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *erasures += 1;
        drop(erasures);
        if let Some(entries) = &self.entries {
            entries.retain(|identity, _| !scope.contains(identity));
        }
    }
}

impl Moment {
    fn elapsed(&self) -> Duration {
        // The monotonic clock may stand still while the machine is suspended.
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

fn entries(bytes: usize, response_limit: usize) -> Option<Entries<Identity, Entry, Bytewise>> {
    // A shard takes no entry larger than itself, so there are only as many as leave room for it.
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

/// A copy that takes no more memory than it weighs: what a handler has answered can be a small
/// part of a large buffer.
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
