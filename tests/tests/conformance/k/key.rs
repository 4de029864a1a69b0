//! The key.

use idem_core::Config;
use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    k1_header_name_has_no_case,
    k1_header_can_have_another_name,
    k2_bare_and_quoted_keys_are_the_same,
    k2_bare_key_is_taken_whole,
    k3_key_of_255_characters_is_accepted_and_256_refused,
    k3_key_is_never_truncated,
    k3_visible_characters_except_three_are_allowed,
    k4_missing_key_is_refused,
    k4_missing_key_is_refused_with_the_name_of_the_header,
    k4_malformed_key_is_refused,
    k4_two_header_lines_are_refused,
    k5_key_is_checked_before_any_extractor,
    k5_rejected_key_costs_no_database_call,
    k6_without_the_optional_key_requests_run_unrecorded,
    k6_without_the_optional_key_the_commit_rules_hold,
    k6_optional_key_that_is_malformed_is_refused,
    k6_optional_key_that_is_sent_is_recorded,
];

async fn k1_header_name_has_no_case<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    let first = request.clone().header("Idempotency-Key", "k").send().await;
    first.assert_executed(201);
    for name in ["idempotency-key", "IDEMPOTENCY-KEY", "iDeMpOtEnCy-kEy"] {
        let replay = request.clone().header(name, "k").send().await;
        replay.assert_replays(&first);
    }
}

async fn k1_header_can_have_another_name<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let config = Config::new().try_with_header("X-Request-Token");
    let instance = world.configured(config.expect("a header name")).await;
    let request = instance.post("/effects").effect("a");
    let named = request.clone().header("x-request-token", "k");
    let first = named.send().await;
    first.assert_executed(201);
    named.send().await.assert_replays(&first);
    request.key("k").send().await.assert_problem("key-missing");
}

async fn k2_bare_and_quoted_keys_are_the_same<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    let first = request.clone().key("8e03978e-40d5").send().await;
    first.assert_executed(201);
    for quoted in [
        r#""8e03978e-40d5""#,
        r#""8e03978e-40d5";v=1"#,
        r#""8e03978e-40d5"; a; b="c""#,
    ] {
        let replay = request.clone().key(quoted).send().await;
        replay.assert_replays(&first);
    }
    assert_eq!(world.records().await, 1);
}

async fn k2_bare_key_is_taken_whole<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    for key in ["k", "k;v=1", "k;v=2"] {
        request.clone().key(key).send().await.assert_executed(201);
    }
    let keys: Vec<_> = world.control.visits().into_iter().map(|v| v.key).collect();
    let sent = ["k", "k;v=1", "k;v=2"].map(|key| Some(key.to_owned()));
    assert_eq!(keys, sent);
}

async fn k3_key_of_255_characters_is_accepted_and_256_refused<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    let longest = "k".repeat(255);
    let first = request.clone().key(&longest).send().await;
    first.assert_executed(201);
    let quoted = format!(r#""{longest}""#);
    let replay = request.clone().key(quoted).send().await;
    replay.assert_replays(&first);
    for too_long in [format!("{longest}k"), format!(r#""{longest}k""#)] {
        let refused = request.clone().key(too_long).send().await;
        refused.assert_problem("key-malformed");
    }
    request.key("k").send().await.assert_executed(201);
}

async fn k3_key_is_never_truncated<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    let long = "k".repeat(254);
    for last in ["a", "b", ""] {
        let key = format!("{long}{last}");
        request.clone().key(key).send().await.assert_executed(201);
    }
}

async fn k3_visible_characters_except_three_are_allowed<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    for character in b'!'..=b'~' {
        let key = [b'k', character, b'k'];
        let answer = request.clone().key(key).send().await;
        if matches!(character, b',' | b'"' | b'\\') {
            answer.assert_problem("key-malformed");
        } else {
            answer.assert_executed(201);
        }
    }
}

async fn k4_missing_key_is_refused<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    request.send().await.assert_problem("key-missing");
    assert_eq!(world.control.entries(), 0);
    assert_eq!(world.records().await, 0);
}

async fn k4_missing_key_is_refused_with_the_name_of_the_header<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let config = Config::new().try_with_header("X-Request-Token");
    let renamed = world.configured(config.expect("a header name")).await;
    for (instance, named, other) in [
        (world.instance().await, "idempotency-key", "x-request-token"),
        (renamed, "x-request-token", "idempotency-key"),
    ] {
        let refused = instance.post("/effects").effect("a").send().await;
        refused.assert_problem("key-missing");
        let detail = refused.text().to_lowercase();
        assert!(detail.contains(named), "{detail}");
        assert!(!detail.contains(other), "{detail}");
    }
}

async fn k4_malformed_key_is_refused<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let malformed: [&[u8]; 19] = [
        b"",
        b"\"\"",
        b"a b",
        b"a\tb",
        b"\"a b\"",
        b"a,b",
        b"\"a\",\"b\"",
        b"\"a\", \"b\"",
        b"\"a,b\"",
        b"\"a",
        b"a\"",
        b"\"a\" b",
        b"\"a\";=",
        b"\"a\\\\b\"",
        b"\"a\\\"b\"",
        b"a\\b",
        b"caf\xc3\xa9",
        b"\"caf\xc3\xa9\"",
        b"\xff",
    ];
    let request = world.instance().await.post("/effects").effect("a");
    for key in malformed {
        let answer = request.clone().key(key).send().await;
        answer.assert_problem("key-malformed");
    }
    assert_eq!(world.control.entries(), 0);
    assert_eq!(world.records().await, 0);
}

async fn k4_two_header_lines_are_refused<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a").key("k");
    for second in ["k", "other", r#""k""#, ""] {
        let doubled = request.clone().header("Idempotency-Key", second);
        doubled.send().await.assert_problem("key-malformed");
    }
    assert_eq!(world.control.entries(), 0);
}

async fn k5_key_is_checked_before_any_extractor<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").json("no JSON");
    let request = request.without("x-tenant");
    request.send().await.assert_problem("key-missing");
    let malformed = request.clone().key("a b");
    malformed.send().await.assert_problem("key-malformed");
    assert_eq!(world.control.extractions(), 0);
    assert_eq!(request.key("k").send().await.status, 401);
    assert_eq!(world.control.extractions(), 1);
}

async fn k5_rejected_key_costs_no_database_call<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    instance.pool.close().await;
    let request = instance.post("/effects").effect("a");
    request.send().await.assert_problem("key-missing");
    let malformed = request.clone().key("a b");
    malformed.send().await.assert_problem("key-malformed");
    request.key("k").send().await.assert_problem("unavailable");
}

async fn k6_without_the_optional_key_requests_run_unrecorded<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/optional").effect("a");
    for _ in 0..2 {
        let answer = request.send().await;
        answer.assert_executed(201);
        assert_eq!(answer.expires(), None);
    }
    assert_eq!(world.effects("acme").await, 2);
    assert_eq!(world.records().await, 0);
    let visit = &world.control.visits()[0];
    assert_eq!((&visit.key, &visit.downstream), (&None, &[None, None]));
}

async fn k6_without_the_optional_key_the_commit_rules_hold<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/optional").effect("a");
    world.control.play([
        Scene::new([Act::Insert, Act::AfterCommit]).answer(Reply::new(422)),
        Scene::answering(Reply::new(500)),
        Scene::new([Act::Insert, Act::Panic]),
        Scene::new([Act::run("COMMIT")]),
        Scene::new([Act::AfterCommit]),
    ]);
    assert_eq!(request.send().await.status, 422);
    assert_eq!(request.send().await.status, 500);
    request.send().await.assert_problem("handler-panicked");
    request.send().await.assert_problem("transaction-lost");
    assert_eq!(world.effects("acme").await, 0);
    assert_eq!(world.control.commits(), 0);
    request.send().await.assert_executed(201);
    world.control.committed(1).await;
    assert_eq!(world.records().await, 0);
}

async fn k6_optional_key_that_is_malformed_is_refused<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/optional").effect("a");
    for key in ["", "a b", "a,b"] {
        let answer = request.clone().key(key).send().await;
        answer.assert_problem("key-malformed");
    }
    assert_eq!(world.control.entries(), 0);
}

async fn k6_optional_key_that_is_sent_is_recorded<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/optional").effect("a");
    let request = request.key("k");
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}
