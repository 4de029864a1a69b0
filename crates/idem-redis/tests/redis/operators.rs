//! Reads and deletions of many keys, and expiry.

use std::time::Duration;

use futures_util::future::join_all;
use idem_core::store::{RunStore as _, ScopeDigest};
use idem_core::{Forgotten, IdempotencyKey, Operation, State, StoreError};
use idem_redis::{Durability, RedisStore};

use crate::place;
use crate::server::{Private, until};
use crate::service::Service;

const MANY: usize = 1_200;

/// All of them at once take a debug build on a busy machine some time.
const PATIENT: Duration = Duration::from_secs(10);

async fn pay_many(store: &RedisStore, keys: usize) -> Service {
    let service = Service::new(store);
    let pays = (0..keys).map(async |number| service.pay(&format!("{number}")).await);
    assert!(
        join_all(pays)
            .await
            .iter()
            .all(|answer| answer.status == 201)
    );
    service
}

#[tokio::test]
async fn e4_an_erasure_finds_every_key_of_its_prefix_and_no_other() {
    let prefix = place::prefix();
    let shared = RedisStore::connect(&place::url()).await.expect("connects");
    let shared = shared.with_timeout(PATIENT);
    let mine = shared.clone().with_prefix(&format!("{prefix}[a-z]*?:"));
    let other = shared.with_prefix(&format!("{prefix}axx:"));
    let others = pay_many(&other, 3).await;
    pay_many(&mine, MANY).await;
    let scope = ScopeDigest::new(None);
    let another = ScopeDigest::new(Some("another"));
    assert_eq!(mine.erase(&another).await.expect("erases"), 0);
    assert_eq!(mine.erase(&scope).await.expect("erases"), MANY as u64);
    assert_eq!(mine.erase(&scope).await.expect("erases"), 0);
    assert!(others.pay("0").await.is_replayed);
    assert_eq!(other.erase(&scope).await.expect("erases"), 3);
}

#[tokio::test]
async fn e7_records_are_counted_by_operation_and_state() {
    let store = place::store().await.with_timeout(PATIENT);
    let service = pay_many(&store, MANY).await;
    let stats = service.engine.stats().await.expect("counts");
    let [tally] = &stats.tallies[..] else {
        panic!("{stats:?}");
    };
    assert_eq!(
        (tally.state, tally.records, tally.attempts),
        (Some(State::Succeeded), MANY as u64, MANY as u64)
    );
    assert_eq!((tally.expired, tally.oldest_expired), (0, None));
    assert!(tally.operation.as_str().contains("pay"));
    assert!(tally.response_bytes > MANY as u64 * 10);
    assert!(tally.oldest_settled < tally.newest_settled && tally.newest_settled <= stats.now);
    let another = service
        .engine
        .stats_of(Some("another"))
        .await
        .expect("counts");
    assert!(another.tallies.is_empty() && another.now.0 > 0);
    store.erase(&ScopeDigest::new(None)).await.expect("erases");
}

#[tokio::test]
async fn t9_an_unfinished_run_is_seen_and_then_resumed() {
    let prefix = place::prefix();
    let service = Service::gated(&place::store_at(&prefix).await);
    let process = service.clone();
    // All tasks of a runtime end with it, as those of a process do.
    let died = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let process = process.beside(&place::store_at(&prefix).await);
            process.state.in_call.add_permits(1);
            let paying = process.clone();
            tokio::spawn(async move { paying.pay("k").await });
            until("the call is recorded", async || process.at_the_end() == 1).await;
        });
    });
    died.await.expect("no panic");
    let runs = service.engine.unfinished_runs(10).await.expect("reads");
    let [run] = &runs[..] else {
        panic!("{runs:?}");
    };
    assert_eq!(
        (run.attempts, run.steps.len(), &*run.steps[0].name),
        (1, 1, "charge")
    );
    service.state.at_end.add_permits(1);
    let answer = service.pay_until_answered("k").await;
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
    assert_eq!((service.entered(), service.keys().len()), (2, 1));
    assert!(
        service
            .engine
            .unfinished_runs(10)
            .await
            .expect("reads")
            .is_empty()
    );
}

/// A deletion that is confirmed is one that a failover does not undo.
#[tokio::test]
async fn e4_e6_what_is_deleted_is_deleted_on_replicas_too() {
    let primary = Private::start();
    let replica = Private::replica_of(&primary).await;
    let store = RedisStore::connect(primary.url()).await.expect("connects");
    let store = store.with_durability(Durability::Replicas(1));
    pay_many(&store.clone().with_timeout(PATIENT), 20).await;
    let service = Service::new(&store);
    let forget = async || {
        let key = IdempotencyKey::parse(b"0").expect("a key");
        let operation = Operation::named("POST /pay");
        service.engine.forget(None, &operation, &key).await
    };
    let is_refused = |error: &StoreError| match error {
        StoreError::Unavailable(cause) => cause.to_string().contains("0 of 1 replicas"),
        _ => false,
    };
    replica.freeze();
    let refused = forget().await.expect_err("the replica lacks it");
    assert!(is_refused(&refused), "{refused:?}");
    replica.thaw();
    // The second answer is about the same deletion.
    assert_eq!(forget().await.expect("confirms"), Forgotten::Missing);
    assert_eq!(replica.run::<u64>("DBSIZE").await, 19);

    let scope = ScopeDigest::new(None);
    replica.freeze();
    let erased = store.erase(&scope).await;
    let refused = erased.expect_err("the replica lacks them");
    assert!(is_refused(&refused), "{refused:?}");
    replica.thaw();
    assert!(store.erase(&scope).await.expect("erases the rest") > 0);
    assert_eq!(replica.run::<u64>("DBSIZE").await, 0);
}

/// The server removes keys by itself, a second after their content has expired.
#[tokio::test]
async fn every_key_expires() {
    let server = Private::start();
    let store = RedisStore::connect(server.url()).await.expect("connects");
    let service = Service::gated(&store);
    let paying = tokio::spawn({
        let service = service.clone();
        async move { service.pay("k").await }
    });
    until("the call is made", async || service.keys().len() == 1).await;
    let day = Duration::from_hours(24).as_millis();
    let expires = async || {
        let keys: Vec<String> = server.run("KEYS *").await;
        let left: u64 = server.run(&format!("PTTL {}", keys[0])).await;
        u128::from(left)
    };
    let left = expires().await;
    assert!(left > day - 10_000 && left <= day + 1_001, "{left}");
    service.state.in_call.add_permits(1);
    service.state.at_end.add_permits(1);
    assert_eq!(paying.await.expect("no panic").status, 201);
    let left = expires().await;
    assert!(left > day - 10_000 && left <= day + 1_001, "{left}");
}
