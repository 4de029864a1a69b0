//! Spans and lines in the log.

use std::time::Duration;

use futures_util::future::select_all;
use idem_core::store::Identity;
use idem_core::{Config, IdempotencyKey, Operation, RateLimit, ReplayCache};
use idem_tests::{
    Act, Database, Fields, Framework, Reply, Scene, Traced, Traces, World, answers, conformance,
};
use tracing::Level;

use crate::n::once::{OPERATION, WORK, call};

conformance![
    traced:
    v1_execution_and_replay_leave_one_line,
    v1_scope_and_key_are_in_the_log_only_if_the_application_says_so,
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
    v1_call_without_http_leaves_one_line,
    r4_names_of_headers_left_out_are_logged,
];

const MINUTE: Duration = Duration::from_mins(1);

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

/// The beginnings of the halves of an identity of the tenant `acme`: the values of `idem.scope` and `idem.key`.
fn halves(operation: &str, key: &str) -> [String; 2] {
    let key = IdempotencyKey::parse(key.as_bytes()).expect("a key");
    let identity = Identity::new(Some("acme"), &Operation::named(operation), &key);
    let hex: String = identity
        .as_bytes()
        .map(|byte| format!("{byte:02x}"))
        .concat();
    [hex[..16].to_owned(), hex[32..48].to_owned()]
}

/// Asserts that a span is about this key of the tenant `acme`.
#[track_caller]
fn assert_about(span: &Fields, operation: &str, key: &str) {
    let [scope, key] = halves(operation, key);
    let expected = [
        ("idem.operation", operation),
        ("idem.scope", &scope),
        ("idem.key", &key),
    ];
    assert_fields(span, &expected);
}

#[track_caller]
fn only(traces: &Traces) -> Fields {
    let spans = traces.spans();
    assert_eq!(spans.len(), 1, "one span for a request: {spans:?}");
    spans[0].clone()
}

/// How old the replayed original is.
#[track_caller]
fn age(span: &Fields) -> Duration {
    let age = span
        .get("idem.replay.age")
        .expect("a replay has the age of its original");
    Duration::from_secs_f64(age.parse().expect("a number"))
}

async fn v1_execution_and_replay_leave_one_line<F: Framework<D>, D: Database>(world: &World<F, D>) {
    const OPERATION: &str = "POST /accounts/{}/effects";
    let instance = world.instance().await;
    let request = instance.post("/accounts/7/effects").key("k").effect("a");
    world.control.play([Scene::answering(Reply::new(500))]);
    for (outcome, attempt) in [("failed_retriable", "1"), ("executed", "2")] {
        let traces = Traces::capture();
        request.send().await;
        let span = only(&traces);
        assert_about(&span, OPERATION, "k");
        assert_fields(
            &span,
            &[("idem.outcome", outcome), ("idem.attempt", attempt)],
        );
        assert!(
            !span.contains_key("idem.replay.age"),
            "not a replay: {span:?}"
        );
    }
    let traces = Traces::capture();
    assert!(request.send().await.is_replay());
    let span = only(&traces);
    assert_about(&span, OPERATION, "k");
    assert_fields(&span, &[("idem.outcome", "replayed")]);
    assert!(age(&span) < MINUTE);
    let lines = traces.events().into_iter().filter(|event| {
        let span = event.span.as_ref();
        span.is_some_and(|span| span.get("idem.outcome").is_some_and(|o| o == "replayed"))
    });
    assert_eq!(lines.count(), 1, "one line with the whole span around it");
}

async fn v1_scope_and_key_are_in_the_log_only_if_the_application_says_so<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    for (config, are_logged) in [
        (Config::new(), false),
        (Config::new().with_logged_keys(), true),
    ] {
        let instance = world.configured(config).await;
        let request = instance.post("/effects").tenant("Ann Smith").effect("a");
        let traces = Traces::capture();
        request.clone().key("ann-8e03").send().await;
        request.key("ann-8e03").tenant("").send().await;
        let text = format!("{:?} {:?}", traces.spans(), traces.events());
        for secret in ["ann-8e03", "Ann Smith"] {
            assert_eq!(text.contains(secret), are_logged, "{text}");
        }
        if are_logged {
            let expected = [("idem.scope", "Ann Smith"), ("idem.key", "ann-8e03")];
            assert_fields(&traces.spans()[0], &expected);
        }
    }
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
    assert_about(&span, "POST /effects", "k");
    assert_fields(&span, &[("idem.outcome", "replayed")]);
    let expected = Duration::from_millis(50)..MINUTE;
    assert!(expected.contains(&age(&span)), "{span:?}");
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
        let span = spans.iter().find(|span| span["idem.outcome"] == outcome);
        span.unwrap_or_else(|| panic!("no {outcome}: {spans:?}"))
    };
    for outcome in ["in_flight", "waited"] {
        assert_about(span(outcome), "POST /patient", "k");
    }
    assert_fields(span("in_flight"), &[("error.type", "in-flight")]);
    assert!(age(span("waited")) < MINUTE, "{spans:?}");
    assert!(!span("waited").contains_key("error.type"), "{spans:?}");
    assert!(
        !span("in_flight").contains_key("idem.replay.age"),
        "{spans:?}"
    );
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
        assert!((AGE..MINUTE).contains(&age(span)), "{spans:?}");
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
    for (key, outcome, error) in [
        ("k1", "failed_final", None),
        ("k2", "failed_retriable", None),
        ("k3", "failed_retriable", Some("handler-panicked")),
        ("k4", "failed_final", Some("transaction-lost")),
    ] {
        let traces = Traces::capture();
        request.clone().key(key).send().await;
        let span = only(&traces);
        assert_about(&span, "POST /effects", key);
        assert_fields(&span, &[("idem.outcome", outcome), ("idem.attempt", "1")]);
        assert_eq!(span.get("error.type").map(String::as_str), error);
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
    let span = only(&traces);
    assert_about(&span, "POST /effects", "k");
    assert_fields(
        &span,
        &[("idem.outcome", "mismatch"), ("error.type", "key-reused")],
    );
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
        let expected = [("idem.outcome", "rejected"), ("error.type", problem)];
        assert_fields(&only(&traces), &expected);
    }
}

async fn v1_unavailable_database_is_logged<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    instance.pool.close().await;
    let traces = Traces::capture();
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_problem("unavailable");
    let span = only(&traces);
    assert_about(&span, "POST /effects", "k");
    assert_fields(&span, &[("idem.outcome", "unavailable")]);
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
    let span = only(&traces);
    assert_about(&span, "POST /effects", "k");
    assert_fields(
        &span,
        &[
            ("idem.outcome", "throttled"),
            ("error.type", "too-many-retries"),
        ],
    );
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
    assert_about(&span.expect("inside the request"), "POST /effects", "k");
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

async fn v1_call_without_http_leaves_one_line<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    world.control.play([Scene::answering(Reply::new(500))]);
    for outcome in ["failed_retriable", "executed", "replayed"] {
        let traces = Traces::capture();
        drop(call(world, &instance, &WORK, "a").await);
        let span = only(&traces);
        assert_about(&span, OPERATION, "k");
        assert_fields(&span, &[("idem.outcome", outcome)]);
        let is_replay = outcome == "replayed";
        assert_eq!(span.contains_key("idem.replay.age"), is_replay);
        let events = traces.events();
        let lines = events
            .iter()
            .filter(|event| event.fields.contains_key("status"));
        assert_eq!(lines.count(), 1, "{events:?}");
    }
}
