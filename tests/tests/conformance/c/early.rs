//! Clients that ask again instead of waiting.

use idem_tests::{Act, Answer, Database, Framework, Scene, World, conformance};

conformance![
    c7_client_asks_again_instead_of_waiting,
    c7_attempt_that_is_undone_after_an_early_answer_runs_again,
    c7_client_that_does_not_ask_for_it_waits,
];

#[track_caller]
fn assert_pending(answer: &Answer) {
    assert_eq!(
        (answer.status, &*answer.text()),
        (202, r#"{"status":"pending"}"#)
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert!(!answer.is_replay() && answer.expires().is_none());
}

async fn c7_client_asks_again_instead_of_waiting<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    world.control.play([Scene::gated().then(Act::AfterCommit)]);
    let patient = one
        .post("/early")
        .key("k")
        .header("prefer", "respond-async");
    let request = patient.clone().header("prefer", "wait=0");
    let poll = request.clone().effect("a");
    assert_pending(&poll.send().await);
    assert_pending(&poll.send().await);
    if !D::ONE_WRITER {
        assert_pending(&poll.clone().to(other.address).send().await);
    }
    request
        .effect("b")
        .send()
        .await
        .assert_problem("key-reused");
    let waiting = patient.effect("a").start();
    world
        .control
        .extracted(if D::ONE_WRITER { 4 } else { 5 })
        .await;
    assert!(!waiting.is_answered());
    world.control.open(1);
    world.control.committed(1).await;
    let answer = waiting.answer().await;
    assert!(answer.is_replay() && answer.status == 201, "{answer:?}");
    // A settled key is replayed, however short the wait is.
    poll.send().await.assert_replays(&answer);
    poll.to(other.address).send().await.assert_replays(&answer);
    assert_eq!(
        (world.control.entries(), world.effects("acme").await),
        (1, 1)
    );
}

async fn c7_attempt_that_is_undone_after_an_early_answer_runs_again<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let failing = Scene::new([Act::Insert, Act::Wait, Act::Panic]);
    world.control.play([failing, Scene::effect()]);
    let poll = instance.post("/early").key("k").effect("a");
    let poll = poll.header("prefer", "respond-async");
    assert_pending(&poll.clone().header("prefer", "wait=0").send().await);
    world.control.open(1);
    poll.send().await.assert_executed(201);
    assert_eq!(
        (world.control.entries(), world.effects("acme").await),
        (2, 1)
    );
}

async fn c7_client_that_does_not_ask_for_it_waits<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let early = instance.post("/early").effect("a");
    let requests = [
        early.clone().key("k"),
        early.key("l").header("prefer", "return=minimal, wait=0"),
        // An endpoint that does not offer it.
        instance
            .post("/patient")
            .key("m")
            .effect("a")
            .header("prefer", "respond-async, wait=0"),
    ];
    for (before, request) in requests.iter().enumerate() {
        world.control.play([Scene::gated()]);
        let waiting = request.start();
        world.control.at_gate(before + 1).await;
        assert!(!waiting.is_answered());
        world.control.open(1);
        waiting.answer().await.assert_executed(201);
    }
}
