//! Handlers with steps: each step once, and a retry that resumes.

use std::time::Duration;

use idem_core::{IdempotencyKey, Resolution, Resolved};
use idem_tests::{Act, Answer, Database, Framework, Reply, Request, Scene, World, conformance};

conformance![
    t2_t7_ride_is_executed_once_and_replayed,
    t3_t6_t7_retry_resumes_after_the_last_finished_step,
    t4_call_that_may_have_happened_waits_for_a_proof_or_for_the_operator,
    t5_attempt_that_was_frozen_past_its_lease_writes_nothing,
    t1_other_instance_is_in_flight_while_a_step_runs,
    t8_run_binds_its_key_before_there_is_a_record,
    t10_erasure_deletes_runs_and_refuses_their_holders,
    t12_nothing_is_open_while_another_service_is_called,
    t14_panic_in_a_step_keeps_the_finished_ones,
    o14_step_that_ends_its_transaction_is_final,
    t13_error_of_a_step_is_the_answer_even_if_the_handler_swallows_it,
    t9_run_is_forgotten_after_its_time_to_live,
];

/// The rows that runs leave.
const LEFT: [&str; 2] = ["runs", "steps"];

pub(crate) async fn left<F: Framework<D>, D: Database>(world: &World<F, D>) -> i64 {
    let mut rows = 0;
    for table in LEFT {
        let table = D::RECORDS.replace("records", table);
        rows += world.number(format!("SELECT count(*) FROM {table}")).await;
    }
    rows
}

/// Sends a request until it is executed or replayed.
pub(crate) async fn until_answered(request: &Request) -> Answer {
    for _ in 0..100 {
        let response = request.send().await;
        if response.status < 400 {
            return response;
        }
        response.assert_retryable(true);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the request is never answered");
}

fn refused() -> Scene {
    Scene::effect().answer(Reply::bytes(500, "refused"))
}

async fn t2_t7_ride_is_executed_once_and_replayed<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.with_steps().await;
    let request = instance.post("/ride").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    assert_eq!(first.json()["charge"], 2);
    request.send().await.assert_replays(&first);
    // A record is a record, in each mode.
    let elsewhere = request.to(world.instance().await.address);
    elsewhere.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 2);
    assert_eq!(world.control.entries(), 3);
    assert_eq!((left(world).await, world.records().await), (0, 1));
    // Of a request without a record, all steps are still to be done.
    let other = instance.post("/ride").key("l").effect("a").send().await;
    other.assert_executed(201);
    assert_eq!(world.effects("acme").await, 4);
}

async fn t3_t6_t7_retry_resumes_after_the_last_finished_step<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.with_steps().await;
    let request = instance.post("/ride").key("k").effect("a");
    world.control.play([Scene::effect(), refused()]);
    request.send().await.assert_executed(500);
    assert_eq!(world.effects("acme").await, 1, "a finished step stays");
    world.control.play([Scene::effect(), refused()]);
    let request = request.to(world.instance().await.address);
    request.send().await.assert_executed(500);
    assert_eq!(
        world.effects("acme").await,
        1,
        "an unfinished step is undone"
    );
    let third = request.send().await;
    third.assert_executed(201);
    // The numbers of the entries that succeeded: the ride's of the first attempt, and so on.
    assert_eq!(
        third.text(),
        r#"{"ride":1,"charge":3,"paid":5,"attempt":3}"#
    );
    assert_eq!(world.effects("acme").await, 2);
    let visits = world.control.visits();
    assert_eq!(
        visits[1].key, visits[2].key,
        "each attempt has the same key"
    );
    assert_ne!(
        visits[1].scope, visits[2].scope,
        "each attempt has its own epoch"
    );
    request.send().await.assert_replays(&third);
    assert_eq!(left(world).await, 0);
}

async fn t5_attempt_that_was_frozen_past_its_lease_writes_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, other) = (world.with_steps().await, world.instance().await);
    let request = instance.post("/ride").key("k").effect("pauses");
    let late = request.start();
    // Between two steps nothing renews the lease.
    world.control.at_gate(1).await;
    let second = until_answered(&request.to(other.address)).await;
    second.assert_executed(201);
    world.control.open(1);
    let late = late.answer().await;
    late.assert_replays(&second);
    assert_eq!(world.effects("acme").await, 2);
    assert_eq!(second.json()["attempt"], 2);
    assert_eq!(world.control.entries(), 3, "the charge is recorded");
    assert_eq!(left(world).await, 0);
}

async fn t1_other_instance_is_in_flight_while_a_step_runs<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, other) = (world.with_steps().await, world.instance().await);
    let request = instance.post("/ride").key("k").effect("a");
    world
        .control
        .play([Scene::effect(), Scene::new([Act::Wait])]);
    let first = request.start();
    world.control.at_gate(1).await;
    // Longer than the lease, which the call renews.
    let elsewhere = request.to(other.address);
    elsewhere.send().await.assert_problem("in-flight");
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    elsewhere.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 2);
}

async fn t8_run_binds_its_key_before_there_is_a_record<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, other) = (world.with_steps().await, world.instance().await);
    let request = instance.post("/ride").key("k").effect("a");
    let another = other.post("/ride").key("k").effect("b");
    world.control.play([
        Scene::effect(),
        Scene::new([Act::Wait]).answer(Reply::new(500)),
    ]);
    let first = request.start();
    world.control.at_gate(1).await;
    another.send().await.assert_problem("key-reused");
    world.control.open(1);
    first.answer().await.assert_executed(500);
    another.send().await.assert_problem("key-reused");
    assert_eq!(world.records().await, 0);
    assert_eq!(world.effects("acme").await, 1);
}

async fn t10_erasure_deletes_runs_and_refuses_their_holders<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.with_steps().await;
    let request = instance.post("/ride").key("k").effect("a");
    world
        .control
        .play([Scene::effect(), Scene::new([Act::Wait])]);
    let first = request.start();
    world.control.at_gate(1).await;
    assert_eq!(
        instance
            .steps
            .erase(Some("acme"))
            .await
            .expect("an erasure"),
        1
    );
    world.control.open(1);
    first.answer().await.assert_retryable(true);
    assert_eq!((left(world).await, world.records().await), (0, 0));
    assert_eq!(world.effects("acme").await, 1, "what was committed stays");
    request.send().await.assert_executed(201);
}

async fn t12_nothing_is_open_while_another_service_is_called<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.with_steps().await;
    let request = instance.post("/ride").key("k").effect("a");
    world
        .control
        .play([Scene::effect(), Scene::new([Act::Wait])]);
    let first = request.start();
    world.control.at_gate(1).await;
    let all = instance.whole_pool().await;
    let unfinished = D::unfinished(&mut *world.observe().await).await;
    assert_eq!(unfinished, 0);
    drop(all);
    world.control.open(1);
    first.answer().await.assert_executed(201);
}

async fn t14_panic_in_a_step_keeps_the_finished_ones<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.with_steps().await.post("/ride").key("k").effect("a");
    for panics in [
        vec![Scene::effect(), Scene::new([Act::Panic])],
        vec![Scene::effect(), Scene::new([Act::Insert, Act::Panic])],
    ] {
        world.control.play(panics);
        let panicked = request.send().await;
        panicked.assert_problem_of_steps("handler-panicked");
        assert_eq!(world.effects("acme").await, 1);
    }
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 2);
}

async fn o14_step_that_ends_its_transaction_is_final<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.with_steps().await.post("/ride").key("k").effect("a");
    let ends = Scene::effect().then(Act::run("COMMIT"));
    world.control.play([ends]);
    let ended = request.send().await;
    ended.assert_problem_of_steps("transaction-lost");
    ended.assert_retryable(false);
    request.send().await.assert_problem("transaction-lost");
    assert_eq!(world.control.entries(), 1);
    assert_eq!(left(world).await, 0);
}

async fn t9_run_is_forgotten_after_its_time_to_live<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.with_steps().await;
    let request = instance.post("/ride").key("k").effect("a");
    world.control.play([Scene::effect(), refused()]);
    request.send().await.assert_executed(500);
    assert_eq!(instance.steps.purge_expired().await.expect("a purge"), 0);
    let runs = D::RECORDS.replace("records", "runs");
    let expired = world.run(format!(
        "UPDATE {runs} SET expires_at = 1, leased_until = 1"
    ));
    assert_eq!(expired.await, 1);
    assert_eq!(instance.steps.purge_expired().await.expect("a purge"), 1);
    assert_eq!(left(world).await, 0);
    let again = request.send().await;
    again.assert_executed(201);
    assert_eq!(again.json()["attempt"], 1);
    let visits = world.control.visits();
    assert_eq!(
        visits[1].key, visits[3].key,
        "the key for the other service stays"
    );
}

async fn t13_error_of_a_step_is_the_answer_even_if_the_handler_swallows_it<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let instance = world.with_steps().await;
    let request = instance.post("/ride").key("k").effect("swallows");
    request
        .send()
        .await
        .assert_problem_of_steps("misconfigured");
    assert_eq!((world.effects("acme").await, world.records().await), (2, 0));
    request
        .send()
        .await
        .assert_problem_of_steps("misconfigured");
    assert_eq!(world.control.entries(), 3, "the finished steps stay");
}

async fn t4_call_that_may_have_happened_waits_for_a_proof_or_for_the_operator<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let answers = |status| Scene::effect().answer(Reply::bytes(status, "sms"));
    let instance = world.with_steps().await;
    for (key, known, entry) in [("absent", 404, "3"), ("found", 200, "5")] {
        let request = instance.post("/sms").key(key).effect("a");
        world.control.play([answers(500), answers(known)]);
        request.send().await.assert_executed(500);
        let sent = request.send().await;
        sent.assert_executed(201);
        assert_eq!(sent.text(), entry, "{key}");
        request.send().await.assert_replays(&sent);
    }
    let request = instance.post("/sms").key("unknown").effect("a");
    world
        .control
        .play([answers(500), answers(503), answers(503)]);
    request.send().await.assert_executed(500);
    for _ in 0..2 {
        request.send().await.assert_problem("step-uncertain");
    }
    let engine = &instance.steps;
    let runs = engine.unfinished_runs(10).await.expect("the runs");
    let [run] = &runs[..] else {
        panic!("one run is unfinished: {runs:?}");
    };
    assert!(run.steps[0].is_uncertain && !run.is_leased(), "{run:?}");
    let key = IdempotencyKey::parse(b"unknown").expect("a key");
    let of = (Some("acme"), &run.operation, &key);
    let resolve = async |resolution| {
        let resolved = engine.resolve_step(of.0, of.1, of.2, "sms", resolution);
        resolved.await.expect("a resolution")
    };
    let found = engine.find_run(of.0, of.1, of.2).await.expect("a run");
    assert_eq!(found.map(|found| found.steps), Some(run.steps.clone()));
    assert_eq!(resolve(Resolution::Found(&9)).await, Resolved::Done);
    assert_eq!(resolve(Resolution::Absent).await, Resolved::Missing);
    let sent = request.send().await;
    sent.assert_executed(201);
    assert_eq!((sent.text(), world.control.entries()), ("9".to_owned(), 8));
    assert_eq!(left(world).await, 0);
}
