//! K: the key.

use idem_core::{Config, KeyRule};
use idem_tests::{Answer, Request};

use crate::server::Private;
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    k1_k2_k3_key_is_the_same_in_each_form,
    k1_k5_key_is_in_the_place_that_the_endpoint_names,
    k3_k4_k5_key_that_is_no_key_asks_no_server,
    k6_k8_without_key_or_protection_nothing_is_left,
    k7_key_that_breaks_a_rule_is_refused,
];

const FORM: &str = "application/x-www-form-urlencoded";

#[track_caller]
fn assert_refused(answer: &Answer, problem: &str, named: &str) {
    answer.assert_problem(problem);
    let detail = answer.text();
    assert!(detail.contains(named), "{detail}");
}

async fn k1_k2_k3_key_is_the_same_in_each_form<F: Framework>(world: &World<F>) {
    let request = world.instance().await.post("/effects").effect("a");
    let first = request.clone().header("Idempotency-Key", "k").send().await;
    first.assert_executed(201);
    for (name, value) in [
        ("idempotency-key", "k"),
        ("IDEMPOTENCY-KEY", r#""k""#),
        ("iDeMpOtEnCy-kEy", r#""k"; a; b="c""#),
    ] {
        let again = request.clone().header(name, value).send().await;
        again.assert_replays(&first);
    }
    let longest = "k".repeat(255);
    let others = [
        "k;v=1",
        "K",
        &longest[1..],
        &longest,
        "!#$%&'()*+-./:;<=>?@[]^_`{|}~",
    ];
    for other in others {
        let first = request.clone().key(other).send().await;
        first.assert_executed(201);
        let quoted = request.clone().key(format!(r#""{other}""#));
        quoted.send().await.assert_replays(&first);
    }
    assert_eq!(world.keys().await.len(), 1 + others.len());
    let renamed = Config::new().try_with_header("X-Request-Token");
    let renamed = world.configured(renamed.expect("a header name")).await;
    let request = request.to(renamed.address);
    let by_name = request.clone().header("x-request-token", "k");
    by_name.send().await.assert_replays(&first);
    let missing = request.key("k").send().await;
    assert_refused(&missing, "key-missing", "x-request-token");
}

async fn k1_k5_key_is_in_the_place_that_the_endpoint_names<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let form = |body: &str| instance.post("/keyed-form").body(FORM, body);
    let webhook = |name: &str| instance.post("/webhook").effect("a").header(name, "8e03");
    for (request, again, other) in [
        (
            form("label=a&idempotency_key=8e03"),
            form("idempotency_key=8e03&label=a"),
            form("label=a&idempotency_key=8e04"),
        ),
        (
            instance.post("/keyed-path/8e03"),
            instance.post("/keyed-path/8e03"),
            instance.post("/keyed-path/8e04"),
        ),
        (
            webhook("webhook-id"),
            webhook("x-github-delivery").header("webhook-id", "other"),
            webhook("other").header("webhook-id", "8e04"),
        ),
    ] {
        let first = request.send().await;
        first.assert_executed(201);
        again.send().await.assert_replays(&first);
        other.send().await.assert_executed(201);
    }
    let entries = world.control.entries();
    for (request, problem, named) in [
        (
            form("label=a").key("k"),
            "key-missing",
            "the field `idempotency_key`",
        ),
        (
            form("label=a&idempotency_key=%228%22"),
            "key-malformed",
            "the field `idempotency_key`",
        ),
        (
            webhook("other"),
            "key-missing",
            "the header `x-github-delivery` or `webhook-id`",
        ),
        (
            instance.post("/keyed-path/8e%2003"),
            "key-malformed",
            "the field `order`",
        ),
    ] {
        assert_refused(&request.send().await, problem, named);
    }
    // A key of an argument is checked after the extractors, a key of a header before them.
    let stranger = form("label=a").without("x-tenant").send().await;
    assert_eq!(stranger.status, 401);
    let stranger = webhook("other").without("x-tenant").send().await;
    stranger.assert_problem("key-missing");
    let misshapen = form("idempotency_key=8e05").send().await;
    assert_eq!(misshapen.status, F::MISSHAPEN);
    assert_eq!(world.control.entries(), entries);
}

async fn k3_k4_k5_key_that_is_no_key_asks_no_server<F: Framework>(world: &World<F>) {
    let mut server = Private::start();
    let instance = world.on(&server, Config::new());
    server.kill();
    let request = instance
        .post("/effects")
        .json("no JSON")
        .without("x-tenant");
    assert_refused(&request.send().await, "key-missing", "`idempotency-key`");
    let too_long = "k".repeat(256);
    let malformed = [
        "",
        "\"\"",
        "a b",
        "\"a b\"",
        "a,b",
        "\"a\", \"b\"",
        "\"a",
        "a\"",
        "\"a\" b",
        "\"a\";=",
        "a\\b",
        "caf\u{e9}",
        &too_long,
    ];
    for key in malformed {
        request
            .clone()
            .key(key)
            .send()
            .await
            .assert_problem("key-malformed");
    }
    for second in ["k", "other", "\"k\"", ""] {
        let doubled = request.clone().key("k").header("Idempotency-Key", second);
        doubled.send().await.assert_problem("key-malformed");
    }
    assert_eq!(world.control.extractions(), 0, "no extractor has run");
    let whole = request.tenant("acme").effect("a").key("k");
    whole.send().await.assert_problem_of_steps("unavailable");
    assert_eq!(world.control.entries(), 0);
}

async fn k6_k8_without_key_or_protection_nothing_is_left<F: Framework>(world: &World<F>) {
    let protected = world.instance().await;
    let unprotected = world.configured(Config::new().without_protection()).await;
    let keyless = protected.post("/optional").effect("a");
    let off = unprotected.post("/effects").key("k").effect("a");
    for request in [&keyless, &keyless, &off, &off] {
        let answer = request.send().await;
        answer.assert_executed(201);
        assert_eq!(answer.expires(), None);
    }
    assert_eq!((world.control.entries(), world.effects()), (4, 4));
    assert_eq!(world.keys().await.len(), 0);
    let visits = world.control.visits();
    assert_eq!(
        (&visits[0].key, &visits[0].downstream),
        (&None, &[None, None])
    );
    assert_eq!(visits[2].downstream, visits[3].downstream);
    for (request, key) in [(&keyless, "a b"), (&off, "a,b")] {
        let malformed = request.clone().key(key).send().await;
        malformed.assert_problem("key-malformed");
    }
    off.without("idempotency-key")
        .send()
        .await
        .assert_problem("key-missing");
    // With a key it is as elsewhere.
    let keyed = keyless.key("k");
    let first = keyed.send().await;
    first.assert_executed(201);
    keyed.send().await.assert_replays(&first);
    assert_eq!(world.keys().await.len(), 1);
}

async fn k7_key_that_breaks_a_rule_is_refused<F: Framework>(world: &World<F>) {
    let odd = KeyRule::new("the key must end in `e`", |key| key.ends_with('e'));
    let config = Config::new().with_key_rule(KeyRule::prefix("acme_"));
    let instance = world.configured(config.with_key_rule(odd)).await;
    let with = |key: &str| -> [Request; 3] {
        let form = format!("label=a&idempotency_key={key}");
        [
            instance.post("/effects").effect("a").key(key),
            instance.post("/keyed-form").body(FORM, form),
            instance.post(&format!("/keyed-path/{key}")),
        ]
    };
    for (key, rule) in [
        ("other_one", "the key must begin with `acme_`"),
        ("acme_long", "the key must end in `e`"),
    ] {
        for request in with(key) {
            assert_refused(&request.send().await, "key-malformed", rule);
        }
    }
    assert_eq!((world.control.entries(), world.keys().await.len()), (0, 0));
    for request in with("acme_one") {
        request.send().await.assert_executed(201);
    }
}
