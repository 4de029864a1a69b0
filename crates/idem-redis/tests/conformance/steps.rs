//! T: steps.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use idem_core::{Config, IdempotencyKey, Resolution, Resolved};
use idem_tests::{Answer, Reply, Request, Scene};

use crate::server::Private;
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    t1_t5_attempt_that_has_lost_its_lease_writes_nothing,
    t3_t6_t7_t14_retry_resumes_on_each_instance,
    t4_call_that_may_have_happened_waits_for_a_proof_or_for_the_operator,
    t9_run_is_forgotten_after_its_time_to_live,
    t11_result_that_is_unreadable_is_not_made_again,
    t12_attempts_in_their_calls_share_one_connection,
    t13_error_of_a_step_is_the_answer_even_if_the_handler_swallows_it,
];

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
    Scene::answering(Reply::bytes(500, "refused"))
}

async fn t1_t5_attempt_that_has_lost_its_lease_writes_nothing<F: Framework>(world: &World<F>) {
    let (instance, other) = (world.instance().await, world.instance().await);
    let request = instance.post("/ride/1").key("k").effect("pauses");
    let late = request.start();
    // Between two steps nothing renews the lease.
    world.control.at_gate(1).await;
    let elsewhere = request.to(other.address);
    let second = until_answered(&elsewhere).await;
    second.assert_executed(201);
    assert_eq!(second.text(), r#"{"ride":1,"paid":2,"attempt":2}"#);
    let key = world.key().await;
    let content = async || {
        let fields: BTreeMap<Vec<u8>, Vec<u8>> = world.run(&format!("HGETALL {key}")).await;
        let expires_at: i64 = world.run(&format!("PEXPIRETIME {key}")).await;
        (fields, expires_at)
    };
    let written = content().await;
    world.control.open(1);
    late.answer().await.assert_replays(&second);
    assert_eq!(content().await, written);
    assert_eq!(world.control.entries(), 2, "the late attempt made no call");
}

async fn t3_t6_t7_t14_retry_resumes_on_each_instance<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/ride/1").key("k").effect("panics");
    let elsewhere = request.clone().to(other.address);
    let panicked = request.send().await;
    panicked.assert_problem_of_steps("handler-panicked");
    // A finished step stays, and a call that fails is made again.
    world.control.play([refused(), refused(), Scene::effect()]);
    elsewhere.send().await.assert_executed(500);
    request.send().await.assert_executed(500);
    let fourth = elsewhere.send().await;
    fourth.assert_executed(201);
    assert_eq!(fourth.text(), r#"{"ride":1,"paid":4,"attempt":4}"#);
    request.send().await.assert_replays(&fourth);
    let visits = world.control.visits();
    assert_ne!(
        visits[0].key, visits[1].key,
        "each step has a key of its own"
    );
    assert!(visits[1..].iter().all(|visit| visit.key == visits[1].key));
    let epochs: Vec<_> = visits.iter().map(|visit| visit.scope.as_deref()).collect();
    assert_eq!(
        epochs,
        ["1", "2", "3", "4"].map(Some),
        "each attempt has its own epoch"
    );
    let fields: Vec<String> = world.run(&format!("HKEYS {}", world.key().await)).await;
    assert!(
        !fields.iter().any(|field| field.contains(':')),
        "the steps are gone: {fields:?}"
    );
}

async fn t4_call_that_may_have_happened_waits_for_a_proof_or_for_the_operator<F: Framework>(
    world: &World<F>,
) {
    let answers = |status| Scene::answering(Reply::bytes(status, "sms"));
    let (instance, other) = (world.instance().await, world.instance().await);
    for (key, known, entry) in [("absent", 404, "3"), ("found", 200, "5")] {
        let request = instance.post("/sms").key(key).effect("a");
        world.control.play([answers(500), answers(known)]);
        request.send().await.assert_executed(500);
        let request = request.to(other.address);
        let sent = request.send().await;
        sent.assert_executed(201);
        assert_eq!(sent.text(), entry, "{key}");
        request.send().await.assert_replays(&sent);
    }
    let engine = &instance.engine;
    for (key, resolution, entries) in [
        ("is-found", Resolution::Found(&9), 8),
        ("is-absent", Resolution::Absent, 12),
    ] {
        let request = instance.post("/sms").key(key).effect("a");
        world
            .control
            .play([answers(500), answers(503), answers(503)]);
        request.send().await.assert_executed(500);
        for instance in [&instance, &other] {
            let again = request.clone().to(instance.address).send().await;
            again.assert_problem_of_steps("step-uncertain");
        }
        let runs = engine.unfinished_runs(10).await.expect("the runs");
        let [run] = &runs[..] else {
            panic!("one run is unfinished: {runs:?}");
        };
        assert!(run.steps[0].is_uncertain && !run.is_leased(), "{run:?}");
        let key = IdempotencyKey::parse(key.as_bytes()).expect("a key");
        let found = engine.find_run(Some("acme"), &run.operation, &key).await;
        let found = found.expect("reads").expect("a run");
        assert_eq!(found.steps, run.steps);
        let resolve = async |resolution| {
            let operation = &run.operation;
            let resolved = engine.resolve_step(Some("acme"), operation, &key, "sms", resolution);
            resolved.await.expect("a resolution")
        };
        assert_eq!(resolve(resolution).await, Resolved::Done);
        assert_eq!(resolve(resolution).await, Resolved::Missing);
        let sent = request.send().await;
        sent.assert_executed(201);
        let expected = if entries == 8 { "9" } else { "12" };
        assert_eq!(
            (&*sent.text(), world.control.entries()),
            (expected, entries)
        );
        request.send().await.assert_replays(&sent);
    }
}

async fn t9_run_is_forgotten_after_its_time_to_live<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let request = instance.post("/ride/1").key("k").effect("a");
    world.control.play([Scene::effect(), refused()]);
    request.send().await.assert_executed(500);
    let day = 24 * 60 * 60 * 1_000_000_i64;
    let key = world.key().await;
    let times: [i64; 2] = world.run(&format!("HMGET {key} at expires_at")).await;
    assert_eq!(times[1] - times[0], day, "it is remembered from its claim");
    let left: i64 = world.run(&format!("PTTL {key}")).await;
    let bounds = day / 1000 - 10_000..=day / 1000 + 1_001;
    assert!(bounds.contains(&left), "the server removes it: {left}");
    world.expire().await;
    assert_eq!(
        instance.engine.unfinished_runs(10).await.expect("reads"),
        []
    );
    let again = request.clone().effect("b").send().await;
    again.assert_executed(201);
    assert_eq!(again.text(), r#"{"ride":3,"paid":4,"attempt":1}"#);
    let visits = world.control.visits();
    assert_eq!(
        visits[0].key, visits[2].key,
        "the key for the other service stays"
    );
}

async fn t11_result_that_is_unreadable_is_not_made_again<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let request = instance.post("/ride/1").key("k").effect("a");
    world.control.play([Scene::effect(), refused()]);
    request.send().await.assert_executed(500);
    // A kind, an epoch, and whether there is a result: a text is no number, and the rest is not written so.
    let damages = ["2 1 1\"text\"", "2 1 1", "2 1", "2 1 2", "soon 1 11", ""];
    let key = world.key().await;
    for damage in damages {
        world.set_field(&key, "s:ride", damage).await;
        let answer = request.send().await;
        assert_eq!(answer.status, 500, "{damage:?}: {}", answer.text());
        answer.assert_problem_of_steps("record-unreadable");
        let leased_until: i64 = world.run(&format!("HGET {key} leased_until")).await;
        assert!(
            leased_until <= world.now().await,
            "a refused claim holds no key"
        );
    }
    world.set_field(&key, "s:ride", "2 1 17").await;
    let answer = request.send().await;
    answer.assert_executed(201);
    assert!(
        answer.text().starts_with(r#"{"ride":7,"paid":3,"#),
        "{}",
        answer.text()
    );
}

async fn t12_attempts_in_their_calls_share_one_connection<F: Framework>(world: &World<F>) {
    const ATTEMPTS: usize = 50;
    let server = Private::start();
    let instance = world.on(&server, Config::new());
    world.control.play((0..ATTEMPTS).map(|_| Scene::gated()));
    let requests = (0..ATTEMPTS).map(|key| instance.post("/effects").key(format!("{key}")));
    let pending: Vec<_> = requests
        .map(|request| request.effect("a").start())
        .collect();
    world.control.at_gate(ATTEMPTS).await;
    let info: String = server.run("INFO clients").await;
    assert!(
        info.contains("connected_clients:2\r\n"),
        "the service and the test: {info}"
    );
    world.control.open(ATTEMPTS);
    for answer in join_all(pending).await {
        answer.assert_executed(201);
    }
}

async fn t13_error_of_a_step_is_the_answer_even_if_the_handler_swallows_it<F: Framework>(
    world: &World<F>,
) {
    let instance = world.instance().await;
    let request = instance.post("/ride/1").key("k").effect("swallows");
    for _ in 0..2 {
        let answer = request.send().await;
        answer.assert_problem_of_steps("misconfigured");
        assert_eq!(answer.expires(), None);
    }
    assert_eq!(world.control.entries(), 2, "the finished steps stay");
    let runs = instance.engine.unfinished_runs(10).await.expect("reads");
    let names: Vec<_> = runs[0].steps.iter().map(|step| &*step.name).collect();
    assert_eq!((runs[0].attempts, &names[..]), (2, &["ride", "paid"][..]));
}
