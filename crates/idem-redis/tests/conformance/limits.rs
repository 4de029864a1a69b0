//! L: limits.

use futures_util::future::select_all;
use idem_core::{Config, RateLimit};
use idem_tests::{Act, Answer, Body, Reply, Scene, answers};

use crate::server::{Private, until};
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    l1_t6_response_over_the_limit_is_not_recorded_and_its_steps_stay,
    l1_waiters_of_a_response_that_is_too_large_get_the_same_problem,
    l2_request_body_over_the_frameworks_limit_claims_nothing,
    l3_duplicates_in_flight_ask_no_server,
    l4_rates_of_keys_and_scopes_refuse_without_a_server,
];

const LIMIT: usize = 5000;

/// The limit of `/capped`.
const OWN: usize = 8192;

fn large(size: usize) -> Reply {
    Reply::bytes(200, vec![b'x'; size])
}

fn streamed(size: usize) -> Reply {
    Reply::bytes(200, "").body(Body::Stream(size))
}

async fn l1_t6_response_over_the_limit_is_not_recorded_and_its_steps_stay<F: Framework>(
    world: &World<F>,
) {
    let config = Config::new().with_response_limit(LIMIT);
    let instance = world.configured(config).await;
    let endless = Reply::bytes(200, "").header("content-type", "Text/Event-Stream; charset=utf-8");
    let endless = endless.body(Body::Endless(world.control.clone()));
    let cases = [
        ("/effects", large(LIMIT + 1)),
        ("/effects", streamed(LIMIT + 1)),
        ("/effects", endless),
        ("/capped", large(OWN + 1)),
        ("/capped", streamed(OWN + 1)),
    ];
    for (number, (path, reply)) in (1..).zip(cases) {
        let scene = Scene::new([Act::Insert, Act::AfterCommit]).answer(reply);
        world.control.play([scene]);
        let request = instance
            .post(path)
            .key(format!("large-{number}"))
            .effect("a");
        let refused = request.send().await;
        refused.assert_problem_of_steps("response-too-large");
        assert_eq!(refused.expires(), None);
        let retry = request.send().await;
        retry.assert_executed(201);
        assert_eq!(retry.json()["attempt"], 2);
        assert_eq!((world.effects(), world.provider.calls()), (number, number));
    }
    assert_eq!((world.control.polls(), world.control.commits()), (0, 0));
    let cases = [
        ("/effects", large(LIMIT)),
        ("/effects", streamed(LIMIT)),
        ("/capped", large(OWN)),
        ("/capped", streamed(OWN)),
    ];
    for (number, (path, reply)) in cases.into_iter().enumerate() {
        world.control.play([Scene::answering(reply)]);
        let request = instance
            .post(path)
            .key(format!("whole-{number}"))
            .effect("a");
        let first = request.send().await;
        first.assert_executed(200);
        request.send().await.assert_replays(&first);
    }
}

/// Otherwise each of them would run the handler again, one after the other.
async fn l1_waiters_of_a_response_that_is_too_large_get_the_same_problem<F: Framework>(
    world: &World<F>,
) {
    const WAITERS: usize = 20;
    let config = Config::new().with_response_limit(LIMIT);
    let instance = world.configured(config).await;
    let request = instance.post("/patient").key("k").effect("a");
    world
        .control
        .play([Scene::gated().answer(large(LIMIT + 1))]);
    let first = request.start();
    world.control.at_gate(1).await;
    let waiters: Vec<_> = (0..WAITERS).map(|_| request.start()).collect();
    until("all of them wait", async || {
        instance.engine.waiting() == WAITERS
    })
    .await;
    world.control.open(1);
    let first = first.answer().await;
    first.assert_problem_of_steps("response-too-large");
    for waiter in answers(waiters).await {
        waiter.assert_problem_of_steps("response-too-large");
        assert_eq!(waiter.body, first.body);
    }
    assert_eq!(world.control.entries(), 1);
    request.send().await.assert_executed(201);
    assert_eq!((world.effects(), world.provider.calls()), (1, 1));
}

async fn l2_request_body_over_the_frameworks_limit_claims_nothing<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    for (path, size) in [("/limited", 1001), ("/effects", 3 * 1024 * 1024)] {
        let request = instance.post(path).key("k");
        let answer = request.clone().effect(&"x".repeat(size)).send().await;
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!((world.control.entries(), world.keys().await.len()), (0, 0));
    }
    let request = instance.post("/limited").key("k").effect("a");
    request.send().await.assert_executed(201);
}

async fn l3_duplicates_in_flight_ask_no_server<F: Framework>(world: &World<F>) {
    let server = Private::start();
    let instance = world.on(&server, Config::new().with_waiters(8, 8));
    world.control.play([Scene::gated(), Scene::gated()]);
    let (hasty, patient) = (instance.post("/hasty"), instance.post("/patient"));
    let (hasty, patient) = (hasty.key("k").effect("a"), patient.key("k").effect("a"));
    let firsts = vec![hasty.start(), patient.start()];
    world.control.at_gate(2).await;
    server.freeze();
    for duplicate in answers((0..100).map(|_| hasty.start()).collect()).await {
        duplicate.assert_problem("in-flight");
    }
    let duplicates = (0..9).map(|_| patient.start());
    // Once one of them is refused, all others wait.
    let (refused, _, waiters) = select_all(duplicates).await;
    refused.assert_problem("in-flight");
    server.thaw();
    world.control.open(2);
    let firsts = answers(firsts).await;
    for waiter in answers(waiters).await {
        waiter.assert_replays(&firsts[1]);
    }
    hasty.send().await.assert_replays(&firsts[0]);
    assert_eq!(world.control.entries(), 2);
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    answer.assert_problem_of_steps("too-many-retries");
    let seconds = answer.header("retry-after").and_then(|s| s.parse().ok());
    let is_time = seconds.is_some_and(|seconds| (10..=20).contains(&seconds));
    assert!(is_time, "{seconds:?}");
    assert_eq!(answer.expires(), None);
}

async fn l4_rates_of_keys_and_scopes_refuse_without_a_server<F: Framework>(world: &World<F>) {
    // One more every 20 s: not within a test.
    let rate = || RateLimit::per_minute(3);
    let server = Private::start();
    let by_key = world.on(&server, Config::new().with_key_rate(rate()));
    let by_scope = world.on(&server, Config::new().with_scope_rate(rate()));
    let request = by_key.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    request.send().await.assert_replays(&first);
    request
        .clone()
        .key("other")
        .send()
        .await
        .assert_executed(201);
    request
        .clone()
        .tenant("globex")
        .send()
        .await
        .assert_executed(201);
    let of_scope = by_scope.post("/effects").effect("a");
    for (key, is_replay) in [("k", true), ("k2", false), ("k2", true)] {
        let answer = of_scope.clone().key(key).send().await;
        assert_eq!((answer.status, answer.is_replay()), (201, is_replay));
    }
    server.freeze();
    assert_refused(&request.send().await);
    assert_refused(&request.effect("b").send().await);
    for key in ["k", "k2", "k3"] {
        assert_refused(&of_scope.clone().key(key).send().await);
    }
    assert_refused(&by_scope.post("/optional").effect("a").send().await);
    server.thaw();
    let unscoped = by_scope.post("/unscoped").effect("a");
    for key in ["k1", "k2", "k3", "k4"] {
        unscoped.clone().key(key).send().await.assert_executed(201);
    }
    of_scope
        .key("k3")
        .tenant("globex")
        .send()
        .await
        .assert_executed(201);
}
