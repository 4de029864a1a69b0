//! R: first request and replay.

use idem_core::{Config, Seal};
use idem_tests::{Act, Body, Reply, Scene};

use crate::server::Private;
use crate::service::Framework;
use crate::world::{World, caching, conformance};

conformance![
    r1_r3_r4_r6_r7_replay_is_byte_identical_on_each_instance,
    r2_r6_replay_enters_no_handler_and_writes_nothing,
    r4_r10_application_can_record_headers_cookies_and_send_the_key_back,
    r8_cached_replay_asks_no_server,
    r11_r12_body_is_left_out_or_sealed,
];

async fn r1_r3_r4_r6_r7_replay_is_byte_identical_on_each_instance<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let every_byte: Vec<u8> = (0..=255).collect();
    let headed = Reply::bytes(201, "x")
        .header("link", "</2>; rel=next")
        .header("content-type", "text/plain; charset=utf-8")
        .header("link", "</1>; rel=prev")
        .header("content-disposition", b"attachment; filename=\"\xe4\"")
        .header("vary", "accept")
        .header("location", "/effects/1")
        .header("etag", "W/\"1:2\"")
        .header("retry-after", "7")
        // The library's own headers are not the handler's.
        .header("idempotency-replayed", "true")
        .header("idempotency-expires", "@1");
    let replies = [
        Reply::new(201),
        headed,
        Reply::bytes(200, every_byte).header("content-type", "application/octet-stream"),
        Reply::bytes(200, b"\xff\xfe\r\n\r\n\0"),
        Reply::bytes(204, ""),
        Reply::bytes(299, "an unusual status"),
        Reply::bytes(303, "").header("location", "/effects/1"),
        Reply::bytes(404, b"\xff not found"),
        Reply::bytes(200, "").body(Body::Stream(2500)),
        Reply::bytes(200, vec![b'x'; 1024 * 1024]),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let status = reply.status;
        world.control.play([Scene::answering(reply)]);
        let request = one
            .post("/effects")
            .key(format!("key-{number}"))
            .effect("a");
        let first = request.send().await;
        first.assert_executed(status);
        assert_eq!(first.lines("idempotency-expires").len(), 1);
        let replay = request.clone().to(other.address).send().await;
        replay.assert_replays(&first);
        assert_eq!(replay.expires(), first.expires());
        if number == 1 {
            let links: [&[u8]; 2] = [b"</2>; rel=next", b"</1>; rel=prev"];
            assert_eq!(replay.lines("link"), links);
        }
    }
    assert_eq!((world.control.entries(), world.effects()), (10, 10));
    let last = one.post("/effects").key("key-9").effect("a").send().await;
    let left = last.expires().expect("R7") - world.now().await / 1_000_000;
    assert!(
        (86_390..=86_400).contains(&left),
        "the TTL is 24 hours: {left}"
    );
    let fails = Scene::answering(Reply::new(500));
    world.control.play([fails]);
    let failed = one.post("/effects").key("fails").effect("a").send().await;
    assert_eq!(failed.expires(), None, "a retriable failure has no expiry");
}

async fn r2_r6_replay_enters_no_handler_and_writes_nothing<F: Framework>(world: &World<F>) {
    let mut server = Private::start();
    let writes = async || {
        let info: String = server.run("INFO persistence").await;
        let mut lines = info.lines();
        let changes = lines.find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
        changes.expect("a count").to_owned()
    };
    let instance = world.on(&server, Config::new());
    let request = instance.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let before = writes().await;
    for _ in 0..3 {
        request.send().await.assert_replays(&first);
    }
    let mismatch = request.clone().effect("b").send().await;
    mismatch.assert_problem("key-reused");
    assert_eq!(writes().await, before);
    request
        .clone()
        .key("other")
        .send()
        .await
        .assert_executed(201);
    assert_ne!(writes().await, before, "a write has to be seen");
    assert_eq!(world.control.entries(), 2);
    // After a restart of the service, and of the server.
    instance.stop().await;
    server.kill();
    server.restart();
    let after = world.on(&server, Config::new());
    request
        .to(after.address)
        .send()
        .await
        .assert_replays(&first);
}

async fn r4_r10_application_can_record_headers_cookies_and_send_the_key_back<F: Framework>(
    world: &World<F>,
) {
    let config = Config::new().with_key_echo();
    let config = config.try_with_recorded_header("X-Custom");
    let instance = world.configured(config.expect("a header name")).await;
    let answered = Reply::new(201)
        .header("x-custom", "2")
        .header("x-custom", "1")
        .header("x-request-id", "1")
        .header("set-cookie", "session=secret")
        .header("set-cookie", "flash=paid; Max-Age=60");
    world
        .control
        .play([answered.clone(), answered].map(Scene::answering));
    for (path, cookies) in [
        ("/effects", &[][..]),
        ("/flash", &[&b"flash=paid; Max-Age=60"[..]]),
    ] {
        let request = instance.post(path).key("\"k\";a=1").effect("a");
        let first = request.send().await;
        assert_eq!(first.lines("set-cookie").len(), 2);
        let replay = request.send().await;
        assert!(replay.is_replay());
        assert_eq!(replay.lines("x-custom"), [b"2", b"1"]);
        assert_eq!(replay.lines("set-cookie"), cookies);
        assert_eq!(replay.header("x-request-id"), None);
        let mismatch = request.effect("b").send().await;
        mismatch.assert_problem("key-reused");
        for answer in [first, replay, mismatch] {
            assert_eq!(answer.lines("idempotency-key"), [b"k"]);
        }
    }
}

async fn r8_cached_replay_asks_no_server<F: Framework>(world: &World<F>) {
    let mut server = Private::start();
    let cached = world.on(&server, caching());
    let plain = world.on(&server, Config::new());
    let written = cached.post("/effects").key("written").effect("a");
    let read = plain.post("/effects").key("read").effect("a");
    let (first, other) = (written.send().await, read.send().await);
    let read = read.to(cached.address);
    read.send().await.assert_replays(&other);
    server.kill();
    written.send().await.assert_replays(&first);
    read.send().await.assert_replays(&other);
    written
        .clone()
        .effect("b")
        .send()
        .await
        .assert_problem("key-reused");
    let uncached = written.to(plain.address).send().await;
    uncached.assert_problem_of_steps("unavailable");
    assert_eq!(world.control.entries(), 2);
}

async fn r11_r12_body_is_left_out_or_sealed<F: Framework>(world: &World<F>) {
    const SECRET: &str = "IBAN DE02120300000000202051";
    const LOCATION: &str = "/accounts/202051";
    let seal = |number: u32| {
        let pepper = format!("the pepper with the number {number}");
        let seal = Seal::try_new(number, pepper.as_bytes());
        Config::new().with_seal(seal.expect("the pepper is long enough"))
    };
    let reply = Reply::bytes(201, SECRET).header("location", LOCATION);
    let secret = Scene::new([Act::Wait]).answer(reply.clone());
    let (plain, sealed) = (world.instance().await, world.configured(seal(1)).await);
    let stored = async |text: &str| {
        let response: Vec<u8> = world
            .run(&format!("HGET {} response", world.key().await))
            .await;
        response
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    world.control.play([secret]);
    let request = plain.post("/secret").key("k").effect("a");
    let first = request.start();
    world.control.at_gate(1).await;
    let waiter = request.start();
    world.control.extracted(2).await;
    world.control.open(1);
    let first = first.answer().await;
    assert_eq!(first.text(), SECRET);
    for replay in [waiter.answer().await, request.send().await] {
        assert!(replay.is_replay());
        assert_eq!((replay.status, &*replay.text()), (201, ""));
        assert_eq!(replay.header("location"), Some(LOCATION));
        assert_eq!(replay.header("idempotency-body"), Some("omitted"));
    }
    assert_eq!(
        (stored(SECRET).await, stored(LOCATION).await),
        (false, true)
    );
    assert_eq!(plain.engine.erase(Some("acme")).await.expect("erases"), 1);

    world.control.play([Scene::answering(reply)]);
    let request = sealed.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(
        (stored(SECRET).await, stored(LOCATION).await),
        (false, false)
    );
    for stranger in [world.configured(seal(2)).await, plain] {
        let answer = request.clone().to(stranger.address).send().await;
        answer.assert_problem_of_steps("record-unreadable");
    }
    assert_eq!(world.control.entries(), 2);
}
