//! Requests at the same time: duplicates, and which of them runs.

use std::time::{Duration, Instant};

use idem_tests::{
    Act, Answer, Database, Framework, Reply, Request, Scene, World, answers, assert_one_executed,
    conformance,
};

conformance![
    c1_sixty_four_simultaneous_duplicates_over_two_instances_have_one_effect,
    c1_simultaneous_duplicates_of_a_final_failure_enter_once,
    c2_duplicate_waits_and_replays,
    c2_duplicate_elsewhere_waits_and_replays,
    c2_duplicate_is_answered_in_flight_when_the_wait_is_over,
    c2_duplicate_elsewhere_is_answered_in_flight_when_the_wait_is_over,
    c2_duplicate_that_does_not_wait_is_answered_at_once,
    c3_retriable_failure_with_waiters_has_one_next_attempt,
    c3_retriable_failure_with_waiters_elsewhere_has_one_next_attempt,
    c3_every_attempt_may_fail_before_one_succeeds,
];

async fn c1_sixty_four_simultaneous_duplicates_over_two_instances_have_one_effect<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    world.control.play([Scene::gated()]);
    let request = one.post("/patient").key("k").effect("a");
    let pending: Vec<_> = [&one, &other]
        .into_iter()
        .cycle()
        .take(64)
        .map(|instance| request.clone().to(instance.address).start())
        .collect();
    world.control.extracted(64).await;
    world.control.open(1);
    assert_one_executed(&answers(pending).await);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.records().await, 1);
}

async fn c1_simultaneous_duplicates_of_a_final_failure_enter_once<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    world.control.play([Scene::gated().answer(Reply::new(422))]);
    let request = one.post("/patient").key("k").effect("a");
    let pending = [&one, &other].repeat(8);
    let pending: Vec<_> = pending
        .into_iter()
        .map(|instance| request.clone().to(instance.address).start())
        .collect();
    world.control.extracted(16).await;
    world.control.open(1);
    let answers = answers(pending).await;
    assert!(answers.iter().all(|answer| answer.status == 422));
    let replays = answers.iter().filter(|answer| answer.is_replay()).count();
    assert_eq!(replays, 15);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 0);
}

async fn c2_duplicate_waits_and_replays<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/patient").key("k").effect("a");
    waits_and_replays(world, &request, &request).await;
}

async fn c2_duplicate_elsewhere_waits_and_replays<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k").effect("a");
    waits_and_replays(world, &request, &request.clone().to(other.address)).await;
}

async fn waits_and_replays<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    request: &Request,
    duplicate: &Request,
) {
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    let duplicate = duplicate.start();
    world.control.extracted(2).await;
    assert!(!duplicate.is_answered());
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    duplicate.answer().await.assert_replays(&first);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn c2_duplicate_is_answered_in_flight_when_the_wait_is_over<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    waits_two_seconds(world, &request, &request).await;
}

async fn c2_duplicate_elsewhere_is_answered_in_flight_when_the_wait_is_over<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/effects").key("k").effect("a");
    let duplicate = request.clone().to(other.address);
    if D::ONE_WRITER {
        queues_for_the_writer(world, &request, &duplicate).await;
    } else {
        waits_two_seconds(world, &request, &duplicate).await;
    }
}

/// In another process, a duplicate of an attempt in flight is a writer like any other: it waits for the write lock, for
/// the pool's busy timeout at most.
async fn queues_for_the_writer<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    request: &Request,
    duplicate: &Request,
) {
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    duplicate.send().await.assert_problem("unavailable");
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    duplicate.send().await.assert_replays(&first);
    assert_eq!(world.control.entries(), 1);
}

/// The default wait.
async fn waits_two_seconds<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    request: &Request,
    duplicate: &Request,
) {
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    let start = Instant::now();
    let refused = duplicate.send().await;
    let waited = start.elapsed();
    refused.assert_problem("in-flight");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let bounds = Duration::from_millis(1800)..Duration::from_secs(4);
    assert!(bounds.contains(&waited), "{waited:?}");
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    duplicate.send().await.assert_replays(&first);
    assert_eq!(world.control.entries(), 1);
}

async fn c2_duplicate_that_does_not_wait_is_answered_at_once<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/hasty").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    let start = Instant::now();
    let refused = request.send().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    refused.assert_problem("in-flight");
    assert_eq!(refused.header("retry-after"), Some("1"));
    world.control.open(1);
    first.answer().await.assert_executed(201);
}

async fn c3_retriable_failure_with_waiters_has_one_next_attempt<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/patient").key("k").effect("a");
    has_one_next_attempt(world, &request, std::slice::from_ref(&request)).await;
}

async fn c3_retriable_failure_with_waiters_elsewhere_has_one_next_attempt<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    let request = one.post("/patient").key("k").effect("a");
    let duplicates = [request.clone(), request.clone().to(other.address)];
    has_one_next_attempt(world, &request, &duplicates).await;
}

async fn has_one_next_attempt<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    request: &Request,
    duplicates: &[Request],
) {
    let fails = Scene::gated().answer(Reply::new(500));
    world.control.play([fails, Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    let waiters: Vec<_> = (duplicates.iter().cycle().take(8))
        .map(Request::start)
        .collect();
    world.control.extracted(9).await;
    world.control.open(1);
    first.answer().await.assert_executed(500);
    world.control.entered(2).await;
    assert!(waiters.iter().all(|waiter| !waiter.is_answered()));
    world.control.open(1);
    let answers = answers(waiters).await;
    assert_one_executed(&answers);
    assert_eq!(answers[0].json()["attempt"], 2);
    assert_eq!(world.control.entries(), 2);
    assert_eq!(world.control.most_running(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn c3_every_attempt_may_fail_before_one_succeeds<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance_of(2).await.post("/patient").key("k");
    let request = request.effect("a");
    let fails = Scene::answering(Reply::new(500));
    let panics = Scene::new([Act::Insert, Act::Panic]);
    let first = Scene::gated().answer(Reply::new(429));
    world.control.play([first, fails.clone(), panics, fails]);
    let pending: Vec<_> = (0..8).map(|_| request.start()).collect();
    world.control.extracted(8).await;
    world.control.open(1);
    let mut answers = answers(pending).await;
    let failed = |answer: &Answer| [429, 500].contains(&answer.status) && !answer.is_replay();
    assert_eq!(answers.iter().filter(|answer| failed(answer)).count(), 4);
    answers.retain(|answer| !failed(answer));
    assert_one_executed(&answers);
    assert_eq!(world.control.entries(), 5);
    assert_eq!(world.control.most_running(), 1);
    assert_eq!(world.effects("acme").await, 1);
}
