//! P: problem documents.

use idem_core::{Config, RateLimit};
use idem_tests::{Act, Answer, Reply, Scene};

use crate::server::Private;
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    p1_p2_p3_p4_t14_problem_documents_byte_for_byte,
    p1_record_that_is_damaged_is_never_run_again,
    p5_rights_that_are_missing_are_misconfigured_and_a_replica_is_unavailable,
];

/// Name, status, title, detail, `retryable`, `safe_new_key`, `Retry-After`.
type Document = (
    &'static str,
    u16,
    &'static str,
    &'static str,
    bool,
    bool,
    Option<&'static str>,
);

/// All that handlers with steps in Redis can answer.
const DOCUMENTS: [Document; 13] = [
    (
        "key-missing",
        400,
        "Idempotency key is missing",
        "send a unique key for this request in the header `idempotency-key`",
        false,
        true,
        None,
    ),
    (
        "key-malformed",
        400,
        "Idempotency key is malformed",
        "the key has a character other than visible ASCII, or a comma, quote or backslash; send 1 to 255 visible \
             ASCII characters without comma, quote and backslash in the header `idempotency-key`",
        false,
        true,
        None,
    ),
    (
        "key-reused",
        422,
        "Idempotency key was used for another request",
        "the request differs from the first one with this key; send it with a new key",
        false,
        false,
        None,
    ),
    (
        "in-flight",
        409,
        "First request is still in flight",
        "the first request with this key has not ended; send the same request again later",
        true,
        false,
        Some("1"),
    ),
    (
        "too-many-retries",
        429,
        "Too many requests with this key or of its owner",
        "the request was not executed; send it with the same key again after the time in `Retry-After`",
        true,
        false,
        Some("60"),
    ),
    (
        "try-again",
        503,
        "Request was interrupted and may be sent again",
        "finished steps are kept; send the same request with the same key again",
        true,
        false,
        Some("1"),
    ),
    (
        "outcome-unknown",
        503,
        "Outcome of the request is not known yet",
        "send the same request with the same key again to learn the outcome",
        true,
        false,
        Some("1"),
    ),
    (
        "unavailable",
        503,
        "Service is unavailable",
        "the request was not executed; send it with the same key again",
        true,
        false,
        Some("1"),
    ),
    (
        "handler-panicked",
        500,
        "Request failed and may be sent again",
        "finished steps are kept; send the same request with the same key again",
        true,
        false,
        None,
    ),
    (
        "step-uncertain",
        409,
        "A call of this request may have happened",
        "the request can't go on until the operator has found out; don't send it with a new key",
        false,
        false,
        None,
    ),
    (
        "response-too-large",
        500,
        "Response is too large to be recorded",
        "finished steps are kept; the operator has to raise the limit",
        false,
        false,
        None,
    ),
    (
        "record-unreadable",
        500,
        "Record of the first request can't be read",
        "the request is not executed again with this key; ask the operator",
        false,
        false,
        None,
    ),
    (
        "misconfigured",
        500,
        "Endpoint is not set up for idempotency keys",
        "the request was not executed; ask the operator",
        false,
        false,
        None,
    ),
];

#[track_caller]
fn assert_document(answer: &Answer, name: &str) {
    let document = DOCUMENTS.iter().find(|document| document.0 == name);
    let (_, status, title, detail, retryable, safe_new_key, retry_after) =
        *document.unwrap_or_else(|| panic!("no problem: {name}"));
    let expected = format!(
        r#"{{"type":"https://example.com/{name}","title":"{title}","status":{status},"detail":"{detail}","retryable":{retryable},"safe_new_key":{safe_new_key}}}"#
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.status, status);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.header("content-language"), Some("en"));
    assert_eq!(answer.header("retry-after"), retry_after, "{name}");
    assert!(!answer.is_replay(), "{name}");
    assert_eq!(answer.expires(), None, "{name}");
}

async fn p1_p2_p3_p4_t14_problem_documents_byte_for_byte<F: Framework>(world: &World<F>) {
    let config = Config::new().with_problem_base("https://example.com/");
    let instance = world.configured(config.clone()).await;
    let limited = config.clone().with_key_rate(RateLimit::per_minute(1));
    let limited = world.configured(limited.with_response_limit(100)).await;
    let mut server = Private::start();
    let lost = world.on(&server, config);
    let request = instance.post("/effects").effect("a");
    let with = |key: &str| request.clone().key(key);

    assert_document(&request.send().await, "key-missing");
    assert_document(&with("a b").send().await, "key-malformed");
    assert_document(&with("k").tenant("").send().await, "misconfigured");
    assert_eq!(world.keys().await.len(), 0, "nothing is recorded");

    world.control.play([Scene::gated()]);
    let hasty = instance.post("/hasty").key("k").effect("a");
    let first = hasty.start();
    world.control.at_gate(1).await;
    assert_document(&hasty.send().await, "in-flight");
    assert_document(&hasty.clone().effect("b").send().await, "key-reused");
    world.control.open(1);
    first.answer().await.assert_executed(201);
    assert_document(&hasty.effect("b").send().await, "key-reused");

    let too_large = Scene::answering(Reply::bytes(200, [b'x'; 101]));
    let uncertain = [500, 503].map(|status| Scene::effect().answer(Reply::new(status)));
    let [fails, unknown] = uncertain;
    world.control.play([
        too_large,
        Scene::new([Act::Insert, Act::Panic]),
        Scene::new([Act::Insert, Act::Hang]),
        fails,
        unknown,
    ]);
    let large = limited.post("/effects").key("large").effect("a");
    assert_document(&large.send().await, "response-too-large");
    assert_document(&large.send().await, "too-many-retries");
    assert_document(&with("panics").send().await, "handler-panicked");
    let bounded = instance.post("/bounded").key("hangs").effect("a");
    assert_document(&bounded.send().await, "try-again");
    let sms = instance.post("/sms").key("k").effect("a");
    sms.send().await.assert_executed(500);
    assert_document(&sms.send().await, "step-uncertain");

    // None of them is recorded, so what may be retried is executed: the steps that are finished are not.
    let calls = world.provider.calls();
    for request in [&with("panics"), &bounded, &large.to(instance.address)] {
        request.send().await.assert_executed(201);
    }
    assert_eq!(world.provider.calls(), calls);

    let gated = lost.post("/effects").key("lost").effect("a");
    world.control.play([Scene::gated()]);
    let first = gated.start();
    world.control.at_gate(2).await;
    server.freeze();
    world.control.open(1);
    assert_document(&first.answer().await, "outcome-unknown");
    server.thaw();
    server.kill();
    assert_document(&gated.key("other").send().await, "unavailable");

    instance.engine.erase(Some("acme")).await.expect("erases");
    let record = with("k");
    record.send().await.assert_executed(201);
    world.set("response damaged").await;
    assert_document(&record.send().await, "record-unreadable");
}

async fn p1_record_that_is_damaged_is_never_run_again<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let (mine, theirs) = (
        instance.post("/effects").effect("a"),
        instance.post("/effects"),
    );
    let mine = mine.key("k");
    mine.send().await.assert_executed(201);
    let key = world.key().await;
    let mut theirs_of: Vec<u8> = Vec::new();
    theirs
        .tenant("globex")
        .key("k")
        .effect("a")
        .send()
        .await
        .assert_executed(201);
    for other in world.keys().await {
        if other != key {
            theirs_of = world.run(&format!("HGET {other} response")).await;
        }
    }
    let whole: Vec<Vec<u8>> = world.run(&format!("HGETALL {key}")).await;
    let restore = async || {
        for field in whole.chunks(2) {
            let name = String::from_utf8_lossy(&field[0]);
            world.set_field(&key, &name, &field[1]).await;
        }
    };
    let mut damages: Vec<(&str, &[u8])> = vec![
        ("response", b""),
        ("response", &theirs_of),
        ("response", b"\x01\0\0\0\0\xff"),
        ("response", b"\x02\0\0\0\0"),
        ("fingerprint", b""),
        ("fingerprint", &[2; 65]),
    ];
    for (name, values) in [
        ("status", &["200", "99", "70000", "-1", "created"][..]),
        // With the state of a retriable failure, a success would run again.
        ("state", &["0", "3", "9", "4294967297", "run"]),
        ("attempts", &["4294967297", "once"]),
        ("at", &["soon", ""]),
        ("expires_at", &["later", ""]),
    ] {
        damages.extend(values.iter().map(|value| (name, value.as_bytes())));
    }
    for (name, value) in damages {
        world.set_field(&key, name, value).await;
        for request in [&mine, &mine.clone().effect("b")] {
            let answer = request.send().await;
            let value = String::from_utf8_lossy(value);
            assert_eq!(answer.status, 500, "{name} {value}: {}", answer.text());
            answer.assert_problem_of_steps("record-unreadable");
        }
        restore().await;
        assert!(mine.send().await.is_replay());
    }
    for name in [
        "state",
        "response",
        "status",
        "fingerprint",
        "at",
        "expires_at",
        "attempts",
    ] {
        world.run::<i64>(&format!("HDEL {key} {name}")).await;
        let answer = mine.send().await;
        assert_eq!(answer.status, 500, "without {name}: {}", answer.text());
        answer.assert_problem_of_steps("record-unreadable");
        restore().await;
    }
    assert_eq!(world.control.entries(), 2);
    let internal = ["redis", "hash", "script", "field", "scene"];
    world.run::<i64>(&format!("HSET {key} status 99")).await;
    let text = mine.send().await.text().to_lowercase();
    assert!(!internal.iter().any(|word| text.contains(word)), "{text}");
}

async fn p5_rights_that_are_missing_are_misconfigured_and_a_replica_is_unavailable<F: Framework>(
    world: &World<F>,
) {
    let server = Private::start();
    let instance = world.on(&server, Config::new());
    let request = instance.post("/effects").effect("a");
    let with = |key: &str| request.clone().key(key);
    let first = with("k").send().await;
    first.assert_executed(201);
    let rights = async |change: &str| {
        server
            .run::<()>(&format!("ACL SETUSER default {change}"))
            .await;
    };
    rights("-hset").await;
    with("l")
        .send()
        .await
        .assert_problem_of_steps("misconfigured");
    assert_eq!(world.control.entries(), 1, "the handler is not entered");
    with("k").send().await.assert_replays(&first);
    rights("-eval -evalsha").await;
    with("k")
        .send()
        .await
        .assert_problem_of_steps("misconfigured");
    rights("+eval +evalsha +hset").await;

    world.control.play([Scene::gated()]);
    let begun = with("l").start();
    world.control.at_gate(1).await;
    rights("-hset").await;
    world.control.open(1);
    begun
        .answer()
        .await
        .assert_problem_of_steps("misconfigured");
    rights("+hset").await;
    world.control.open(1);
    let answer = crate::steps::until_answered(&with("l")).await;
    answer.assert_executed(201);
    assert_eq!((world.effects(), world.provider.calls()), (2, 2));

    // A failover passes.
    server.run::<()>("REPLICAOF 127.0.0.1 1").await;
    with("m")
        .send()
        .await
        .assert_problem_of_steps("unavailable");
    server.promote().await;
    assert_eq!(world.control.entries(), 3);
    with("m").send().await.assert_executed(201);
}
