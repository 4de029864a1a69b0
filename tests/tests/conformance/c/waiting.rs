//! Requests at the same time: the cost of waiting.

use std::time::Duration;

use futures_util::future::select_all;
use idem_core::Config;
use idem_tests::{
    Act, Database, Framework, Reply, Scene, World, answers, assert_one_executed, conformance,
};

conformance![
    c4_waiting_holds_no_connection,
    c4_waiting_for_another_instance_starves_nobody,
    c4_other_keys_that_wait_to_write_starve_nobody,
    c4_waiters_are_bounded,
    c5_duplicate_never_sees_the_business_error_of_the_first,
    c6_conflict_of_the_application_is_its_own,
];

async fn c4_waiting_holds_no_connection<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance_of(2).await;
    let settled = instance.post("/patient").key("settled").effect("a");
    let earlier = settled.send().await;
    world.control.play([Scene::gated()]);
    let request = instance.post("/patient").key("k").effect("a");
    let first = request.start();
    world.control.entered(2).await;
    let waiters: Vec<_> = (0..32).map(|_| request.start()).collect();
    world.control.extracted(34).await;
    settled.send().await.assert_replays(&earlier);
    let free = instance.pool.acquire();
    let free = tokio::time::timeout(Duration::from_secs(1), free).await;
    drop(free.expect("a connection is free").expect("a connection"));
    if !D::ONE_WRITER {
        let other = instance.post("/patient").key("other").effect("a");
        other.send().await.assert_executed(201);
    }
    assert!(waiters.iter().all(|waiter| !waiter.is_answered()));
    world.control.open(1);
    let first = first.answer().await;
    for waiter in answers(waiters).await {
        waiter.assert_replays(&first);
    }
}

async fn c4_waiting_for_another_instance_starves_nobody<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    let settled = other.post("/patient").key("settled").effect("a");
    let earlier = settled.send().await;
    world.control.play([Scene::gated()]);
    let request = one.post("/patient").key("k").effect("a");
    let first = request.start();
    world.control.entered(2).await;
    let elsewhere = request.to(other.address);
    let waiters: Vec<_> = (0..16).map(|_| elsewhere.start()).collect();
    world.control.extracted(18).await;
    for _ in 0..8 {
        settled.send().await.assert_replays(&earlier);
    }
    if !D::ONE_WRITER {
        for key in 0..8 {
            let fresh = other.post("/patient").key(format!("fresh-{key}"));
            fresh.effect("a").send().await.assert_executed(201);
        }
    }
    assert!(waiters.iter().all(|waiter| !waiter.is_answered()));
    world.control.open(1);
    let first = first.answer().await;
    for waiter in answers(waiters).await {
        waiter.assert_replays(&first);
    }
}

async fn c4_other_keys_that_wait_to_write_starve_nobody<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance_of(2).await;
    let request = instance.post("/patient").effect("a");
    let settled = request.clone().key("settled");
    let earlier = settled.send().await;
    world.control.play([Scene::gated()]);
    let first = request.clone().key("first").start();
    world.control.entered(2).await;
    let others = (0..16).map(|number| request.clone().key(format!("other-{number}")));
    let others: Vec<_> = others.map(|request| request.start()).collect();
    world.control.extracted(18).await;
    for _ in 0..8 {
        settled.send().await.assert_replays(&earlier);
    }
    world.control.open(1);
    first.answer().await.assert_executed(201);
    for other in answers(others).await {
        other.assert_executed(201);
    }
    assert_eq!(world.effects("acme").await, 18);
}

async fn c4_waiters_are_bounded<F: Framework<D>, D: Database>(world: &World<F, D>) {
    for (all, per_identity) in [(2, 100), (100, 2)] {
        let config = Config::new().with_waiters(all, per_identity);
        let instance = world.configured(config).await;
        let entered = world.control.entries();
        world.control.play([Scene::gated()]);
        let request = instance.post("/patient").effect("a");
        let request = request.key(format!("k-{all}"));
        let first = request.start();
        world.control.entered(entered + 1).await;
        let mut duplicates: Vec<_> = (0..6).map(|_| request.start()).collect();
        // Two of six can wait.
        while duplicates.len() > 2 {
            let (refused, _, others) = select_all(duplicates).await;
            refused.assert_problem("in-flight");
            duplicates = others;
        }
        world.control.open(1);
        let first = first.answer().await;
        for waiter in answers(duplicates).await {
            waiter.assert_replays(&first);
        }
    }
}

async fn c5_duplicate_never_sees_the_business_error_of_the_first<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    let insert = "INSERT INTO names (name) VALUES ('unique')".to_owned();
    let taken = Reply::bytes(409, "the name is taken");
    let scene = Scene::new([Act::Try(insert, taken), Act::Insert]);
    world.control.play((0..16).map(|_| scene.clone()));
    let request = one.post("/patient").key("k").effect("a");
    let pending = [&one, &other].repeat(8);
    let pending: Vec<_> = pending
        .into_iter()
        .map(|instance| request.clone().to(instance.address).start())
        .collect();
    assert_one_executed(&answers(pending).await);
    assert_eq!(world.control.entries(), 1);
    let another = one.post("/patient").key("another").effect("a").send().await;
    another.assert_executed(409);
    assert_eq!(another.text(), "the name is taken");
}

async fn c6_conflict_of_the_application_is_its_own<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/hasty").key("k").effect("a");
    let conflict = r#"{"type":"https://example.com/conflict","status":409}"#;
    let reply = Reply::bytes(409, conflict).header("content-type", "application/problem+json");
    world.control.play([Scene::gated().answer(reply)]);
    let first = request.start();
    world.control.entered(1).await;
    let refused = request.send().await;
    refused.assert_problem("in-flight");
    world.control.open(1);
    let first = first.answer().await;
    assert_eq!(first.text(), conflict);
    assert_ne!(first.json()["type"], refused.json()["type"]);
}
