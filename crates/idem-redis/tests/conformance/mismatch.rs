//! M and F: a key that is used for another request, and the parts of a request that count.

use idem_tests::{Act, Answer, Reply, Scene};

use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    m1_m2_t8_other_request_is_refused_and_learns_nothing,
    m3_t8_mismatch_in_flight_never_gets_the_first_answer,
    m4_t8_failure_keeps_the_binding,
    f1_f3_f4_f6_f7_request_is_bound_as_the_endpoint_says,
];

async fn m1_m2_t8_other_request_is_refused_and_learns_nothing<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let post = |target: &str, label: &str| instance.post(target).key("k").effect(label);
    let request = post("/accounts/7/effects?a=1", "a");
    let first = request.send().await;
    first.assert_executed(201);
    for other in [
        post("/accounts/7/effects?a=1", "b"),
        post("/accounts/7/effects?a=2", "a"),
        post("/accounts/7/effects", "a"),
        post("/accounts/8/effects?a=1", "a"),
    ] {
        other.send().await.assert_problem("key-reused");
    }
    request.send().await.assert_replays(&first);
    request
        .clone()
        .key("another")
        .send()
        .await
        .assert_executed(201);
    assert_eq!((world.control.entries(), world.effects()), (2, 2));

    // Also of a run without a record.
    let replies = [
        Reply::bytes(201, "hush").header("location", "/hush"),
        Reply::bytes(422, "hush"),
        Reply::bytes(500, "hush"),
    ];
    world.control.play(replies.map(Scene::answering));
    let mut refusals: Vec<Answer> = Vec::new();
    for key in ["k1", "k2", "k3"] {
        let request = instance.post("/effects").key(key);
        request.clone().effect("secret").send().await;
        let mut refusal = request.effect("guess").send().await;
        refusal.assert_problem("key-reused");
        assert!(!refusal.text().contains("hush") && !refusal.text().contains("secret"));
        refusal.headers.retain(|(name, _)| name != "date");
        refusals.push(refusal);
    }
    let differ = refusals.windows(2).any(|pair| pair[0] != pair[1]);
    assert!(!differ, "the first one's outcome shows: {refusals:?}");
}

async fn m3_t8_mismatch_in_flight_never_gets_the_first_answer<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let (request, hasty) = (one.post("/patient").key("k"), one.post("/hasty").key("k"));
    world.control.play([Scene::gated(), Scene::gated()]);
    let first = request.clone().effect("a").start();
    world.control.at_gate(1).await;
    let waits = request.clone().effect("b").start();
    world.control.extracted(2).await;
    // The run binds its key, so another instance knows at once.
    let elsewhere = request.to(other.address).effect("b");
    elsewhere.send().await.assert_problem("key-reused");
    assert!(!waits.is_answered(), "a mismatch in flight has to wait");
    let hasty_first = hasty.clone().effect("a").start();
    world.control.at_gate(2).await;
    hasty.effect("b").send().await.assert_problem("key-reused");
    world.control.open(2);
    first.answer().await.assert_executed(201);
    hasty_first.answer().await.assert_executed(201);
    waits.answer().await.assert_problem("key-reused");
    assert_eq!((world.control.entries(), world.effects()), (2, 2));
}

/// A status that blames the request does not free the key: a step may have been made with it.
async fn m4_t8_failure_keeps_the_binding<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    for (path, status) in [("/effects", 503), ("/replays-success", 422)] {
        let request = instance.post(path).key("k");
        world.control.play([Scene::answering(Reply::new(status))]);
        let same = request.clone().effect("a");
        same.send().await.assert_executed(status);
        request
            .effect("b")
            .send()
            .await
            .assert_problem("key-reused");
        let retry = same.send().await;
        retry.assert_executed(201);
        assert_eq!(retry.json()["attempt"], 2);
    }
    assert_eq!(world.effects(), 2, "the step of each was made once");
    // Without a step, too.
    world.control.play([Scene::new([]).answer(Reply::new(500))]);
    let request = instance.post("/effects").key("stepless");
    request
        .clone()
        .effect("a")
        .send()
        .await
        .assert_executed(500);
    request
        .effect("b")
        .send()
        .await
        .assert_problem("key-reused");
    // What an extractor rejects claims nothing.
    let rejected = instance.post("/effects").key("free").json("no JSON");
    assert_eq!(rejected.send().await.status, 400);
    rejected.effect("a").send().await.assert_executed(201);
    world.control.play([Scene::new([Act::Panic])]);
    let panics = instance.post("/effects").key("panics");
    let panicked = panics.clone().effect("a").send().await;
    panicked.assert_problem_of_steps("handler-panicked");
    panics.effect("b").send().await.assert_problem("key-reused");
}

/// Whether a second request with the same key is the same request.
enum Then {
    Replays,
    Mismatches,
}

use Then::{Mismatches, Replays};

async fn f1_f3_f4_f6_f7_request_is_bound_as_the_endpoint_says<F: Framework>(world: &World<F>) {
    const A: &str = r#"{"label":"a"}"#;
    let (one, other) = (world.instance().await, world.instance().await);
    let cases = [
        (
            ("/effects?a=1", A),
            ("/effects?a=1", r#" { "label" : "\u0061" } "#),
            Replays,
        ),
        (
            ("/effects", A),
            ("/effects?", r#"{"trace":[2],"label":"a"}"#),
            Replays,
        ),
        (
            ("/effects", A),
            ("/effects", r#"{"label":"b"}"#),
            Mismatches,
        ),
        (("/effects?a=1&b=2", A), ("/effects?b=2&a=1", A), Mismatches),
        (
            ("/accounts/a%2fb/effects", A),
            ("/accounts/a/effects", A),
            Mismatches,
        ),
        (("/raw", A), ("/raw", A), Replays),
        (("/raw", A), ("/raw", r#"{ "label":"a"}"#), Mismatches),
        (
            ("/sorted-query?a=1&b=2", A),
            ("/sorted-query?b=2&a=1", A),
            Replays,
        ),
        (
            ("/sorted-query?a=1&b=2", A),
            ("/sorted-query?a=2&b=1", A),
            Mismatches,
        ),
        (
            ("/webhook", A),
            ("/webhook?attempt=2", r#"{"label":"b"}"#),
            Replays,
        ),
    ];
    for (number, ((target, body), (target_after, body_after), then)) in cases.iter().enumerate() {
        let key = format!("key-{number}");
        let post = |target: &str, body: &str| {
            one.post(target)
                .key(&key)
                .header("webhook-id", &key)
                .json(body)
        };
        let first = post(target, body).send().await;
        first.assert_executed(201);
        let second = post(target_after, body_after)
            .to(other.address)
            .send()
            .await;
        match then {
            Replays => second.assert_replays(&first),
            Mismatches => second.assert_problem("key-reused"),
        }
    }
    let with = |lines: &[&str]| {
        let request = one.post("/conditional").key("k").effect("a");
        let add = |request: idem_tests::Request, line: &&str| request.header("If-Match", line);
        lines.iter().fold(request, add)
    };
    let first = with(&["\"v1\"", "\"v2\""]).send().await;
    with(&["\"v1\"", "\"v2\""])
        .send()
        .await
        .assert_replays(&first);
    for lines in [&[][..], &[""], &["\"v1\""], &["\"v2\"", "\"v1\""]] {
        with(lines).send().await.assert_problem("key-reused");
    }
}
