//! A wire to PostgreSQL that is cut or held.

use std::time::{Duration, Instant};

use idem_core::{Config, ReplayCache};
use idem_tests::{Act, Cut, Framework, Postgres, Reply, Scene, World, conformance};

use crate::o::wire::{wired, wired_with};

conformance![
    on Postgres:
    o13_statement_past_the_deadline_is_undone_and_retriable,
    c2_failure_holds_its_key_until_it_is_recorded,
    c2_wait_is_not_cut_by_a_shorter_deadline,
    r8_resolved_commit_is_cached,
    r2_retry_to_the_same_process_raises_no_error_in_the_server,
    c3_waiter_that_becomes_the_attempt_raises_no_error_in_the_server,
    r2_announced_retry_raises_no_error_in_the_server,
];

async fn o13_statement_past_the_deadline_is_undone_and_retriable<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let request = world.instance().await.post("/bounded").key("k").effect("a");
    let slow = Act::run("SELECT pg_sleep(2.5)");
    world.control.play([Scene::new([Act::Insert, slow])]);
    let start = Instant::now();
    request.send().await.assert_problem("try-again");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    // The statement runs on, and holds the identity until it ends.
    let mut retry = request.send().await;
    while retry.status != 201 && start.elapsed() < Duration::from_secs(8) {
        retry.assert_retryable(true);
        retry = request.send().await;
    }
    retry.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}

/// The attempt is undone by then. The lock must be held until the failure is recorded.
async fn c2_failure_holds_its_key_until_it_is_recorded<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let (wire, instance) = wired(world).await;
    let other = world.instance().await;
    let request = instance.post("/hasty").key("k").effect("a");
    world.control.play([Scene::answering(Reply::new(422))]);
    // The parameters name the operation. The statement itself may be prepared already.
    wire.hold("POST /hasty");
    let first = request.start();
    wire.held().await;
    let elsewhere = request.to(other.address);
    elsewhere.send().await.assert_problem("in-flight");
    wire.release();
    let first = first.answer().await;
    first.assert_executed(422);
    elsewhere.send().await.assert_replays(&first);
    assert_eq!(world.control.entries(), 1);
}

async fn c2_wait_is_not_cut_by_a_shorter_deadline<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let request = world.instance().await.post("/bounded").key("k").effect("a");
    // The server would end the statement one second after the deadline.
    let unlimited = Act::run("SET LOCAL statement_timeout = 0");
    let slow = Act::run("SELECT pg_sleep(4)");
    world
        .control
        .play([Scene::new([Act::Insert, unlimited, slow])]);
    request.send().await.assert_problem("try-again");
    // The statement runs on and holds the identity, so this waits for two seconds.
    let start = Instant::now();
    request.send().await.assert_problem("in-flight");
    assert!(
        start.elapsed() > Duration::from_millis(1800),
        "{:?}",
        start.elapsed()
    );
}

async fn r8_resolved_commit_is_cached<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    let cache = ReplayCache::new(10_000, Duration::from_hours(1));
    let (wire, instance) = wired_with(world, Config::new().with_replay_cache(cache)).await;
    let request = instance.post("/effects").key("k").effect("a");
    wire.cut(Cut::After);
    let first = request.send().await;
    first.assert_executed(201);
    assert_eq!(wire.cuts(), 1);
    let _all = instance.whole_pool().await;
    request.send().await.assert_replays(&first);
}

async fn r2_retry_to_the_same_process_raises_no_error_in_the_server<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").key("k").effect("a");
    world.control.play([Scene::answering(Reply::new(500))]);
    request.send().await.assert_executed(500);
    let second = request.send().await;
    second.assert_executed(201);
    request.send().await.assert_replays(&second);
    world.expire().await;
    request.send().await.assert_executed(201);
    assert_eq!(wire.recorded(), 0);
}

async fn c3_waiter_that_becomes_the_attempt_raises_no_error_in_the_server<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/patient").key("k").effect("a");
    let fails = Scene::gated().answer(Reply::new(500));
    world.control.play([fails]);
    let first = request.start();
    world.control.entered(1).await;
    let second = request.start();
    world.control.extracted(2).await;
    world.control.open(1);
    first.answer().await.assert_executed(500);
    second.answer().await.assert_executed(201);
    assert_eq!(wire.recorded(), 0);
}

async fn r2_announced_retry_raises_no_error_in_the_server<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let config = Config::new().try_with_retry_header("X-Stainless-Retry-Count");
    let (wire, instance) = wired_with(world, config.expect("a header name")).await;
    let elsewhere = world.instance().await;
    let counts = [(None, 1), (Some("0"), 1), (Some("1"), 0), (Some("2"), 0)];
    for (number, (count, errors)) in counts.into_iter().enumerate() {
        let request = elsewhere.post("/effects").effect("a");
        let request = request.key(format!("key-{number}"));
        let first = request.send().await;
        let mut retry = request.to(instance.address);
        if let Some(count) = count {
            retry = retry.header("x-stainless-retry-count", count);
        }
        let before = wire.recorded();
        retry.send().await.assert_replays(&first);
        assert_eq!(wire.recorded() - before, errors, "{count:?}");
    }
    // A first request with the header runs like any other.
    let claims = instance.post("/effects").key("new").effect("a");
    let claims = claims.header("x-stainless-retry-count", "1");
    claims.send().await.assert_executed(201);
}
