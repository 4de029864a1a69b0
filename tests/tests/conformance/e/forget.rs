//! Forgetting the record of one key, and counting records.

use std::time::Duration;

use idem_core::{Config, Forgotten, IdempotencyKey, Operation, ReplayCache, State};
use idem_tests::{Database, Framework, Reply, Scene, World, conformance};

conformance![
    e6_forgotten_key_runs_again_although_it_was_cached,
    e6_forget_does_not_disturb_an_attempt_in_flight,
    e7_stats_count_each_record_by_operation_and_state,
];

fn key() -> IdempotencyKey {
    IdempotencyKey::parse(b"k").expect("a key")
}

async fn e6_forgotten_key_runs_again_although_it_was_cached<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let cache = ReplayCache::new(1_000_000, Duration::from_hours(1));
    let config = Config::new().with_replay_cache(cache);
    let instance = world.configured(config).await;
    let request = instance.post("/effects").effect("a");
    let (forgotten, other) = (request.clone().key("k"), request.key("other"));
    let kept = other.send().await;
    let operation = Operation::of_route("POST", "/effects");
    let forget = async || {
        let key = key();
        let forgotten = instance.engine.forget(Some("acme"), &operation, &key);
        forgotten.await.expect("forgets")
    };
    assert_eq!(forget().await, Forgotten::Missing);
    let first = forgotten.send().await;
    forgotten.send().await.assert_replays(&first);
    assert_eq!(forget().await, Forgotten::Deleted);
    assert_eq!(forget().await, Forgotten::Missing);
    forgotten.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 3);

    let spoil = format!("UPDATE {} SET fingerprint = {}", D::RECORDS, D::bytes("00"));
    world.run(spoil).await;
    assert_eq!(forget().await, Forgotten::Deleted, "it can't be read");
    forgotten.send().await.assert_executed(201);
    other.send().await.assert_replays(&kept);
}

/// Where several transactions can write, the answer comes before the attempt has ended.
async fn e6_forget_does_not_disturb_an_attempt_in_flight<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let attempt = request.start();
    world.control.at_gate(1).await;
    let engine = other.engine.clone();
    let operation = Operation::of_route("POST", "/patient");
    let mut forget =
        tokio::spawn(async move { engine.forget(Some("acme"), &operation, &key()).await });
    if D::ONE_WRITER {
        // It reads before, on a connection that it gives back.
        other.stays_busy().await;
        assert!(!forget.is_finished(), "the attempt has the writer's lock");
        world.control.open(1);
    }
    let forgotten = tokio::time::timeout(Duration::from_secs(5), &mut forget).await;
    let forgotten = forgotten.expect("it does not wait for an attempt");
    let forgotten = forgotten.expect("ends").expect("forgets");
    assert_eq!(forgotten, Forgotten::InFlight);
    if !D::ONE_WRITER {
        world.control.open(1);
    }
    let first = attempt.answer().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn e7_stats_count_each_record_by_operation_and_state<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let stats = async || {
        let mut stats = instance.engine.stats().await.expect("counts");
        stats
            .tallies
            .sort_by_key(|tally| (tally.operation.to_string(), tally.state.map(State::code)));
        stats
    };
    assert_eq!(stats().await.records(), 0);
    let request = instance.post("/effects").effect("a");
    request.clone().key("old").send().await.assert_executed(201);
    world.expire().await;
    world
        .run(format!(
            "UPDATE {} SET fingerprint = {}",
            D::RECORDS,
            D::bytes("00")
        ))
        .await;
    let elsewhere = instance
        .post("/patient")
        .tenant("globex")
        .key("k")
        .effect("a");
    elsewhere.send().await.assert_executed(201);
    let retried = request.clone().key("retried");
    for status in [500, 503] {
        world.control.play([Scene::answering(Reply::new(status))]);
        retried.send().await.assert_executed(status);
    }
    request.key("new").send().await.assert_executed(201);

    let counted = stats().await;
    assert_eq!((counted.records(), counted.expired()), (4, 1));
    let tallies = counted.tallies.iter().map(|tally| {
        let operation = tally.operation.as_str();
        (
            operation,
            tally.state,
            tally.records,
            tally.expired,
            tally.attempts,
        )
    });
    let expected = [
        ("POST /effects", Some(State::Succeeded), 2, 1, 2),
        ("POST /effects", Some(State::FailedRetriable), 1, 0, 2),
        ("POST /patient", Some(State::Succeeded), 1, 0, 1),
    ];
    assert_eq!(tallies.collect::<Vec<_>>(), expected);
    let oldest = counted.tallies[0].oldest_expired.expect("there is one");
    assert!(oldest <= counted.now);
    let of_scope = instance.engine.stats_of(Some("globex")).await;
    assert_eq!(of_scope.expect("counts").records(), 1);
}
