//! The key.

use idem_core::{Config, KeyRule};
use idem_tests::{Act, Answer, Database, Framework, Reply, Request, Scene, World, conformance};

conformance![
    k1_header_name_has_no_case,
    k1_header_can_have_another_name,
    k1_key_is_in_a_field_of_a_form,
    k1_key_is_in_the_path_or_the_query,
    k1_key_is_in_the_endpoints_own_headers,
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
    k5_key_of_an_argument_is_checked_after_the_extractors,
    k6_without_the_optional_key_requests_run_unrecorded,
    k6_without_the_optional_key_the_commit_rules_hold,
    k6_optional_key_that_is_malformed_is_refused,
    k6_optional_key_that_is_sent_is_recorded,
    k6_optional_key_of_a_form_can_be_left_out,
    k7_key_that_breaks_a_rule_is_refused_wherever_it_comes_from,
    k8_without_protection_a_retry_runs_again,
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

const FORM: &str = "application/x-www-form-urlencoded";

/// Asserts that the request is refused, and that the detail says `named`.
fn assert_refused(answer: &Answer, problem: &str, named: &str) {
    answer.assert_problem(problem);
    let detail = answer.text();
    assert!(detail.contains(named), "{detail}");
}

async fn k1_key_is_in_a_field_of_a_form<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/keyed-form");
    let send = async |form: &str| request.clone().body(FORM, form).send().await;
    let first = send("label=a&idempotency_key=8e03%3Bv%3D1").await;
    first.assert_executed(201);
    let again = send("idempotency_key=8e03%3Bv%3D1&label=a").await;
    again.assert_replays(&first);
    let other = send("label=b&idempotency_key=8e03%3Bv%3D1").await;
    other.assert_problem("key-reused");
    send("label=a&idempotency_key=8e04")
        .await
        .assert_executed(201);
    // The value is taken whole, and the header doesn't count.
    let with_header = request.clone().key("k").body(FORM, "label=a").send().await;
    assert_refused(
        &with_header,
        "key-missing",
        "in the field `idempotency_key`",
    );
    for value in ["", "%228e03%22", "+8e03", "8e03%0A", "8,03", "caf%C3%A9"] {
        let refused = send(&format!("label=a&idempotency_key={value}")).await;
        assert_refused(&refused, "key-malformed", "in the field `idempotency_key`");
    }
    let keys: Vec<_> = world.control.visits().into_iter().map(|v| v.key).collect();
    assert_eq!(keys, ["8e03;v=1", "8e04"].map(|key| Some(key.to_owned())));
    assert_eq!(world.records().await, 2);
}

async fn k1_key_is_in_the_path_or_the_query<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    for (target, other) in [
        ("/keyed-path/8e03", "/keyed-path/8e04"),
        ("/keyed-query?token=7", "/keyed-query?token=8"),
    ] {
        let first = instance.post(target).send().await;
        first.assert_executed(201);
        instance.post(target).send().await.assert_replays(&first);
        instance.post(other).send().await.assert_executed(201);
    }
    let refused = instance.post("/keyed-path/8e%2003").send().await;
    assert_refused(&refused, "key-malformed", "in the field `order`");
    assert_eq!(world.control.entries(), 4);
}

async fn k1_key_is_in_the_endpoints_own_headers<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/webhook").effect("a");
    let first = request.clone().header("webhook-id", "k").send().await;
    first.assert_executed(201);
    let github = request.clone().header("x-github-delivery", "\"k\"");
    github.send().await.assert_replays(&first);
    // The first header of the list that is there has the key, and no other is looked at.
    let both = github.clone().header("webhook-id", "other");
    both.send().await.assert_replays(&first);
    let bad = request.clone().header("x-github-delivery", "a b");
    let bad = bad.header("webhook-id", "k").send().await;
    let named = "in the header `x-github-delivery` or `webhook-id`";
    assert_refused(&bad, "key-malformed", named);
    let twice = github.clone().header("x-github-delivery", "k").send().await;
    assert_refused(&twice, "key-malformed", named);
    let missing = request.clone().key("k").send().await;
    assert_refused(&missing, "key-missing", named);
    assert_eq!(world.control.entries(), 1);
    // K5 holds for these headers too.
    let extractions = world.control.extractions();
    let stranger = request.without("x-tenant").send().await;
    assert_refused(&stranger, "key-missing", named);
    assert_eq!(world.control.extractions(), extractions);
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

async fn k5_key_of_an_argument_is_checked_after_the_extractors<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    instance.pool.close().await;
    let request = instance.post("/keyed-form");
    let missing = request.clone().body(FORM, "label=a");
    let stranger = missing.clone().without("x-tenant");
    assert_eq!(stranger.send().await.status, 401);
    let misshapen = request.clone().body(FORM, "idempotency_key=k");
    assert_eq!(misshapen.send().await.status, F::MISSHAPEN);
    missing.send().await.assert_problem("key-missing");
    let extracted = world.control.extractions();
    assert_eq!((extracted, world.control.entries()), (3, 0));
    let request = request.body(FORM, "label=a&idempotency_key=k");
    request.send().await.assert_problem("unavailable");
}

async fn k6_optional_key_of_a_form_can_be_left_out<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/keyed-optionally");
    for _ in 0..2 {
        let answer = request.clone().body(FORM, "label=a").send().await;
        answer.assert_executed(201);
    }
    assert_eq!(world.records().await, 0);
    let empty = request.clone().body(FORM, "label=a&idempotency_key=");
    empty.send().await.assert_problem("key-malformed");
    let request = request.body(FORM, "label=a&idempotency_key=k");
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
}

async fn k7_key_that_breaks_a_rule_is_refused_wherever_it_comes_from<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let odd = KeyRule::new("the key must end in `e`", |key| key.ends_with('e'));
    let config = Config::new()
        .with_key_rule(KeyRule::prefix("acme_"))
        .with_key_rule(KeyRule::min_length(8))
        .with_key_rule(odd);
    let instance = world.configured(config).await;
    let with = |key: &str| -> [Request; 4] {
        let form = format!("label=a&idempotency_key={key}");
        [
            instance.post("/effects").effect("a").key(key),
            instance
                .post("/webhook")
                .effect("a")
                .header("webhook-id", key),
            instance.post("/keyed-form").body(FORM, form),
            instance.post(&format!("/keyed-path/{key}")),
        ]
    };
    for (key, rule) in [
        ("other_long_one", "the key must begin with `acme_`"),
        ("acme_1e", "the key must have at least 8 characters"),
        ("acme_long", "the key must end in `e`"),
    ] {
        for request in with(key) {
            assert_refused(&request.send().await, "key-malformed", rule);
        }
    }
    assert_eq!(world.control.entries(), 0);
    for request in with("acme_long_one") {
        request.send().await.assert_executed(201);
    }
}

async fn k8_without_protection_a_retry_runs_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let protected = world.instance().await;
    let first = protected.post("/effects").key("k").effect("a").send().await;
    first.assert_executed(201);
    let instance = world.configured(Config::new().without_protection()).await;
    let request = instance.post("/effects").effect("a");
    for _ in 0..2 {
        let answer = request.clone().key("k").send().await;
        answer.assert_executed(201);
        assert_eq!(answer.header("idempotency-expires"), None);
    }
    assert_eq!(world.effects("acme").await, 3);
    assert_eq!(world.records().await, 1);
    let visits = world.control.visits();
    assert!(visits[0].downstream.iter().all(Option::is_some));
    assert_eq!(visits[2].downstream, visits[0].downstream);
    request.clone().send().await.assert_problem("key-missing");
    request
        .key("a,b")
        .send()
        .await
        .assert_problem("key-malformed");
    // The rules of outcomes hold: a failure is undone.
    world.control.play([Scene::new([Act::Insert, Act::Panic])]);
    let failed = instance.post("/effects").key("k").effect("a").send().await;
    failed.assert_problem("handler-panicked");
    assert_eq!(world.effects("acme").await, 3);
    // The record is as it was, for the time after the emergency.
    let replay = protected.post("/effects").key("k").effect("a").send().await;
    replay.assert_replays(&first);
}
