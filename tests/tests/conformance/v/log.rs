//! Visibility.

use std::time::Duration;

use futures_util::future::select_all;
use idem_core::{Config, ReplayCache};
use idem_tests::{
    Act, Database, Fields, Framework, Reply, Scene, Traces, World, answers, conformance,
};
use tracing::Level;

conformance![
    traced:
    v1_execution_and_replay_are_told_by_one_line,
    v1_cached_replay_is_told_by_one_line,
    v1_waiter_and_its_bound_are_told,
    v1_failures_are_told,
    v1_mismatch_is_told,
    v1_rejected_request_is_told,
    v1_unavailable_database_is_told,
    v1_own_commit_is_loud_in_the_log,
    r4_names_of_headers_left_out_are_logged,
];

/// Asserts that these fields of a span have these values.
#[track_caller]
fn assert_fields(span: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(
            span.get(name).map(String::as_str),
            Some(*value),
            "{name}: {span:?}"
        );
    }
}

#[track_caller]
fn only(traces: &Traces) -> Fields {
    let spans = traces.spans();
    assert_eq!(spans.len(), 1, "one span for a request: {spans:?}");
    spans[0].clone()
}

async fn v1_execution_and_replay_are_told_by_one_line<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/accounts/7/effects").key("k").effect("a");
    let asked = [
        ("scope", "acme"),
        ("operation", "POST /accounts/{}/effects"),
        ("key", "k"),
    ];
    world.control.play([Scene::answering(Reply::new(500))]);
    for (outcome, attempt) in [("failed_retriable", "1"), ("executed", "2")] {
        let traces = Traces::capture();
        request.send().await;
        let span = only(&traces);
        assert_fields(&span, &asked);
        assert_fields(&span, &[("outcome", outcome), ("attempt", attempt)]);
        assert!(!span.contains_key("age_ms"), "not a replay: {span:?}");
    }
    let traces = Traces::capture();
    assert!(request.send().await.is_replay());
    let span = only(&traces);
    assert_fields(&span, &asked);
    assert_fields(&span, &[("outcome", "replayed")]);
    let age: u64 = span["age_ms"].parse().expect("a number");
    assert!(age < 60_000);
    let lines = traces.events().into_iter().filter(|event| {
        let span = event.span.as_ref();
        span.is_some_and(|span| span.get("outcome").is_some_and(|o| o == "replayed"))
    });
    assert_eq!(lines.count(), 1, "one line with the whole span around it");
}

async fn v1_cached_replay_is_told_by_one_line<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let cache = ReplayCache::new(10_000, Duration::from_hours(1));
    let config = Config::new().with_replay_cache(cache);
    let instance = world.configured(config).await;
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_executed(201);
    let _all = instance.whole_pool().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let traces = Traces::capture();
    assert!(request.send().await.is_replay());
    let span = only(&traces);
    let told = [("scope", "acme"), ("key", "k"), ("outcome", "replayed")];
    assert_fields(&span, &told);
    let age: u64 = span["age_ms"].parse().expect("a number");
    assert!((50..60_000).contains(&age), "{age}");
    assert_eq!(traces.events().len(), 1);
}

async fn v1_waiter_and_its_bound_are_told<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.configured(Config::new().with_waiters(1, 1)).await;
    let request = instance.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    let traces = Traces::capture();
    // The one that finds no room says that the other waits.
    let (told, _, waiting) = select_all([request.start(), request.start()]).await;
    told.assert_problem("in-flight");
    world.control.open(1);
    first.answer().await.assert_executed(201);
    for waiter in answers(waiting).await {
        assert!(waiter.is_replay());
    }
    let spans = traces.spans();
    let span = |outcome: &str| {
        let span = spans.iter().find(|span| span["outcome"] == outcome);
        span.unwrap_or_else(|| panic!("no {outcome}: {spans:?}"))
    };
    assert_fields(span("in_flight"), &[("key", "k"), ("scope", "acme")]);
    assert_fields(span("waited"), &[("key", "k"), ("scope", "acme")]);
    assert!(span("waited").contains_key("age_ms"), "a replay: {spans:?}");
}

async fn v1_failures_are_told<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    world.control.play([
        Scene::answering(Reply::new(422)),
        Scene::answering(Reply::new(409)),
        Scene::new([Act::Panic]),
        Scene::new([Act::run("COMMIT")]),
    ]);
    for (key, outcome) in [
        ("k1", "failed_final"),
        ("k2", "failed_retriable"),
        ("k3", "failed_retriable"),
        ("k4", "failed_final"),
    ] {
        let traces = Traces::capture();
        request.clone().key(key).send().await;
        let span = only(&traces);
        assert_fields(
            &span,
            &[("outcome", outcome), ("key", key), ("attempt", "1")],
        );
    }
}

async fn v1_mismatch_is_told<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k");
    request
        .clone()
        .effect("a")
        .send()
        .await
        .assert_executed(201);
    let traces = Traces::capture();
    request
        .effect("b")
        .send()
        .await
        .assert_problem("key-reused");
    assert_fields(&only(&traces), &[("outcome", "mismatch"), ("key", "k")]);
}

async fn v1_rejected_request_is_told<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let request = instance.post("/effects").effect("a");
    for rejected in [
        request.clone(),
        request.clone().key("a b"),
        request.key("k").tenant(""),
        instance.post("/no/such/route").key("k").effect("a"),
    ] {
        let traces = Traces::capture();
        let answer = rejected.send().await;
        assert!(answer.status >= 400);
        assert_fields(&only(&traces), &[("outcome", "rejected")]);
    }
}

async fn v1_unavailable_database_is_told<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    instance.pool.close().await;
    let traces = Traces::capture();
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_problem("unavailable");
    assert_fields(&only(&traces), &[("outcome", "unavailable"), ("key", "k")]);
    let errors = traces
        .events()
        .into_iter()
        .filter(|event| event.level <= Level::WARN);
    assert!(errors.count() > 0, "the log says why");
}

async fn v1_own_commit_is_loud_in_the_log<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    world
        .control
        .play([Scene::new([Act::Insert, Act::run("COMMIT")])]);
    let traces = Traces::capture();
    request.send().await.assert_problem("transaction-lost");
    let loud = traces
        .events()
        .into_iter()
        .find(|event| event.level == Level::ERROR);
    let span = loud.expect("an error in the log").span;
    assert_fields(&span.expect("inside the request"), &[("key", "k")]);
}

async fn r4_names_of_headers_left_out_are_logged<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let reply = Reply::new(201).header("set-cookie", "session=secret");
    world.control.play([Scene::answering(reply)]);
    let traces = Traces::capture();
    request.send().await.assert_executed(201);
    let events = traces.events();
    let told = events.iter().find(|event| {
        let mut values = event.fields.values();
        values.any(|value| value.contains("set-cookie"))
    });
    assert_eq!(told.expect("the name is logged").level, Level::DEBUG);
    assert!(
        !format!("{events:?}").contains("secret"),
        "the value is not"
    );
}
