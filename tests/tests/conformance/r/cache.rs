//! Replays from the cache, and their limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_core::{Config, ReplayCache};
use idem_tests::{
    Database, Framework, Instance, Reply, Scene, Settings, Wires, World, answers,
    assert_one_executed, conformance,
};

conformance![
    r8_cached_replay_is_byte_identical_and_takes_no_connection,
    r8_what_was_replayed_from_the_database_is_cached,
    r8_other_request_with_a_cached_key_is_a_mismatch,
    r8_there_is_no_cache_by_default,
    r8_cache_is_bounded_and_the_database_replays_the_rest,
    r8_retriable_failure_is_not_cached,
    r8_simultaneous_duplicates_have_one_effect_with_the_cache,
    e1_cached_identity_is_new_right_after_its_ttl,
    e4_erasure_reaches_the_cache,
    e4_erasure_on_another_instance_is_seen_within_the_max_age,
];

const HOUR: Duration = Duration::from_hours(1);

/// Enough for everything that a test caches.
const ROOM: usize = 1024 * 1024;

/// An instance that soon gives up waiting for a connection.
async fn impatient<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    config: Config,
) -> Arc<Instance<D>> {
    let settings = Settings {
        wires: Wires {
            acquire_timeout: Duration::from_secs(1),
            ..Wires::default()
        },
        config,
        ..Settings::default()
    };
    world.instance_with(settings).await
}

/// With a cache of so many bytes.
fn caching(bytes: usize) -> Config {
    Config::new().with_replay_cache(ReplayCache::new(bytes, HOUR))
}

async fn r8_cached_replay_is_byte_identical_and_takes_no_connection<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let instance = impatient(world, caching(ROOM)).await;
    let replies = [
        Reply::new(201),
        Reply::bytes(200, b"\xff\xfe\r\n\r\n\0").header("content-type", "application/octet-stream"),
        Reply::bytes(303, "")
            .header("link", "</2>; rel=next")
            .header("location", "/effects/1")
            .header("link", "</1>; rel=prev"),
        Reply::bytes(404, b"\xff not found"),
    ];
    let mut firsts = Vec::new();
    for (number, reply) in replies.into_iter().enumerate() {
        world.control.play([Scene::answering(reply)]);
        let request = instance.post("/effects").effect("a");
        let request = request.key(format!("key-{number}"));
        firsts.push((request.send().await, request));
    }
    let _all = instance.whole_pool().await;
    for (first, request) in firsts {
        for _ in 0..2 {
            request.send().await.assert_replays(&first);
        }
    }
    assert_eq!(world.control.entries(), 4);
}

async fn r8_what_was_replayed_from_the_database_is_cached<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (
        world.instance().await,
        impatient(world, caching(ROOM)).await,
    );
    let request = one.post("/effects").key("k").effect("a");
    let first = request.send().await;
    let request = request.to(other.address);
    request.send().await.assert_replays(&first);
    let _all = other.whole_pool().await;
    request.send().await.assert_replays(&first);
}

async fn r8_other_request_with_a_cached_key_is_a_mismatch<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = impatient(world, caching(ROOM)).await;
    let request = instance.post("/effects").key("k");
    request
        .clone()
        .effect("a")
        .send()
        .await
        .assert_executed(201);
    let _all = instance.whole_pool().await;
    let other = request.clone().effect("b").send().await;
    other.assert_problem("key-reused");
    // As with the database, the form of the JSON doesn't matter, and the key's owner does.
    let same = request.clone().json(r#" { "label" : "a" } "#).send().await;
    assert!(same.is_replay());
    let stranger = request.tenant("globex").effect("a").send().await;
    stranger.assert_problem("unavailable");
}

async fn r8_there_is_no_cache_by_default<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = impatient(world, Config::new()).await;
    let request = instance.post("/effects").key("k").effect("a");
    let first = request.send().await;
    let all = instance.whole_pool().await;
    request.send().await.assert_problem("unavailable");
    drop(all);
    request.send().await.assert_replays(&first);
}

async fn r8_cache_is_bounded_and_the_database_replays_the_rest<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = impatient(world, caching(4000)).await;
    let mut firsts = Vec::new();
    for number in 0..20 {
        let reply = Reply::bytes(200, [b'x'; 1000]);
        world.control.play([Scene::answering(reply)]);
        let request = instance.post("/effects").effect("a");
        let request = request.key(format!("key-{number}"));
        firsts.push((request.send().await, request));
    }
    for (first, request) in &firsts {
        request.send().await.assert_replays(first);
    }
    let all = instance.whole_pool().await;
    let pending = firsts.iter().map(|(_, request)| request.start()).collect();
    let cached = answers(pending).await;
    let cached = cached.iter().filter(|answer| answer.is_replay()).count();
    drop(all);
    assert!((1..=2).contains(&cached), "{cached} fit into 4000 bytes");
    assert_eq!(world.control.entries(), 20);
}

async fn r8_retriable_failure_is_not_cached<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = impatient(world, caching(ROOM)).await;
    let request = instance.post("/effects").key("k").effect("a");
    world.control.play([Scene::answering(Reply::new(500))]);
    request.send().await.assert_executed(500);
    let second = request.send().await;
    second.assert_executed(201);
    assert_eq!(second.json()["attempt"], 2);
    let _all = instance.whole_pool().await;
    request.send().await.assert_replays(&second);
}

async fn r8_simultaneous_duplicates_have_one_effect_with_the_cache<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let one = world.configured(caching(ROOM)).await;
    let other = world.configured(caching(ROOM)).await;
    let request = one.post("/patient").effect("a");
    for key in ["k1", "k2", "k3"] {
        let pending = [&one, &other].repeat(8).into_iter();
        let pending = pending.map(|i| request.clone().to(i.address).key(key).start());
        assert_one_executed(&answers(pending.collect()).await);
    }
    assert_eq!(world.effects("acme").await, 3);
}

async fn e1_cached_identity_is_new_right_after_its_ttl<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = impatient(world, caching(ROOM)).await.post("/brief");
    let request = request.key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let alive = format!(
        "SELECT count(*) FROM {} WHERE expires_at > {}",
        D::RECORDS,
        D::NOW
    );
    let until = Instant::now() + Duration::from_secs(3);
    while world.number(&alive).await > 0 {
        assert!(Instant::now() < until, "the TTL is a second");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = request.send().await;
    second.assert_executed(201);
    assert_ne!(first.body, second.body);
    assert_eq!(world.effects("acme").await, 2);
}

async fn e4_erasure_reaches_the_cache<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = impatient(world, caching(ROOM)).await;
    let request = instance.post("/effects").key("k").effect("a");
    let globex = request.clone().tenant("globex");
    let kept = globex.send().await;
    for executed in 1..=3 {
        let first = request.send().await;
        first.assert_executed(201);
        request.send().await.assert_replays(&first);
        let erased = instance.engine.erase(Some("acme")).await;
        assert_eq!(erased.expect("erases"), 1);
        assert_eq!(world.effects("acme").await, executed);
    }
    let _all = instance.whole_pool().await;
    globex.send().await.assert_replays(&kept);
    request.send().await.assert_problem("unavailable");
}

async fn e4_erasure_on_another_instance_is_seen_within_the_max_age<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    const MAX_AGE: Duration = Duration::from_secs(1);
    let cache = ReplayCache::new(ROOM, MAX_AGE);
    let config = Config::new().with_replay_cache(cache);
    let instance = impatient(world, config).await;
    let other = world.instance().await;
    let request = instance.post("/effects").key("k").effect("a");
    let first = request.send().await;
    let written = Instant::now();
    let erased = other.engine.erase(Some("acme")).await;
    assert_eq!(erased.expect("erases"), 1);
    loop {
        let asked = Instant::now();
        let answer = request.send().await;
        if !answer.is_replay() {
            answer.assert_executed(201);
            break;
        }
        answer.assert_replays(&first);
        assert!(asked < written + MAX_AGE, "a replay does not prolong it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.effects("acme").await, 2);
}
