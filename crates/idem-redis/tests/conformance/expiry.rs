//! E: expiry, erasure, and counts.

use idem_core::{Forgotten, IdempotencyKey, Operation, State};
use idem_tests::{Act, Reply, Scene};

use crate::server::until;
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    e1_e3_e5_record_ends_by_the_clock_of_the_server,
    e5_s1_new_time_to_live_is_for_new_records,
    e1_e2_expired_record_that_is_still_there_is_none,
    e4_t10_erasure_ends_records_and_runs_of_a_scope,
    e6_forgotten_key_runs_again_and_an_attempt_is_left_alone,
    e7_stats_count_each_record_by_operation_and_state,
];

async fn e1_e3_e5_record_ends_by_the_clock_of_the_server<F: Framework>(world: &World<F>) {
    let instance = world.cached().await;
    let request = instance.post("/brief").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.at_gate(1).await;
    let gate = world.now().await;
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    let key = world.key().await;
    let times: [i64; 2] = world.run(&format!("HMGET {key} at expires_at")).await;
    assert!(times[0] >= gate, "it counts from the settlement");
    assert_eq!(times[1] - times[0], 1_000_000);
    assert_eq!(first.expires(), Some(times[1] / 1_000_000));
    until("the record expires", async || world.now().await >= times[1]).await;
    // The server removes a key a second later.
    let second = request.send().await;
    second.assert_executed(201);
    assert_ne!(second.body, first.body);
    assert_eq!(instance.engine.purge_expired().await.expect("purges"), 0);
    until("the server removes the key", async || {
        world.keys().await.is_empty()
    })
    .await;
    request.send().await.assert_executed(201);
    // The other service keeps its keys for longer.
    assert_eq!(
        (
            world.control.entries(),
            world.effects(),
            world.provider.calls()
        ),
        (3, 1, 3)
    );
}

/// The two endpoints share their operation, as two releases of one do.
async fn e5_s1_new_time_to_live_is_for_new_records<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let of = |path: &str, key: &str| instance.post(path).key(key).effect("a");
    let first = of("/ride/1", "old").send().await;
    first.assert_executed(201);
    of("/ride/2", "old").send().await.assert_replays(&first);
    let new = of("/ride/2", "new").send().await;
    new.assert_executed(201);
    let later = first.expires().expect("R7") - new.expires().expect("R7");
    let difference = 23 * 60 * 60;
    assert!((difference - 20..=difference).contains(&later), "{later}");
}

async fn e1_e2_expired_record_that_is_still_there_is_none<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k").effect("a");
    for (duplicate, address) in [(1, one.address), (2, other.address)] {
        let old = request.clone().effect(&format!("{duplicate}")).send().await;
        old.assert_executed(201);
        world.expire().await;
        world.control.play([Scene::gated()]);
        let entries = world.control.entries();
        let extractions = world.control.extractions();
        // It binds no body, either.
        let pending = vec![request.start(), request.clone().to(address).start()];
        world.control.extracted(extractions + 2).await;
        world.control.at_gate(duplicate).await;
        world.control.open(1);
        let answers = idem_tests::answers(pending).await;
        idem_tests::assert_one_executed(&answers);
        assert_eq!(answers[0].json()["attempt"], 1);
        assert_eq!(world.control.entries(), entries + 1);
        world.expire().await;
    }
}

async fn e4_t10_erasure_ends_records_and_runs_of_a_scope<F: Framework>(world: &World<F>) {
    let (instance, other) = (world.instance().await, world.cached().await);
    let post = |path: &str, tenant: &str, key: &str| {
        instance.post(path).tenant(tenant).key(key).effect("a")
    };
    let acme = [
        post("/effects", "acme", "k1"),
        post("/patient", "acme", "k1"),
    ];
    let kept = [
        post("/effects", "globex", "k1"),
        post("/unscoped", "acme", "k1"),
    ];
    for request in &acme {
        let first = request.send().await;
        first.assert_executed(201);
        let elsewhere = request.clone().to(other.address);
        elsewhere.send().await.assert_replays(&first);
    }
    let answers = [kept[0].send().await, kept[1].send().await];
    world.control.play([Scene::gated()]);
    let late = post("/effects", "acme", "late");
    let attempt = late.start();
    world.control.at_gate(1).await;
    let engine = &other.engine;
    assert_eq!(engine.erase(Some("nobody")).await.expect("erases"), 0);
    assert_eq!(engine.erase(Some("acme")).await.expect("erases"), 3);
    assert_eq!(engine.erase(Some("acme")).await.expect("erases"), 0);
    world.control.open(1);
    let refused = attempt.answer().await;
    refused.assert_problem_of_steps("in-flight");
    assert_eq!(
        world.keys().await.len(),
        2,
        "the holder has written nothing"
    );
    for (request, answer) in kept.iter().zip(&answers) {
        request.send().await.assert_replays(answer);
    }
    let effects = world.effects();
    for request in acme.iter().chain([&late]) {
        // It has cached the records that it has erased.
        let elsewhere = request.clone().to(other.address);
        elsewhere.send().await.assert_executed(201);
    }
    assert_eq!(
        world.effects(),
        effects,
        "the other service has seen their keys"
    );
    assert_eq!(engine.erase(None).await.expect("erases"), 1);
    kept[0].send().await.assert_replays(&answers[0]);
    kept[1].send().await.assert_executed(201);
}

async fn e6_forgotten_key_runs_again_and_an_attempt_is_left_alone<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.cached().await);
    let request = one.post("/effects").key("k").effect("a");
    let elsewhere = request.clone().to(other.address);
    let operation = Operation::of_route("POST", "/effects");
    let key = IdempotencyKey::parse(b"k").expect("a key");
    let forget = async || {
        let forgotten = other.engine.forget(Some("acme"), &operation, &key).await;
        forgotten.expect("forgets")
    };
    assert_eq!(forget().await, Forgotten::Missing);
    world.control.play([Scene::gated()]);
    let attempt = request.start();
    world.control.at_gate(1).await;
    assert_eq!(forget().await, Forgotten::InFlight);
    world.control.open(1);
    let first = attempt.answer().await;
    first.assert_executed(201);
    elsewhere.send().await.assert_replays(&first);
    assert_eq!(forget().await, Forgotten::Deleted);
    assert_eq!(forget().await, Forgotten::Missing);
    elsewhere.send().await.assert_executed(201);
    for damage in ["fingerprint 0", "state 9"] {
        world.set(damage).await;
        assert_eq!(forget().await, Forgotten::Deleted, "it can't be read");
        request.send().await.assert_executed(201);
    }
    // A run without a holder, with its steps.
    world.control.play([Scene::answering(Reply::new(500))]);
    assert_eq!(forget().await, Forgotten::Deleted);
    request.send().await.assert_executed(500);
    assert_eq!(forget().await, Forgotten::Deleted);
    let calls = world.provider.calls();
    let again = request.send().await;
    again.assert_executed(201);
    assert_eq!(again.json()["attempt"], 1);
    assert_eq!((world.effects(), world.provider.calls()), (1, calls + 1));
}

async fn e7_stats_count_each_record_by_operation_and_state<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let stats = async || {
        let mut stats = instance.engine.stats().await.expect("counts");
        let order = |state: Option<State>| state.map(State::code);
        stats
            .tallies
            .sort_by_key(|tally| (tally.operation.to_string(), order(tally.state)));
        stats
    };
    assert_eq!(stats().await.records(), 0);
    let request = instance.post("/effects").effect("a");
    request.clone().key("old").send().await.assert_executed(201);
    world.expire().await;
    world.set("fingerprint 0").await;
    let elsewhere = instance
        .post("/patient")
        .tenant("globex")
        .key("k")
        .effect("a");
    elsewhere.send().await.assert_executed(201);
    // Of a request that has not succeeded yet, there is no record.
    world
        .control
        .play([500, 422, 503].map(|status| Scene::answering(Reply::new(status))));
    for (key, status) in [("k", 500), ("refused", 422), ("unfinished", 503)] {
        request
            .clone()
            .key(key)
            .send()
            .await
            .assert_executed(status);
    }
    request.clone().key("k").send().await.assert_executed(201);
    world.control.play([Scene::new([Act::Wait])]);
    let running = request.key("running").start();
    world.control.at_gate(1).await;
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
        ("POST /effects", Some(State::Succeeded), 2, 1, 3),
        ("POST /effects", Some(State::FailedFinal), 1, 0, 1),
        ("POST /patient", Some(State::Succeeded), 1, 0, 1),
    ];
    assert_eq!(tallies.collect::<Vec<_>>(), expected);
    let of_scope = instance.engine.stats_of(Some("globex")).await;
    assert_eq!(of_scope.expect("counts").records(), 1);
    world.control.open(1);
    running.answer().await.assert_executed(201);
}
