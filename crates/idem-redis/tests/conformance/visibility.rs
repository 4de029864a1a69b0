//! V: visibility.

use idem_core::store::Identity;
use idem_core::{Config, IdempotencyKey, Operation, RateLimit};
use idem_tests::{Act, Fields, Metrics, Reply, Scene, Traces, answers};
use tracing::Level;

use crate::server::{Private, until};
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    traced:
    v1_each_request_leaves_one_span_and_one_line,
    v1_scope_and_key_are_logged_only_if_the_application_says_so,
    v1_t11_t13_errors_of_steps_are_logged_in_their_span,
    v2_requests_and_steps_are_counted,
];

/// Asserts that these fields of a span have these values.
#[track_caller]
fn assert_fields(span: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let field = span.get(name).map(String::as_str);
        assert_eq!(field, Some(*value), "{name}: {span:?}");
    }
}

/// The values of `idem.scope` and `idem.key` of the tenant `acme`.
fn halves(operation: &str, key: &str) -> [String; 2] {
    let key = IdempotencyKey::parse(key.as_bytes()).expect("a key");
    let identity = Identity::new(Some("acme"), &Operation::named(operation), &key);
    let hex = identity
        .as_bytes()
        .map(|byte| format!("{byte:02x}"))
        .concat();
    [hex[..16].to_owned(), hex[32..48].to_owned()]
}

async fn v1_each_request_leaves_one_span_and_one_line<F: Framework>(world: &World<F>) {
    let rate = RateLimit::per_minute(1).with_burst(6);
    let instance = world.configured(Config::new().with_key_rate(rate)).await;
    let request = instance.post("/effects").effect("a");
    let with = |key: &str| request.clone().key(key);
    let mut server = Private::start();
    let down = world.on(&server, Config::new());
    server.kill();
    world.control.play([
        Scene::answering(Reply::new(500)),
        Scene::effect(),
        Scene::answering(Reply::new(422)),
        Scene::new([Act::Panic]),
    ]);
    let elsewhere = with("k").to(down.address);
    for (request, key, outcome, attempt, problem) in [
        (with("k"), Some("k"), "failed_retriable", Some("1"), None),
        (with("k"), Some("k"), "executed", Some("2"), None),
        (with("k"), Some("k"), "replayed", None, None),
        (
            with("k").effect("b"),
            Some("k"),
            "mismatch",
            None,
            Some("key-reused"),
        ),
        (with("k2"), Some("k2"), "failed_final", Some("1"), None),
        (
            with("k3"),
            Some("k3"),
            "failed_retriable",
            Some("1"),
            Some("handler-panicked"),
        ),
        (with("a b"), None, "rejected", None, Some("key-malformed")),
        (
            with("k").tenant(""),
            None,
            "rejected",
            None,
            Some("misconfigured"),
        ),
        (
            elsewhere,
            Some("k"),
            "unavailable",
            None,
            Some("unavailable"),
        ),
    ] {
        let traces = Traces::capture();
        let answer = request.send().await;
        let spans = traces.spans();
        let [span] = &spans[..] else {
            panic!("one span for a request: {spans:?}");
        };
        assert_fields(span, &[("idem.outcome", outcome)]);
        if let Some(key) = key {
            let [scope, key] = halves("POST /effects", key);
            let of = [
                ("idem.operation", "POST /effects"),
                ("idem.scope", &scope),
                ("idem.key", &key),
            ];
            assert_fields(span, &of);
        }
        for (name, value) in [("idem.attempt", attempt), ("error.type", problem)] {
            assert_eq!(
                span.get(name).map(String::as_str),
                value,
                "{name}: {span:?}"
            );
        }
        assert_eq!(span.contains_key("idem.replay.age"), outcome == "replayed");
        let events = traces.events();
        let status = answer.status.to_string();
        let lines = events
            .iter()
            .filter(|event| event.fields.get("status") == Some(&status));
        assert_eq!(lines.count(), 1, "{events:?}");
        if outcome == "unavailable" {
            let is_told = events.iter().any(|event| event.level <= Level::WARN);
            assert!(is_told, "the log says why: {events:?}");
        }
    }
    // The burst.
    for _ in 0..2 {
        with("k").send().await;
    }
    let traces = Traces::capture();
    with("k")
        .send()
        .await
        .assert_problem_of_steps("too-many-retries");
    assert_fields(&traces.spans()[0], &[("idem.outcome", "throttled")]);
}

async fn v1_scope_and_key_are_logged_only_if_the_application_says_so<F: Framework>(
    world: &World<F>,
) {
    for (config, are_logged) in [
        (Config::new(), false),
        (Config::new().with_logged_keys(), true),
    ] {
        let instance = world.configured(config).await;
        let request = instance
            .post("/effects")
            .tenant("Ann Smith")
            .key("ann-8e03")
            .effect("a");
        let traces = Traces::capture();
        assert_eq!(request.send().await.status, 201);
        let text = format!("{:?} {:?}", traces.spans(), traces.events());
        for secret in ["ann-8e03", "Ann Smith"] {
            assert_eq!(text.contains(secret), are_logged, "{text}");
        }
    }
}

async fn v1_t11_t13_errors_of_steps_are_logged_in_their_span<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let logged = |traces: &Traces, level: Level, text: &str| {
        let events = traces.events();
        let said = events.iter().find(|event| event.level == level);
        let said = said.unwrap_or_else(|| panic!("nothing at {level}: {events:?}"));
        assert!(
            said.fields.values().any(|value| value.contains(text)),
            "{said:?}"
        );
        let span = said.span.as_ref().expect("inside the request");
        assert_fields(span, &[("idem.operation", "ride")]);
    };
    let traces = Traces::capture();
    let twice = instance
        .post("/ride/1")
        .key("twice")
        .effect("swallows")
        .send()
        .await;
    twice.assert_problem_of_steps("misconfigured");
    logged(&traces, Level::ERROR, "the name is used twice");
    let before = instance.post("/ride/1").key("k").effect("a");
    world
        .control
        .play([Scene::effect(), Scene::answering(Reply::new(500))]);
    before.send().await.assert_executed(500);
    let traces = Traces::capture();
    let after = instance.post("/ride/2").key("k").effect("a").send().await;
    after.assert_executed(201);
    assert_eq!(after.text(), "5", "a step with a new name is a new step");
    logged(&traces, Level::WARN, "\"ride\"");
}

async fn v2_requests_and_steps_are_counted<F: Framework>(world: &World<F>) {
    let (instance, other) = (world.instance().await, world.instance().await);
    let request = instance.post("/patient").effect("a");
    let with = |key: &str| request.clone().key(key);
    world.control.play([Scene::gated()]);
    let first = with("k").start();
    world.control.at_gate(1).await;
    let waiters = vec![with("k").start(), with("k").start()];
    let wait = async || Metrics::lines("idem_waiters") == ["idem_waiters 2"];
    until("both are counted", wait).await;
    assert_eq!(Metrics::lines("idem_in_flight"), ["idem_in_flight 1"]);
    world.control.open(1);
    first.answer().await.assert_executed(201);
    for waiter in answers(waiters).await {
        assert!(waiter.is_replay());
    }
    assert!(with("k").send().await.is_replay());
    with("k")
        .effect("b")
        .send()
        .await
        .assert_problem("key-reused");
    // One step, which is resumed.
    world
        .control
        .play([Scene::answering(Reply::new(500)), Scene::effect()]);
    with("k2").send().await.assert_executed(500);
    with("k2")
        .to(other.address)
        .send()
        .await
        .assert_executed(201);
    let uncertain = Scene::effect().answer(Reply::new(503));
    world.control.play([uncertain.clone(), uncertain]);
    let sms = instance.post("/sms").key("k").effect("a");
    sms.send().await.assert_executed(503);
    sms.send().await.assert_problem("step-uncertain");
    let line = |operation: &str, outcome: &str, error: &str, count: u32| {
        format!(
            "idem_requests_total{{operation=\"POST /{operation}\",outcome=\"{outcome}\",\
             error_type=\"{error}\"}} {count}"
        )
    };
    let expected = [
        line("patient", "executed", "", 2),
        line("patient", "failed_retriable", "", 1),
        line("patient", "mismatch", "key-reused", 1),
        line("patient", "replayed", "", 1),
        line("patient", "waited", "", 2),
        line("sms", "failed_retriable", "", 1),
        line("sms", "failed_retriable", "step-uncertain", 1),
    ];
    assert_eq!(Metrics::lines("idem_requests_total"), expected);
    let steps = [
        r#"idem_steps_total{kind="call",resumed="false"} 3"#,
        r#"idem_steps_total{kind="call",resumed="true"} 1"#,
    ];
    assert_eq!(Metrics::lines("idem_steps_total"), steps);
    let failed = r#"idem_steps_failed_total{error_type="step-uncertain"} 1"#;
    assert_eq!(Metrics::lines("idem_steps_failed_total"), [failed]);
    assert_eq!(
        Metrics::lines("idem_runs_resumed_total"),
        ["idem_runs_resumed_total 2"]
    );
    for gauge in ["idem_in_flight", "idem_waiters"] {
        assert_eq!(Metrics::lines(gauge), [format!("{gauge} 0")]);
    }
    for metric in ["claim", "settle"] {
        let lines = Metrics::lines(&format!("idem_{metric}_duration_seconds_count"));
        let is_of_store = |line: &String| line.contains("{store=\"StepStore\"}");
        assert!(
            lines.len() == 1 && lines.iter().all(is_of_store),
            "{lines:?}"
        );
    }
}
