//! What is counted and measured (rule V2), as Prometheus gets it.

use metrics::{LocalRecorderGuard, set_default_local_recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::attempt::Attempt;
use crate::engine::Prepared;
use crate::key::IdempotencyKey;
use crate::metrics::{AGE_BUCKETS, DURATION_BUCKETS, REPLAY_AGE};
use crate::operation::Operation;
use crate::record::Unreadable;
use crate::store::StoreError;

/// The metrics of one test's thread.
struct Meter {
    handle: PrometheusHandle,
    _guard: LocalRecorderGuard<'static>,
}

impl Meter {
    fn install() -> Self {
        let builder = PrometheusBuilder::new().with_recommended_naming(true);
        let builder = builder.set_buckets(DURATION_BUCKETS).unwrap();
        let age = Matcher::Full(REPLAY_AGE.to_owned());
        let builder = builder.set_buckets_for_metric(age, AGE_BUCKETS).unwrap();
        let recorder: &'static PrometheusRecorder = Box::leak(Box::new(builder.build_recorder()));
        Self {
            handle: recorder.handle(),
            _guard: set_default_local_recorder(recorder),
        }
    }

    /// The lines of a metric, without its name, in order.
    fn lines(&self, metric: &str) -> Vec<String> {
        let text = self.handle.render();
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
        let lines = lines.filter(|rest| rest.starts_with(['{', ' ']));
        let mut lines: Vec<_> = lines.map(|rest| rest.trim().to_owned()).collect();
        lines.sort();
        lines
    }

    #[track_caller]
    fn is(&self, metric: &str, lines: &[&str]) {
        assert_eq!(self.lines(metric), lines, "{metric}");
    }
}

/// The counter's line for answers of the operation `test`.
fn answers(outcome: &str, error: &str, count: u32) -> String {
    format!("{{operation=\"test\",outcome=\"{outcome}\",error_type=\"{error}\"}} {count}")
}

#[tokio::test(start_paused = true)]
async fn v2_outcomes_are_counted_exactly() {
    let meter = Meter::install();
    let key = || request(Some("k"), &IMPATIENT);
    let wins = || Engine::new(Script::default().wins());
    let reads = |record| Engine::new(Script::default().changed(record));
    let fails = |error| Engine::new(Script::default().claims(Err(error)));
    for status in [201, 302, 404, 500, 503] {
        ask_for(&wins(), key(), status).await;
    }
    for _ in 0..2 {
        ask_for(&reads(record(State::Succeeded)), key(), 201).await;
    }
    let other = request_with(b"other", Some("k"), &IMPATIENT);
    ask_for(&reads(record(State::Succeeded)), other, 201).await;
    ask_for(&reads(record(State::Ended)), key(), 201).await;
    ask_for(&Engine::new(Script::default()), key(), 201).await;
    ask_for(&fails(unavailable()), key(), 201).await;
    ask_for(&fails(misconfigured()), key(), 201).await;
    let refused = Engine::new(Script::default().wins().settles_unwritten(refused()));
    ask_for(&refused, key(), 201).await;
    let panics = async |_attempt| panic!("the handler panics");
    run(&wins(), key(), panics).await;
    let drained = wins();
    drained.drain().await;
    ask_for(&drained, key(), 201).await;
    let operation = Operation::of_route("MADE-UP", "/a/{id}");
    super::super::refuse(&wins(), Problem::Misconfigured, Some(&operation), None);
    super::super::refuse(&wins(), Problem::KeyMissing, None, None);
    let mut expected = [
        answers("executed", "", 2),
        answers("failed_final", "", 1),
        answers("failed_final", "transaction-lost", 1),
        answers("failed_retriable", "", 2),
        answers("failed_retriable", "handler-panicked", 1),
        answers("failed_retriable", "try-again", 1),
        answers("in_flight", "in-flight", 1),
        answers("mismatch", "key-reused", 1),
        answers("rejected", "misconfigured", 1),
        answers("replayed", "", 2),
        answers("unavailable", "unavailable", 2),
        answers("rejected", "misconfigured", 1).replace("test", "other /a/{}"),
        answers("rejected", "key-missing", 1).replace("test", "unknown"),
    ];
    expected.sort();
    assert_eq!(meter.lines("idem_requests_total"), expected);
    let durations = meter.lines("idem_request_duration_seconds_count");
    assert!(durations.contains(&r#"{operation="test",outcome="replayed"} 2"#.to_owned()));
    meter.is(
        "idem_handler_duration_seconds_count",
        &[r#"{operation="test"} 7"#],
    );
    meter.is(
        "idem_claim_duration_seconds_count",
        &[r#"{store="Script"} 14"#],
    );
    meter.is(
        "idem_settle_duration_seconds_count",
        &[r#"{store="Script"} 7"#],
    );
    meter.is(
        "idem_replay_age_seconds_sum",
        &[r#"{operation="test"} 120"#],
    );
    let ages = meter.lines("idem_replay_age_seconds_bucket");
    assert_eq!(ages.len(), AGE_BUCKETS.len() + 1, "{ages:?}");
    meter.is("idem_in_flight", &["0"]);
}

#[tokio::test(start_paused = true)]
async fn v2_waiters_and_requests_in_flight_are_gauged_until_they_end() {
    let meter = Meter::install();
    let engine = Engine::new(Script::default().wins().wins().wins());
    meter.is("idem_in_flight", &[]);
    let spawn = |tasks: &mut JoinSet<Response>, key| {
        let engine = engine.clone();
        tasks.spawn(async move {
            let slow = async |attempt: Attempt| {
                sleep(SECOND / 2).await;
                answered(201, &attempt)
            };
            run(&engine, request(Some(key), &POLICY), slow).await
        });
    };
    let (mut stay, mut leave) = (JoinSet::new(), JoinSet::new());
    for key in ["k", "k", "k", "other"] {
        spawn(&mut stay, key);
    }
    spawn(&mut leave, "third");
    spawn(&mut leave, "k");
    sleep(MILLISECOND).await;
    meter.is("idem_in_flight", &["3"]);
    meter.is("idem_waiters", &["3"]);
    leave.shutdown().await;
    meter.is("idem_in_flight", &["2"]);
    meter.is("idem_waiters", &["2"]);
    engine.drain().await;
    meter.is("idem_in_flight", &["0"]);
    stay.join_all().await;
    meter.is("idem_waiters", &["0"]);
    let waited = answers("waited", "", 2);
    assert!(meter.lines("idem_requests_total").contains(&waited));
}

#[tokio::test(start_paused = true)]
async fn v2_lost_transactions_and_unknown_commits_are_counted() {
    let meter = Meter::install();
    let wins = || Script::default().wins();
    for script in [
        wins().settles_unwritten(aborted()),
        wins().settles_unwritten(SettleError::Ended),
        wins().settles_unwritten(SettleError::Ended),
        // Its own record is found: it was committed.
        wins().settles(unknown()).changed(ours()),
        // The identity stays in flight, so nothing is learned.
        wins().settles(unknown()),
    ] {
        ask(&Engine::new(script), &POLICY, 201).await;
    }
    let lost = [
        r#"{operation="test",kept="false"} 1"#,
        r#"{operation="test",kept="maybe"} 2"#,
    ];
    meter.is("idem_transactions_lost_total", &lost);
    let unknown = [r#"{resolved="false"} 1"#, r#"{resolved="true"} 1"#];
    meter.is("idem_commits_unknown_total", &unknown);
}

#[tokio::test]
async fn v2_the_cache_and_the_purge_are_measured() {
    let meter = Meter::install();
    let config = Config::new().with_replay_cache(ReplayCache::new(1 << 20, HOUR));
    let engine = Engine::with_config(Script::default().wins(), config);
    for _ in 0..3 {
        ask(&engine, &POLICY, 201).await;
    }
    let asked = [r#"{hit="false"} 1"#, r#"{hit="true"} 2"#];
    meter.is("idem_cache_requests_total", &asked);
    let bytes = |meter: &Meter| -> f64 { meter.lines("idem_cache_bytes")[0].parse().unwrap() };
    assert!(bytes(&meter) > 0.0);
    engine.purge_expired().await.unwrap();
    meter.is("idem_records_purged_total", &["0"]);
    let completed = meter.lines("idem_purge_completed_timestamp_seconds");
    assert!(completed[0].parse::<f64>().unwrap() > 1e9);
    engine.erase(Some("acme")).await.unwrap();
    assert!(bytes(&meter).abs() < 0.5);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn v2_steps_are_counted() {
    use crate::State;
    use crate::steps::StepError;
    use crate::steps::tests::Bench;
    use crate::store::Claim as _;

    let meter = Meter::install();
    let bench = Bench::new().await;
    let one = async |_| Ok::<_, StepError>(1);
    let mut claim = bench.first().await;
    claim.connection().call("a", one).await.unwrap();
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    let mut claim = bench.next().await;
    let steps = claim.connection();
    steps.call("a", one).await.unwrap();
    let done = steps.commit("b", async |_| Ok::<_, StepError>(2));
    done.await.unwrap();
    steps.call("a", one).await.unwrap_err();
    let steps = [
        r#"{kind="call",resumed="false"} 1"#,
        r#"{kind="call",resumed="true"} 1"#,
        r#"{kind="commit",resumed="false"} 1"#,
    ];
    meter.is("idem_steps_total", &steps);
    let failed = r#"{error_type="misconfigured"} 1"#;
    meter.is("idem_steps_failed_total", &[failed]);
    meter.is("idem_runs_resumed_total", &["1"]);
}

#[tokio::test]
async fn v2_no_label_has_a_key_or_a_scope() {
    let meter = Meter::install();
    let engine = Engine::new(Script::default().wins().changed(record(State::Succeeded)));
    let key = IdempotencyKey::parse(b"secret-key").unwrap();
    for _ in 0..2 {
        let scope = Some("secret-scope".to_owned());
        let operation = Operation::of_route("POST", "/a/{secret-name}");
        let fingerprint = fingerprint(b"body");
        let request = Prepared::new(&POLICY, scope, operation, Some(key.clone()), fingerprint);
        ask_for(&engine, request, 201).await;
    }
    let text = meter.handle.render();
    assert!(text.contains(r#"operation="POST /a/{}""#), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

/// The name that a text begins with.
fn name(text: &str) -> &str {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.split(|character| !is_part(character)).next().unwrap()
}

/// Names the metrics, labels and values in the expressions of `text` that the rendering doesn't have.
fn unknown_names(text: &str, rendered: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    let samples = rendered.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<_> = samples.collect();
    let of = |metric: &str| -> String {
        let is_of = |sample: &&&str| sample.split(['{', ' ']).next() == Some(metric);
        samples.iter().filter(is_of).copied().collect()
    };
    for (at, _) in text.match_indices("idem_") {
        let metric = name(&text[at..]);
        let (sample, rest) = (of(metric), &text[at + metric.len()..]);
        if sample.is_empty() {
            unknown.push(metric.to_owned());
        }
        let Some((matchers, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
        else {
            continue;
        };
        for matcher in matchers.split(',') {
            let matcher = matcher.trim();
            let label = name(matcher);
            let values = matcher.split('"').nth(1).unwrap().split('|');
            let mut values = values.filter(|value| *value != "$operation");
            let has = |value: &str| sample.contains(&format!("{label}=\"{value}\""));
            if !sample.contains(&format!("{label}=\"")) || !values.all(has) {
                unknown.push(format!("{metric}{{{matcher}}}"));
            }
        }
    }
    let (by, legends) = (text.split("by (").skip(1), text.split("{{").skip(1));
    let labels = by.flat_map(|by| by.split(')').next().unwrap().split(", "));
    // Prometheus itself adds `instance`.
    let labels = labels
        .chain(legends.map(name))
        .filter(|label| *label != "instance");
    for label in labels {
        if !rendered.contains(&format!("{label}=\"")) {
            unknown.push(label.to_owned());
        }
    }
    unknown
}

#[tokio::test(start_paused = true)]
async fn v2_dashboard_and_alerts_name_only_what_is_recorded() {
    let meter = Meter::install();
    let config = || Config::new().with_replay_cache(ReplayCache::new(1 << 20, HOUR));
    let wins = || Script::default().wins();
    for script in [
        wins(),
        wins().settles_unwritten(aborted()),
        wins().settles_unwritten(SettleError::Ended),
        wins().settles(unknown()).changed(ours()),
        wins().settles(unknown()),
        Script::default(),
        Script::default().changed(record(State::Succeeded)).slowly(),
        Script::default().claims(Err(unavailable())),
        Script::default().claims(Err(misconfigured())),
        Script::default().claims(Err(StoreError::Unreadable(Unreadable("test")))),
    ] {
        let engine = Engine::with_config(script, config());
        let duplicates = [(); 2].map(|()| ask(&engine, &POLICY, 201));
        futures_util::future::join_all(duplicates).await;
        let other = request_with(b"other", Some("k"), &POLICY);
        ask_for(&engine, other, 201).await;
        engine.purge_expired().await.unwrap();
    }
    let slow = async |attempt: Attempt| {
        sleep(MILLISECOND).await;
        answered(201, &attempt)
    };
    let engine = Engine::new(wins());
    let waiting = [(); 2].map(|()| run(&engine, request(Some("k"), &POLICY), slow));
    futures_util::future::join_all(waiting).await;
    crate::meter::step("call", false);
    crate::meter::step_failed(Problem::StepUncertain);
    crate::meter::run_resumed();
    let rendered = meter.handle.render();
    for file in ["grafana.json", "alerts.yaml"] {
        let path = format!("{}/../docs/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap().replace("\\\"", "\"");
        let text = text.replace("{{ $labels.", "{{");
        assert!(text.matches("idem_").count() > 10, "{file} is read");
        assert_eq!(
            unknown_names(&text, &rendered),
            [""; 0],
            "{file}\n{rendered}"
        );
    }
    // The check itself finds what is wrong.
    let wrong = r#"sum by (le, store) (idem_requests_total{outcome=~"executed|waitd", sort="a"}) idem_no {{sort}}"#;
    let found = unknown_names(wrong, &rendered);
    assert_eq!(found.len(), 4, "{found:?}");
}
