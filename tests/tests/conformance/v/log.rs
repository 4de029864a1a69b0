//! Spans and lines in the log.

use std::time::Duration;

use futures_util::future::select_all;
use idem_core::{Config, RateLimit, ReplayCache};
use idem_tests::{
    Act, Database, Fields, Framework, Reply, Scene, Traced, Traces, World, answers, conformance,
};
use tracing::Level;

conformance![
    traced:
    v1_execution_and_replay_leave_one_line,
    v1_cached_replay_leaves_one_line,
    v1_waiter_and_a_refused_waiter_are_logged,
    v1_waiter_of_a_reader_has_the_age_of_the_original,
    v1_span_is_inside_the_span_of_a_middleware,
    v1_failures_are_logged,
    v1_mismatch_is_logged,
    v1_rejected_request_is_logged,
    v1_unavailable_database_is_logged,
    v1_throttled_request_is_logged,
    v1_own_commit_is_an_error_in_the_log,
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

/// How old the replayed original is, in milliseconds.
#[track_caller]
fn age(span: &Fields) -> u64 {
    let age = span
        .get("age_ms")
        .expect("a replay has the age of its original");
    age.parse().expect("a number")
}

async fn v1_execution_and_replay_leave_one_line<F: Framework<D>, D: Database>(world: &World<F, D>) {
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
    assert!(age(&span) < 60_000);
    let lines = traces.events().into_iter().filter(|event| {
        let span = event.span.as_ref();
        span.is_some_and(|span| span.get("outcome").is_some_and(|o| o == "replayed"))
    });
    assert_eq!(lines.count(), 1, "one line with the whole span around it");
}

async fn v1_cached_replay_leaves_one_line<F: Framework<D>, D: Database>(world: &World<F, D>) {
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
    let fields = [("scope", "acme"), ("key", "k"), ("outcome", "replayed")];
    assert_fields(&span, &fields);
    assert!((50..60_000).contains(&age(&span)), "{span:?}");
    assert_eq!(traces.events().len(), 1);
}

async fn v1_waiter_and_a_refused_waiter_are_logged<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.configured(Config::new().with_waiters(1, 1)).await;
    let request = instance.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    let traces = Traces::capture();
    // Once one of them is refused, the other waits.
    let (refused, _, waiting) = select_all([request.start(), request.start()]).await;
    refused.assert_problem("in-flight");
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
    assert!(age(span("waited")) < 60_000, "{spans:?}");
    assert!(!span("in_flight").contains_key("age_ms"), "{spans:?}");
}

/// The waiter waits for one that reads an old record, not for an attempt.
async fn v1_waiter_of_a_reader_has_the_age_of_the_original<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    const AGE: Duration = Duration::from_millis(300);
    let instance = world.instance_of(1).await;
    let request = instance.post("/patient").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    tokio::time::sleep(AGE).await;
    let all = instance.whole_pool().await;
    let traces = Traces::capture();
    let readers = [request.start(), request.start(), request.start()];
    world.control.extracted(4).await;
    drop(all);
    for replay in answers(readers.into()).await {
        replay.assert_replays(&first);
    }
    let spans = traces.spans();
    assert_eq!(spans.len(), 3, "{spans:?}");
    for span in &spans {
        let expected = AGE.as_millis().try_into().expect("small")..60_000;
        assert!(expected.contains(&age(span)), "{spans:?}");
    }
}

async fn v1_span_is_inside_the_span_of_a_middleware<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/local").key("k").effect("a");
    let traces = Traces::capture();
    request.send().await.assert_executed(201);
    assert!(request.send().await.is_replay());
    assert_eq!(traces.parents(), [Some("middleware"); 2]);
}

async fn v1_failures_are_logged<F: Framework<D>, D: Database>(world: &World<F, D>) {
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

async fn v1_mismatch_is_logged<F: Framework<D>, D: Database>(world: &World<F, D>) {
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

async fn v1_rejected_request_is_logged<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let request = instance.post("/effects").effect("a");
    let elsewhere = instance.post("/no/such/route").key("k").effect("a");
    for (rejected, problem) in [
        (request.clone(), "key-missing"),
        (request.clone().key("a b"), "key-malformed"),
        (request.key("k").tenant(""), "misconfigured"),
        (elsewhere, "misconfigured"),
    ] {
        let traces = Traces::capture();
        rejected.send().await.assert_problem(problem);
        assert_fields(&only(&traces), &[("outcome", "rejected")]);
    }
}

async fn v1_unavailable_database_is_logged<F: Framework<D>, D: Database>(world: &World<F, D>) {
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

async fn v1_throttled_request_is_logged<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let config = Config::new().with_key_rate(RateLimit::per_minute(1));
    let instance = world.configured(config).await;
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_executed(201);
    let traces = Traces::capture();
    request.send().await.assert_problem("too-many-retries");
    assert_fields(&only(&traces), &[("outcome", "throttled"), ("key", "k")]);
}

async fn v1_own_commit_is_an_error_in_the_log<F: Framework<D>, D: Database>(world: &World<F, D>) {
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
    let scene = Scene::answering(reply.header("x-custom", "secret"));
    world.control.play([scene.clone(), scene]);
    // A header that could be recorded is worth a warning, once for the endpoint.
    for (key, warnings) in [("k", 1), ("other", 0)] {
        let traces = Traces::capture();
        let request = request.clone().key(key);
        request.send().await.assert_executed(201);
        let events = traces.events();
        let names =
            |event: &Traced, name: &str| event.fields.values().any(|value| value.contains(name));
        let logged: Vec<_> = events
            .iter()
            .filter(|event| names(event, "x-custom"))
            .collect();
        assert_eq!(logged.len(), 1);
        let warned = logged.iter().filter(|event| event.level == Level::WARN);
        assert_eq!(warned.count(), warnings);
        let cookie = events.iter().find(|event| names(event, "set-cookie"));
        assert_eq!(cookie.expect("the name is logged").level, Level::DEBUG);
        assert!(
            !format!("{events:?}").contains("secret"),
            "the value is not"
        );
    }
}
