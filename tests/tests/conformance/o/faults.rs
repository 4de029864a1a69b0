//! Clients, databases, handlers and instances that go away.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use idem_tests::{
    Act, Body, Database, Framework, Reply, Scene, Settings, Wires, World, conformance,
};

conformance![
    o10_attempt_runs_to_its_end_when_the_client_disconnects,
    o10_attempt_runs_to_its_end_when_the_client_half_closes_or_resets,
    o10_attempt_inside_a_middleware_runs_to_its_end_when_the_client_disconnects,
    o10_waiter_that_disconnects_changes_nothing,
    o11_exhausted_pool_is_unavailable_soon,
    o11_closed_pool_is_unavailable,
    o11_draining_instance_is_unavailable_and_ends_its_attempts,
    o11_waiter_does_not_become_an_attempt_while_draining,
    o12_panicking_handler_is_undone_and_retriable,
    o13_handler_past_its_deadline_is_undone_and_retriable,
    o13_body_past_the_deadline_is_undone_and_retriable,
    o13_attempt_frozen_past_its_deadline_is_undone_and_retriable,
];

async fn o10_attempt_runs_to_its_end_when_the_client_disconnects<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let settled = instance.post("/patient").key("settled").effect("a");
    let earlier = settled.send().await;
    world.control.play([Scene::gated()]);
    let request = instance.post("/patient").key("k").effect("a");
    let client = request.open().await;
    world.control.entered(2).await;
    drop(client);
    settled.send().await.assert_replays(&earlier);
    world.control.open(1);
    let retry = request.send().await;
    assert!(retry.is_replay());
    assert_eq!(retry.json()["attempt"], 1);
    assert_eq!(world.control.entries(), 2);
    assert_eq!(world.effects("acme").await, 2);
}

async fn o10_attempt_runs_to_its_end_when_the_client_half_closes_or_resets<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let settled = instance.post("/patient").key("settled").effect("a");
    let earlier = settled.send().await;
    world.control.play([Scene::gated(), Scene::gated()]);
    let request = instance.post("/patient").effect("a");
    let (half_closed, reset) = (request.clone().key("half"), request.key("reset"));
    let mut client = half_closed.open().await;
    world.control.entered(2).await;
    client.half_close().await;
    settled.send().await.assert_replays(&earlier);
    world.control.open(1);
    assert!(half_closed.send().await.is_replay());
    drop(client);
    let client = reset.open().await;
    world.control.entered(3).await;
    client.reset();
    settled.send().await.assert_replays(&earlier);
    world.control.open(1);
    assert!(reset.send().await.is_replay());
    assert_eq!(world.effects("acme").await, 3);
}

async fn o10_attempt_inside_a_middleware_runs_to_its_end_when_the_client_disconnects<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/local").key("k").effect("a");
    world.control.play([Scene::gated().then(Act::AfterCommit)]);
    let client = request.open().await;
    world.control.at_gate(1).await;
    client.reset();
    world.control.open(1);
    world.control.committed(1).await;
    let retry = request.send().await;
    assert!(retry.is_replay(), "{}", retry.text());
    assert_eq!(retry.status, 201);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o10_waiter_that_disconnects_changes_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated().answer(Reply::new(500))]);
    let first = request.start();
    world.control.entered(1).await;
    let waiter = request.open().await;
    world.control.extracted(2).await;
    drop(waiter);
    world.control.open(1);
    first.answer().await.assert_executed(500);
    let retry = request.send().await;
    assert_eq!(retry.status, 201);
    assert_eq!(world.effects("acme").await, 1);
}

fn short_of_connections() -> Settings {
    Settings {
        wires: Wires {
            connections: 1,
            acquire_timeout: Duration::from_millis(200),
            ..Wires::default()
        },
        ..Settings::default()
    }
}

async fn o11_exhausted_pool_is_unavailable_soon<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance_with(short_of_connections()).await;
    let request = instance.post("/effects").key("k").effect("a");
    let taken = instance.whole_pool().await;
    let start = Instant::now();
    request.send().await.assert_problem("unavailable");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(world.control.entries(), 0);
    drop(taken);
    let first = request.send().await;
    first.assert_executed(201);
    let taken = instance.whole_pool().await;
    request.send().await.assert_problem("unavailable");
    drop(taken);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o11_closed_pool_is_unavailable<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/effects").key("k").effect("a");
    one.pool.close().await;
    request.send().await.assert_problem("unavailable");
    assert_eq!(world.control.entries(), 0);
    let retry = request.to(other.address).send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 1);
}

async fn o11_draining_instance_is_unavailable_and_ends_its_attempts<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/patient").key("k").effect("a");
    let scene = Scene::gated().then(Act::AfterCommit);
    world.control.play([scene]);
    let first = request.start();
    world.control.entered(1).await;
    let mut drain = Box::pin(instance.engine.drain());
    assert!(
        (&mut drain).now_or_never().is_none(),
        "an attempt is running"
    );
    request.send().await.assert_problem("unavailable");
    let other = request.clone().key("other").effect("b");
    other.send().await.assert_problem("unavailable");
    world.control.open(1);
    first.answer().await.assert_executed(201);
    drain.await;
    assert_eq!(
        world.control.commits(),
        1,
        "a drain waits for `after_commit`"
    );
    assert_eq!(world.control.entries(), 1);
}

async fn o11_waiter_does_not_become_an_attempt_while_draining<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated().answer(Reply::new(500))]);
    let first = request.start();
    world.control.entered(1).await;
    let waiter = request.start();
    world.control.extracted(2).await;
    let mut drain = Box::pin(instance.engine.drain());
    assert!(
        (&mut drain).now_or_never().is_none(),
        "an attempt is running"
    );
    world.control.open(1);
    first.answer().await.assert_executed(500);
    waiter.answer().await.assert_problem("unavailable");
    drain.await;
    assert_eq!(world.control.entries(), 1);
}

async fn o12_panicking_handler_is_undone_and_retriable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let panics = Scene::new([Act::AfterCommit, Act::Insert, Act::Panic]);
    world.control.play([panics.clone(), panics]);
    for _ in 0..2 {
        request.send().await.assert_problem("handler-panicked");
        assert_eq!(world.effects("acme").await, 0);
    }
    let retry = request.send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 3);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.commits(), 0);
}

async fn o13_handler_past_its_deadline_is_undone_and_retriable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/bounded").key("k").effect("a");
    world.control.play([Scene::new([Act::Insert, Act::Hang])]);
    let start = Instant::now();
    request.send().await.assert_problem("try-again");
    let bounds = Duration::from_millis(900)..Duration::from_secs(4);
    assert!(bounds.contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(world.effects("acme").await, 0);
    let retry = request.send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 2);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o13_body_past_the_deadline_is_undone_and_retriable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/bounded").key("k").effect("a");
    let endless = Body::Endless(world.control.clone());
    let reply = Reply::bytes(200, "").body(endless);
    world.control.play([Scene::answering(reply)]);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.effects("acme").await, 0);
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}

/// The handler has its answer only after the deadline.
async fn o13_attempt_frozen_past_its_deadline_is_undone_and_retriable<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/bounded").key("k").effect("a");
    // Past the deadline of one second, and before the server's own limit of two.
    let frozen = Act::Freeze(Duration::from_millis(1300));
    let scene = Scene::new([Act::Insert, Act::AfterCommit, frozen]);
    world.control.play([scene]);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.effects("acme").await, 0);
    let retry = request.send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 2);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.commits(), 0);
}
