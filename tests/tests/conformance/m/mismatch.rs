//! A key that is used for another request.

use idem_core::Settle;
use idem_tests::{Answer, Database, Framework, Reply, Request, Scene, World, conformance};

conformance![
    m1_other_body_query_or_path_is_refused,
    m1_refusal_reveals_nothing_of_the_first,
    m2_equal_body_under_another_key_executes,
    m3_mismatch_while_in_flight_waits_and_is_refused,
    m3_mismatch_while_in_flight_elsewhere_waits_and_is_refused,
    m3_mismatch_while_in_flight_executes_nothing_if_the_first_fails,
    m3_mismatch_that_may_not_wait_is_refused_for_good,
    m4_retriable_failure_keeps_the_binding,
    m4_failure_that_blames_the_request_binds_nothing,
];

async fn m1_other_body_query_or_path_is_refused<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let post = |target: &str, label: &str| instance.post(target).key("k").effect(label);
    let request = post("/accounts/7/effects?a=1", "a");
    let first = request.send().await;
    first.assert_executed(201);
    for other in [
        post("/accounts/7/effects?a=1", "b"),
        post("/accounts/7/effects?a=2", "a"),
        post("/accounts/7/effects", "a"),
        post("/accounts/7/effects?", "a"),
        post("/accounts/8/effects?a=1", "a"),
    ] {
        other.send().await.assert_problem("key-reused");
    }
    request.send().await.assert_replays(&first);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn m1_refusal_reveals_nothing_of_the_first<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects");
    let replies = [
        Reply::bytes(201, "hush").header("location", "/hush"),
        Reply::bytes(422, "hush"),
        Reply::bytes(500, "hush"),
        Reply::bytes(200, ""),
    ];
    world.control.play(replies.map(Scene::answering));
    let mut refusals: Vec<Answer> = Vec::new();
    for key in ["k1", "k2", "k3", "k4"] {
        let first = request.clone().key(key).effect("secret").send().await;
        assert!(!first.is_replay());
        let mut refusal = request.clone().key(key).effect("guess").send().await;
        refusal.assert_problem("key-reused");
        assert!(!refusal.text().contains("hush") && !refusal.text().contains("secret"));
        assert_eq!(refusal.header("location"), None);
        assert_eq!(refusal.expires(), None);
        refusal.headers.retain(|(name, _)| name != "date");
        refusals.push(refusal);
    }
    let differ = refusals.windows(2).any(|pair| pair[0] != pair[1]);
    assert!(!differ, "the first one's outcome shows: {refusals:?}");
}

async fn m2_equal_body_under_another_key_executes<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    for key in ["k1", "k2"] {
        request.clone().key(key).send().await.assert_executed(201);
    }
    assert_eq!(world.effects("acme").await, 2);
}

async fn m3_mismatch_while_in_flight_waits_and_is_refused<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/patient").key("k");
    refuses_while_in_flight(world, &request, &request).await;
}

async fn m3_mismatch_while_in_flight_elsewhere_waits_and_is_refused<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k");
    refuses_while_in_flight(world, &request, &request.clone().to(other.address)).await;
}

async fn refuses_while_in_flight<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    request: &Request,
    mismatch: &Request,
) {
    let settled = mismatch.clone().key("settled").effect("a");
    let earlier = settled.send().await;
    world.control.play([Scene::gated()]);
    let first = request.clone().effect("a").start();
    world.control.entered(2).await;
    let mismatch = mismatch.clone().effect("b").start();
    world.control.extracted(3).await;
    // A whole request goes by, and the mismatch still waits.
    settled.send().await.assert_replays(&earlier);
    assert!(!mismatch.is_answered(), "a mismatch in flight has to wait");
    world.control.open(1);
    first.answer().await.assert_executed(201);
    mismatch.answer().await.assert_problem("key-reused");
    assert_eq!(world.control.entries(), 2);
    assert_eq!(world.effects("acme").await, 2);
}

async fn m3_mismatch_while_in_flight_executes_nothing_if_the_first_fails<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/patient").key("k");
    for (key, status) in [("k1", 422), ("k2", 500)] {
        let reply = Reply::new(status);
        world.control.play([Scene::gated().answer(reply)]);
        let request = request.clone().key(key);
        let entered = world.control.entries();
        let first = request.clone().effect("a").start();
        world.control.entered(entered + 1).await;
        let extracted = world.control.extractions();
        let mismatch = request.effect("b").start();
        world.control.extracted(extracted + 1).await;
        world.control.open(1);
        first.answer().await.assert_executed(status);
        mismatch.answer().await.assert_problem("key-reused");
        assert_eq!(world.control.entries(), entered + 1);
    }
    assert_eq!(world.effects("acme").await, 0);
}

async fn m3_mismatch_that_may_not_wait_is_refused_for_good<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/hasty").key("k");
    world.control.play([Scene::gated()]);
    let first = request.clone().effect("a").start();
    world.control.at_gate(1).await;
    let other = request.clone().effect("b");
    other.send().await.assert_problem("key-reused");
    request.effect("a").send().await.assert_problem("in-flight");
    world.control.open(1);
    first.answer().await.assert_executed(201);
    other.send().await.assert_problem("key-reused");
    assert_eq!(world.control.entries(), 1);
}

async fn m4_retriable_failure_keeps_the_binding<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k");
    world.control.play([Scene::answering(Reply::new(503))]);
    let same = request.clone().effect("a");
    same.send().await.assert_executed(503);
    request
        .effect("b")
        .send()
        .await
        .assert_problem("key-reused");
    let retry = same.send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 2);
    assert_eq!(world.effects("acme").await, 1);
}

/// The key then belongs to the corrected request.
async fn m4_failure_that_blames_the_request_binds_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let retriable = |status| Reply::new(status).settle(Settle::Retriable);
    for (effects, (path, reply)) in (1..).zip([
        ("/replays-success", Reply::new(422)),
        ("/effects", retriable(422)),
        ("/effects", retriable(303)),
    ]) {
        let request = instance.post(path).key(format!("key-{effects}"));
        let status = reply.status;
        world.control.play([Scene::answering(reply)]);
        let wrong = request.clone().effect("a");
        wrong.send().await.assert_executed(status);
        let corrected = request.effect("b");
        let done = corrected.send().await;
        done.assert_executed(201);
        assert_eq!(done.json()["attempt"], 2);
        corrected.send().await.assert_replays(&done);
        wrong.send().await.assert_problem("key-reused");
        assert_eq!(world.effects("acme").await, effects);
    }
}
