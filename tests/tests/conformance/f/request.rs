//! A key is bound to path, query and body.

use idem_tests::{Database, Deploy, Framework, Reply, Scene, World, conformance};

conformance![
    f1_query_is_bound_as_received,
    f1_empty_query_is_no_query,
    f1_path_is_bound_as_received,
    f1_parameter_of_a_nested_router_is_bound,
    f1_json_is_bound_by_its_meaning,
    f1_fields_that_serde_ignores_do_not_matter,
    f1_byte_equal_retry_matches_a_generated_default,
    f1_byte_equal_retry_matches_a_type_that_gained_a_default,
    f1_forms_are_bound_by_their_meaning,
    f1_texts_and_bytes_are_bound_byte_for_byte,
    f1_handler_without_a_body_is_bound_to_path_and_query,
    f6_nothing_is_bound_if_the_endpoint_says_so,
    f6_header_is_bound_by_name,
    f7_query_is_bound_as_far_as_the_endpoint_says,
];

/// Whether a second body with the same key is the same request.
pub(crate) enum Then {
    Replays,
    Mismatches,
}

use Then::{Mismatches, Replays};

pub(crate) async fn compare<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    path: &str,
    content_type: &str,
    cases: &[(&str, &str, Then)],
) {
    let request = world.instance().await.post(path);
    for (number, (before, after, then)) in cases.iter().enumerate() {
        let request = request.clone().key(format!("key-{number}"));
        let first = request.clone().body(content_type, before).send().await;
        first.assert_executed(201);
        let second = request.body(content_type, after).send().await;
        match then {
            Replays => second.assert_replays(&first),
            Mismatches => second.assert_problem("key-reused"),
        }
    }
    assert_eq!(world.control.entries(), cases.len());
}

pub(crate) const JSON: &str = "application/json";

async fn f1_query_is_bound_as_received<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let post = |query: &str| {
        instance
            .post(&format!("/effects{query}"))
            .key("k")
            .effect("a")
    };
    let first = post("?a=1&b=%41").send().await;
    first.assert_executed(201);
    for other in [
        "?b=%41&a=1",
        "?a=1&b=A",
        "?a=1&b=%41&",
        "?a=1&b=%41&a=1",
        "?",
        "",
    ] {
        post(other).send().await.assert_problem("key-reused");
    }
    post("?a=1&b=%41").send().await.assert_replays(&first);
}

async fn f1_empty_query_is_no_query<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    for (key, before, after) in [
        ("k1", "/effects", "/effects?"),
        ("k2", "/effects?", "/effects"),
    ] {
        let first = instance.post(before).key(key).effect("a").send().await;
        first.assert_executed(201);
        let retry = instance.post(after).key(key).effect("a").send().await;
        retry.assert_replays(&first);
    }
    assert_eq!(world.effects("acme").await, 2);
}

async fn f1_path_is_bound_as_received<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let post = |id: &str| {
        instance
            .post(&format!("/accounts/{id}/effects"))
            .key("k")
            .effect("a")
    };
    let first = post("a%2fb").send().await;
    first.assert_executed(201);
    for other in ["a%2Fb", "a", "A%2fb"] {
        post(other).send().await.assert_problem("key-reused");
    }
    post("a%2fb").send().await.assert_replays(&first);
}

async fn f1_parameter_of_a_nested_router_is_bound<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let post = |account: &str| {
        instance
            .post(&format!("/nested/{account}/effects"))
            .key("k")
    };
    let first = post("1").effect("a").send().await;
    first.assert_executed(201);
    post("2")
        .effect("a")
        .send()
        .await
        .assert_problem("key-reused");
    post("1").effect("a").send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn f1_json_is_bound_by_its_meaning<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let body = r#"{"integer":1,"float":2.5,"map":{"a":1}}"#;
    let cases = [
        (
            body,
            r#" { "integer" : 1 , "float" : 2.5 , "map" : { "a" : 1 } } "#,
            Replays,
        ),
        (body, r#"{"map":{"a":1},"float":2.5,"integer":1}"#, Replays),
        (
            body,
            r#"{"integer":1,"float":25e-1,"map":{"\u0061":1}}"#,
            Replays,
        ),
        (
            body,
            r#"{"integer":1,"float":2.5,"map":{"a":2}}"#,
            Mismatches,
        ),
        (
            body,
            r#"{"integer":1,"float":2.5,"map":{"b":1}}"#,
            Mismatches,
        ),
        (body, r#"{"integer":1,"float":2.5,"map":{}}"#, Mismatches),
    ];
    compare(world, "/numbers", JSON, &cases).await;
}

async fn f1_fields_that_serde_ignores_do_not_matter<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let cases = [
        (r#"{"label":"a"}"#, r#"{"label":"a","trace":1}"#, Replays),
        (
            r#"{"label":"a","trace":1}"#,
            r#"{"trace":[2],"label":"a"}"#,
            Replays,
        ),
        (
            r#"{"label":"a","trace":1}"#,
            r#"{"label":"b","trace":1}"#,
            Mismatches,
        ),
    ];
    compare(world, "/effects", JSON, &cases).await;
}

async fn f1_byte_equal_retry_matches_a_generated_default<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let cases = [
        (r#"{"label":"a"}"#, r#"{"label":"a"}"#, Replays),
        (
            r#"{"label":"a","number":7}"#,
            r#"{"number":7, "label":"a"}"#,
            Replays,
        ),
        (r#"{"label":"a"}"#, r#"{"label":"b"}"#, Mismatches),
    ];
    compare(world, "/generated", JSON, &cases).await;
}

async fn f1_byte_equal_retry_matches_a_type_that_gained_a_default<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let before = world.deployed(Deploy::First).await;
    let after = world.deployed(Deploy::Second).await;
    let request = before.post("/defaulted").key("k").json(r#"{"label":"a"}"#);
    let first = request.send().await;
    first.assert_executed(201);
    let after = request.clone().to(after.address);
    after.send().await.assert_replays(&first);
    let other = after.json(r#"{"label":"a","currency":"usd"}"#);
    other.send().await.assert_problem("key-reused");
    assert_eq!(world.effects("acme").await, 1);
}

async fn f1_forms_are_bound_by_their_meaning<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let cases = [
        ("label=a&more=1", "more=1&label=%61", Replays),
        ("label=a+b", "label=a%20b", Replays),
        ("label=a", "label=b", Mismatches),
    ];
    compare(world, "/form", "application/x-www-form-urlencoded", &cases).await;
}

async fn f1_texts_and_bytes_are_bound_byte_for_byte<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/text").key("k");
    let text = |body: &str| request.clone().body("text/plain", body);
    let first = text("a").send().await;
    first.assert_executed(201);
    text("a").send().await.assert_replays(&first);
    for other in ["a ", "A", ""] {
        text(other).send().await.assert_problem("key-reused");
    }
    let request = world.instance().await.post("/bytes").key("k");
    let bytes = |body: &[u8]| request.clone().body("application/octet-stream", body);
    let first = bytes(b"\xff\0").send().await;
    first.assert_executed(201);
    bytes(b"\xff\0").send().await.assert_replays(&first);
    for other in [&b"\xff"[..], b"\xff\0\0", b"\xfe\0", b""] {
        bytes(other).send().await.assert_problem("key-reused");
    }
}

async fn f1_handler_without_a_body_is_bound_to_path_and_query<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let first = instance.post("/bodiless?a=1").key("k").send().await;
    first.assert_executed(201);
    let replay = instance.post("/bodiless?a=1").key("k").send().await;
    replay.assert_replays(&first);
    let other = instance.post("/bodiless?a=2").key("k").send().await;
    other.assert_problem("key-reused");
}

async fn f6_nothing_is_bound_if_the_endpoint_says_so<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let post = |target: &str, body: &str| {
        let request = instance.post(target).header("webhook-id", "k");
        request.json(body)
    };
    // A failure may be about what is not bound, so it is not final.
    world.control.play([Scene::answering(Reply::new(422))]);
    let failed = post("/webhook", r#"{"label":"bad"}"#).send().await;
    assert_eq!(failed.status, 422);
    let first = post("/webhook", r#"{"label":"a"}"#).send().await;
    first.assert_executed(201);
    for (target, body) in [
        ("/webhook", r#"{"label":"b"}"#),
        ("/webhook?attempt=2", r#"{"label":"a","sent_at":2}"#),
    ] {
        post(target, body).send().await.assert_replays(&first);
    }
    assert_eq!(world.effects("acme").await, 1);
}

async fn f6_header_is_bound_by_name<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/conditional").effect("a");
    let with = |key: &str, lines: &[&str]| {
        let request = request.clone().key(key).header("x-other", lines.concat());
        let add = |request: idem_tests::Request, line: &&str| request.header("If-Match", line);
        lines.iter().fold(request, add)
    };
    let cases: [&[&str]; 6] = [
        &[],
        &[""],
        &["\"v1\""],
        &["\"v2\""],
        &["\"v1\"", "\"v2\""],
        &["\"v2\"", "\"v1\""],
    ];
    for (number, lines) in cases.iter().enumerate() {
        let key = format!("key-{number}");
        let first = with(&key, lines).send().await;
        first.assert_executed(201);
        for other in cases {
            let second = with(&key, other).send().await;
            if other == *lines {
                second.assert_replays(&first);
            } else {
                second.assert_problem("key-reused");
            }
        }
    }
    // The same value in another bound header is another request.
    let first = with("k", &["\"v1\""]).send().await;
    first.assert_executed(201);
    let variant = with("k", &[]).header("X-Variant", "\"v1\"").send().await;
    variant.assert_problem("key-reused");
}

async fn f7_query_is_bound_as_far_as_the_endpoint_says<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let cases = [
        ("/sorted-query", "?a=1&b=2", "?b=2&a=1", Replays),
        ("/sorted-query", "?a=1&a=2&b", "?b&a=1&a=2", Replays),
        ("/sorted-query", "?a=1&a=2", "?a=2&a=1", Mismatches),
        ("/sorted-query", "?a=1&b=2", "?a=2&b=1", Mismatches),
        ("/sorted-query", "?a=1", "?a=1&a=1", Mismatches),
        (
            "/trimmed-query",
            "?a=1&utm_source=x",
            "?page=2&a=1&page",
            Replays,
        ),
        ("/trimmed-query", "?utm_source=x", "", Replays),
        ("/trimmed-query", "?a=1&b=2", "?b=2&a=1", Mismatches),
        ("/trimmed-query", "?a=1", "?a=1&pages=2", Mismatches),
        ("/trimmed-query", "?a=utm_source", "", Mismatches),
        ("/unbound-query", "?a=1", "?b", Replays),
        ("/unbound-query", "?a=1", "", Replays),
    ];
    for (number, (path, before, after, then)) in cases.iter().enumerate() {
        let post = |query: &str| {
            let request = instance.post(&format!("{path}{query}"));
            request.key(format!("key-{number}")).effect("a")
        };
        let first = post(before).send().await;
        first.assert_executed(201);
        let second = post(after).send().await;
        match then {
            Replays => second.assert_replays(&first),
            Mismatches => second.assert_problem("key-reused"),
        }
        // The body is bound as always.
        let other = post(before).effect("b").send().await;
        other.assert_problem("key-reused");
    }
}
