//! The first request, and its replays.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use idem_core::{Config, Marker};
use idem_tests::{
    Act, Answer, Body, Database, Domain as _, Framework, Reply, Scene, World, conformance,
};

conformance![
    r1_first_request_runs_once_without_a_marker,
    r1_marker_of_the_handler_itself_is_removed,
    r2_replay_enters_no_handler_and_writes_nothing,
    r3_replay_is_byte_identical,
    r3_replay_has_the_recorded_headers_and_duplicates_in_order,
    r3_replay_of_a_large_body_is_byte_identical,
    r4_headers_besides_the_allowed_ones_are_not_replayed,
    r4_application_can_allow_more_headers_but_not_all,
    r4_an_endpoint_can_name_cookies,
    r5_replay_shows_the_original_after_the_resource_is_gone,
    r6_replay_works_from_another_instance,
    r6_replay_works_after_a_restart,
    r6_instances_may_start_at_once_on_a_new_database,
    r7_response_has_the_time_of_its_expiry,
    r10_key_is_sent_back,
    r11_head_is_replayed_without_the_body,
    r13_markers_have_the_names_of_the_application,
];

async fn r1_first_request_runs_once_without_a_marker<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let answer = instance.post("/effects").key("k").effect("a").send().await;
    answer.assert_executed(201);
    assert_eq!(answer.json()["attempt"], 1);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn r1_marker_of_the_handler_itself_is_removed<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let reply = Reply::new(201).header("idempotency-replayed", "true");
    let reply = reply.header("idempotency-expires", "@1");
    world.control.play([Scene::answering(reply)]);
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    assert_eq!(first.lines("idempotency-expires").len(), 1);
    assert!(first.expires() > Some(1));
    request.send().await.assert_replays(&first);
}

async fn r2_replay_enters_no_handler_and_writes_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let mut observer = world.observe().await;
    let before = observer.text(D::WRITES).await.expect("a text");
    for _ in 0..3 {
        request.send().await.assert_replays(&first);
    }
    let after = observer.text(D::WRITES).await.expect("a text");
    assert_eq!(before, after);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
    request.key("other").send().await.assert_executed(201);
    let written = observer.text(D::WRITES).await.expect("a text");
    assert_ne!(before, written, "a write has to be seen");
}

async fn r3_replay_is_byte_identical<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    let every_byte: Vec<u8> = (0..=255).collect();
    let replies = [
        Reply::new(201),
        Reply::bytes(200, "caf\u{e9}"),
        Reply::bytes(200, &every_byte).header("content-type", "application/octet-stream"),
        Reply::bytes(200, b"\xff\xfe\r\n\r\n\0"),
        Reply::bytes(202, ""),
        Reply::bytes(204, ""),
        Reply::bytes(303, "").header("location", "/effects/1"),
        Reply::bytes(299, "an unusual status"),
        Reply::bytes(404, b"\xff not found"),
        Reply::bytes(200, "").body(Body::Stream(2500)),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let status = reply.status;
        world.control.play([Scene::answering(reply)]);
        let request = request.clone().key(format!("key-{number}"));
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
    }
}

async fn r3_replay_has_the_recorded_headers_and_duplicates_in_order<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let answered = Reply::bytes(201, "x")
        .header("link", "</2>; rel=next")
        .header("content-type", "text/plain; charset=utf-8")
        .header("link", "</1>; rel=prev")
        .header("link", "</2>; rel=next")
        .header("content-language", "de")
        .header("content-encoding", "identity")
        .header("content-disposition", b"attachment; filename=\"\xe4\"")
        .header("cache-control", "no-store")
        .header("vary", "accept")
        .header("location", "/effects/1")
        .header("etag", "W/\"1:2\"")
        .header("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        .header("retry-after", "7");
    world.control.play([Scene::answering(answered)]);
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    let replay = request.send().await;
    replay.assert_replays(&first);
    let links: [&[u8]; 3] = [b"</2>; rel=next", b"</1>; rel=prev", b"</2>; rel=next"];
    assert_eq!(replay.lines("link"), links);
    let names: BTreeSet<_> = replay.headers.iter().map(|(n, _)| n.as_str()).collect();
    for name in [
        "content-type",
        "content-language",
        "content-encoding",
        "content-disposition",
        "cache-control",
        "vary",
        "location",
        "etag",
        "last-modified",
        "retry-after",
    ] {
        assert!(names.contains(name), "{name} is not replayed");
    }
}

async fn r3_replay_of_a_large_body_is_byte_identical<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let body: Vec<u8> = (0..1024 * 1024_u32)
        .map(|n| n.to_be_bytes()[2] ^ 7)
        .collect();
    world
        .control
        .play([Scene::answering(Reply::bytes(200, body))]);
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    assert_eq!(first.body.len(), 1024 * 1024);
    request.send().await.assert_replays(&first);
}

async fn r4_headers_besides_the_allowed_ones_are_not_replayed<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let unrecorded = [
        ("set-cookie", "session=secret"),
        ("www-authenticate", "Bearer"),
        ("x-request-id", "1"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("x-custom", "1"),
        ("authorization", "secret"),
    ];
    let recorded = Reply::new(201).header("etag", "\"1\"");
    let answered = unrecorded.iter().fold(recorded, |answered, (name, value)| {
        answered.header(name, value)
    });
    world.control.play([Scene::answering(answered)]);
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    let replay = request.send().await;
    assert!(replay.is_replay());
    assert_eq!(replay.header("etag"), Some("\"1\""));
    for (name, value) in unrecorded {
        assert_eq!(first.header(name), Some(value), "{name} is sent once");
        assert_eq!(replay.header(name), None, "{name} is replayed");
    }
}

async fn r4_application_can_allow_more_headers_but_not_all<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    for never in [
        "set-cookie",
        "Date",
        "content-length",
        "www-authenticate",
        "connection",
    ] {
        let refused = Config::new().try_with_recorded_header(never);
        assert!(refused.is_err(), "{never} must never be recorded");
    }
    let config = Config::new().try_with_recorded_header("X-Custom");
    let instance = world.configured(config.expect("a header name")).await;
    let answered = Reply::new(201)
        .header("x-custom", "2")
        .header("x-custom", "1");
    world.control.play([Scene::answering(answered)]);
    let request = instance.post("/effects").key("k").effect("a");
    let first = request.send().await;
    let replay = request.send().await;
    replay.assert_replays(&first);
    assert_eq!(replay.lines("x-custom"), [b"2", b"1"]);
}

/// Only the named cookies, upper and lower case differing, each line in its order.
async fn r4_an_endpoint_can_name_cookies<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let lines = [
        "theme=dark; Path=/",
        "session=secret",
        "flash=paid; Max-Age=60; HttpOnly",
        "FLASH=1",
        "flashy=1",
        "flash",
        "flash = again",
    ];
    let answered = Reply::new(303).header("location", "/done");
    let answered = lines.iter().fold(answered, |answered, line| {
        answered.header("set-cookie", line)
    });
    world.control.play([Scene::answering(answered)]);
    let request = world.instance().await.post("/flash").key("k").effect("a");
    let first = request.send().await;
    assert_eq!(first.lines("set-cookie").len(), lines.len());
    let replay = request.send().await;
    assert!(replay.is_replay());
    let named = [lines[0], lines[2], lines[6]].map(str::as_bytes);
    assert_eq!(replay.lines("set-cookie"), named);
}

async fn r5_replay_shows_the_original_after_the_resource_is_gone<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    assert_eq!(world.run("DELETE FROM effects").await, 1);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 0);
}

async fn r6_replay_works_from_another_instance<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let replay = request.to(other.address).send().await;
    replay.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn r6_replay_works_after_a_restart<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let before = world.instance().await;
    let request = before.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    before.stop().await;
    let after = world.instance().await;
    request
        .to(after.address)
        .send()
        .await
        .assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn r6_instances_may_start_at_once_on_a_new_database<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instances = join_all((0..8).map(|_| world.instance_of(1))).await;
    let request = instances[0].post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    for instance in &instances {
        let replay = request.clone().to(instance.address).send().await;
        replay.assert_replays(&first);
    }
}

async fn r7_response_has_the_time_of_its_expiry<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    for status in [201, 422, 500] {
        world.control.play([Scene::answering(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        if status == 500 {
            assert_eq!(first.expires(), None, "a retriable failure has no expiry");
            continue;
        }
        let (records, seconds) = (D::RECORDS, D::EXPIRY_SECONDS);
        let recorded = world
            .number(format!(
                "SELECT {seconds} FROM {records} WHERE status = {status}"
            ))
            .await;
        assert_eq!(first.expires(), Some(recorded));
        assert_eq!(request.send().await.expires(), Some(recorded));
    }
    let (records, now, second) = (D::RECORDS, D::NOW, D::SECOND);
    let in_a_day = world
        .number(format!(
            "SELECT count(*) FROM {records} WHERE expires_at - {now} \
             BETWEEN 86390 * {second} AND 86400 * {second}"
        ))
        .await;
    assert_eq!(in_a_day, 3, "the TTL is 24 hours");
}

async fn r10_key_is_sent_back<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let config = Config::new().with_key_echo();
    let instance = world.configured(config).await;
    let echoed = async |key: &str, label: &str| {
        let request = instance.post("/effects").key(key).effect(label);
        let answer = request.send().await;
        let keys = answer.lines("idempotency-key").len();
        assert_eq!(keys, usize::from(answer.status != 400));
        answer
    };
    let own = Reply::new(201).header("idempotency-key", "of the handler");
    world.control.play([Scene::answering(own)]);
    for (key, label, status) in [
        ("\"k\";a=1", "a", 201),
        ("k", "a", 201),
        ("k", "b", 422),
        ("k,", "a", 400),
    ] {
        let answer = echoed(key, label).await;
        assert_eq!(answer.status, status);
        if status != 400 {
            assert_eq!(answer.header("idempotency-key"), Some("k"));
        }
    }
    let silent = world.instance().await;
    let answer = silent.post("/effects").key("k").effect("a").send().await;
    assert!(answer.is_replay());
    assert_eq!(answer.header("idempotency-key"), None);
}

async fn r11_head_is_replayed_without_the_body<F: Framework<D>, D: Database>(world: &World<F, D>) {
    const SECRET: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
    let (one, other) = (world.instance().await, world.instance().await);
    let minted = Reply::bytes(201, SECRET)
        .header("content-type", "text/plain")
        .header("location", "/keys/1")
        .header("idempotency-body", "of the handler");
    let scene = Scene::new([Act::Insert, Act::Wait]).answer(minted);
    world.control.play([scene]);
    let request = one.post("/secret").key("k").effect("a");
    let first = request.start();
    world.control.at_gate(1).await;
    let waiter = request.start();
    world.control.extracted(2).await;
    world.control.open(1);

    let first = first.answer().await;
    first.assert_executed(201);
    assert_eq!(first.text(), SECRET);
    assert_eq!(first.header("idempotency-body"), None);
    let elsewhere = request.clone().to(other.address).send().await;
    for answer in [waiter.answer().await, request.send().await, elsewhere] {
        assert!(answer.is_replay());
        assert_eq!((answer.status, answer.text().as_str()), (201, ""));
        assert_eq!(answer.header("location"), Some("/keys/1"));
        assert_eq!(answer.header("idempotency-body"), Some("omitted"));
        assert_eq!(answer.header("content-type"), None);
        assert_eq!(answer.expires(), first.expires());
    }
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.responses_with(SECRET).await, 0);
    assert_eq!(world.responses_with("/keys/1").await, 1);
}

async fn r13_markers_have_the_names_of_the_application<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let names = ["idempotent-replayed", "x-remembered-until", "x-body"];
    let config = [Marker::Replayed, Marker::Expires, Marker::Body]
        .into_iter()
        .zip(names)
        .try_fold(Config::new(), |config, (marker, name)| {
            config.try_with_marker(marker, name)
        })
        .expect("names of headers");
    let instance = world.configured(config).await;
    // A handler can't set them itself.
    let reply = Reply::new(201)
        .header(names[0], "maybe")
        .header(names[2], "mine");
    world.control.play([Scene::answering(reply)]);
    let request = instance.post("/secret").key("k").effect("a");
    let (first, again) = (request.send().await, request.send().await);
    let values = |answer: &Answer| names.map(|name| answer.header(name).map(str::to_owned));
    let [replayed, expires, body] = values(&first);
    assert_eq!((replayed, &body), (None, &None));
    let omitted = Some("omitted".to_owned());
    assert_eq!(values(&again), [Some("true".to_owned()), expires, omitted]);
    for name in [
        "idempotency-replayed",
        "idempotency-expires",
        "idempotency-body",
    ] {
        assert_eq!((first.header(name), again.header(name)), (None, None));
    }
}
