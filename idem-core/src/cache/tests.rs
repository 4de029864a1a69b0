use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use http::StatusCode;
use tokio::time::advance;

use super::*;
use crate::fingerprint::{Content, Fingerprint, RequestParts};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::record::State;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const NOW: Timestamp = Timestamp(1_000_000_000);

fn identity(scope: &str, key: &str) -> Identity {
    let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
    Identity::new(Some(scope), &Operation::named("test"), &key)
}

fn record(ttl: Duration, body: Bytes) -> Record {
    let asked = RequestParts {
        method: "POST",
        path: "/",
        query: None,
        raw: Some(b""),
    };
    Record {
        state: State::Succeeded,
        attempts: 1,
        status: StatusCode::CREATED,
        fingerprint: Fingerprint::new(asked, &Content::Raw, None),
        response: Recorded {
            headers: vec![(http::header::ETAG, HeaderValue::from_static("1"))],
            body,
        }
        .into(),
        settled_at: NOW,
        expires_at: NOW.plus(ttl),
    }
}

fn cache(bytes: usize, max_age: Duration) -> Cache {
    Cache::new(Some(ReplayCache::new(bytes, max_age)), 1024 * 1024)
}

/// Inserts a record under its key, with no time between its write and its insertion.
fn write(cache: &Cache, key: &str, record: &Record) {
    cache.insert(identity("acme", key), record, NOW, cache.start_read());
}

fn weight(cache: &Cache) -> u64 {
    cache.entries.as_ref().unwrap().weight()
}

#[tokio::test(start_paused = true)]
async fn r8_record_is_remembered_until_it_is_stale() {
    let cache = cache(10_000, 2 * SECOND);
    let written = record(HOUR, Bytes::from_static(b"body"));
    write(&cache, "k", &written);
    let k = identity("acme", "k");
    assert_eq!(*cache.get(&k).unwrap().0, written);
    advance(SECOND).await;
    let (_, now) = cache.get(&k).unwrap();
    assert_eq!(NOW.until(now), SECOND, "the database's time has passed");
    advance(SECOND).await;
    assert!(cache.get(&k).is_none(), "a read does not prolong it");
    assert_eq!(weight(&cache), 0, "its memory is free");
}

#[tokio::test(start_paused = true)]
async fn r8_record_is_not_remembered_past_its_expiry() {
    let cache = cache(10_000, HOUR);
    let k = identity("acme", "k");
    write(&cache, "k", &record(2 * SECOND, Bytes::new()));
    advance(SECOND).await;
    assert!(cache.get(&k).is_some());
    advance(SECOND).await;
    assert!(cache.get(&k).is_none());

    // Read after half of the record's time to live.
    let read_at = NOW.plus(SECOND);
    cache.insert(
        k,
        &record(2 * SECOND, Bytes::new()),
        read_at,
        cache.start_read(),
    );
    advance(SECOND).await;
    assert!(cache.get(&k).is_none());
}

#[tokio::test(start_paused = true)]
async fn r8_time_that_the_store_took_counts() {
    let cache = cache(10_000, HOUR);
    let k = identity("acme", "k");
    let asked = cache.start_read();
    advance(SECOND).await;
    cache.insert(k, &record(2 * SECOND, Bytes::new()), NOW, asked);
    advance(SECOND).await;
    assert!(cache.get(&k).is_none());
    cache.insert(k, &record(2 * SECOND, Bytes::new()), NOW, asked);
    assert_eq!(weight(&cache), 0, "it had expired before its insertion");
}

#[tokio::test(start_paused = true)]
async fn r8_time_that_a_machine_was_suspended_counts() {
    let cache = cache(10_000, HOUR);
    let k = identity("acme", "k");
    let asked = ReadStart {
        calendar: SystemTime::now() - 2 * HOUR,
        ..cache.start_read().unwrap()
    };
    cache.insert(k, &record(24 * HOUR, Bytes::new()), NOW, Some(asked));
    assert!(cache.get(&k).is_none());
}

#[tokio::test(start_paused = true)]
async fn r8_only_what_is_replayed_is_remembered() {
    let cache = cache(10_000, HOUR);
    for (state, remembered) in [
        (State::FailedRetriable, false),
        (State::FailedFinal, true),
        (State::Succeeded, true),
    ] {
        let record = Record {
            state,
            ..record(HOUR, Bytes::new())
        };
        write(&cache, "k", &record);
        let got = cache.get(&identity("acme", "k"));
        assert_eq!(got.is_some(), remembered, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r8_there_is_no_cache_by_default() {
    let cache = Cache::new(None, 1024);
    write(&cache, "k", &record(HOUR, Bytes::new()));
    assert!(cache.get(&identity("acme", "k")).is_none());
    cache.erase(&ScopeDigest::new(Some("acme")));
}

#[tokio::test(start_paused = true)]
async fn r8_cache_is_bounded_in_bytes() {
    let cache = cache(64 * 1024, HOUR);
    for number in 0..1000 {
        let body = Bytes::from(vec![b'x'; number % 3000]);
        write(&cache, &number.to_string(), &record(HOUR, body));
        assert!(weight(&cache) <= 64 * 1024);
    }
    assert!(weight(&cache) > 32 * 1024, "the memory is used");
    write(&cache, "large", &record(HOUR, Bytes::from(vec![0; 65_000])));
    assert!(cache.get(&identity("acme", "large")).is_none());
}

#[tokio::test(start_paused = true)]
async fn r8_longest_body_fits_into_every_shard() {
    for megabytes in [2, 8, 64, 1024] {
        let cache = cache(megabytes * 1024 * 1024, HOUR);
        let longest = record(HOUR, Bytes::from(vec![0; 1024 * 1024]));
        for key in ["a", "b", "c", "d"] {
            write(&cache, key, &longest);
            assert!(cache.get(&identity("acme", key)).is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r8_small_part_of_a_large_buffer_does_not_keep_it() {
    let cache = cache(10_000, HOUR);
    let buffer = Bytes::from(vec![b'x'; 1024 * 1024]);
    write(&cache, "k", &record(HOUR, buffer.slice(..4)));
    let (kept, _) = cache.get(&identity("acme", "k")).unwrap();
    assert_eq!(kept.response.readable().unwrap().body, "xxxx");
    assert!(buffer.is_unique(), "the cache shares the buffer");
}

#[tokio::test(start_paused = true)]
async fn e4_erasure_reaches_its_scope_and_what_was_asked_for_before() {
    let cache = cache(10_000, HOUR);
    let record = record(HOUR, Bytes::new());
    let (mine, other) = (identity("acme", "k"), identity("globex", "k"));
    let before = cache.start_read();
    cache.insert(mine, &record, NOW, before);
    cache.insert(other, &record, NOW, before);
    cache.erase(&ScopeDigest::new(Some("acme")));
    assert!(cache.get(&mine).is_none());
    assert!(cache.get(&other).is_some());
    cache.insert(mine, &record, NOW, before);
    assert!(cache.get(&mine).is_none(), "read before the erasure");
    cache.insert(mine, &record, NOW, cache.start_read());
    assert!(cache.get(&mine).is_some(), "written after the erasure");
}

#[test]
fn e4_erasure_is_not_undone_by_a_concurrent_replay() {
    let cache = cache(10_000, HOUR);
    let row = Mutex::new(None);
    let over = AtomicBool::new(false);
    let mine = identity("acme", "k");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let asked = cache.start_read();
                    let found: Option<Record> = row.lock().unwrap().clone();
                    match found {
                        Some(found) => cache.insert(mine, &found, NOW, asked),
                        None => thread::yield_now(),
                    }
                }
            });
        }
        let mut hits = 0;
        for _ in 0..2000 {
            *row.lock().unwrap() = Some(record(HOUR, Bytes::new()));
            while cache.get(&mine).is_none() {
                thread::yield_now();
            }
            *row.lock().unwrap() = None;
            cache.erase(&ScopeDigest::new(Some("acme")));
            for _ in 0..10 {
                hits += usize::from(cache.get(&mine).is_some());
                thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(hits, 0, "erased, and yet replayed");
    });
}

#[test]
fn cost_without_a_cache_no_clock_is_read() {
    assert!(Cache::new(None, 1024).start_read().is_none());
}
