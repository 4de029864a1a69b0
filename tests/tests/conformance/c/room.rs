//! The limit of attempts, and requests that are answered where it is reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use idem_core::ReplayCache;
use idem_tests::{
    Act, Database, Framework, Instance, Scene, Settings, Wires, World, answers, conformance,
    max_in_flight,
};
use tokio::net::TcpStream;

conformance![
    c4_attempt_without_room_is_unavailable,
    c4_replay_and_mismatch_need_no_room,
    c4_future_after_the_commit_takes_no_room,
    r2_thousand_replays_at_once_are_all_answered,
    r2_replays_at_once_are_answered_where_nobody_waits,
    r2_replay_without_a_connection_is_unavailable,
];

/// An instance with room for one attempt, and with a replay cache.
async fn narrow<F: Framework<D>, D: Database>(world: &World<F, D>) -> Arc<Instance<D>> {
    let cache = ReplayCache::new(10_000, Duration::from_hours(1));
    let config = max_in_flight(1).with_replay_cache(cache);
    world.configured(config).await
}

async fn c4_attempt_without_room_is_unavailable<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = narrow(world).await;
    let request = instance.post("/effects").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.clone().key("first").start();
    world.control.at_gate(1).await;
    let second = request.key("second");
    second.send().await.assert_problem("unavailable");
    assert_eq!(world.control.entries(), 1);
    world.control.open(1);
    first.answer().await.assert_executed(201);
    second.send().await.assert_executed(201);
}

/// They are answered from memory.
async fn c4_replay_and_mismatch_need_no_room<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = narrow(world).await;
    let request = instance.post("/patient").effect("a");
    let settled = request.clone().key("settled");
    let earlier = settled.send().await;
    earlier.assert_executed(201);
    world.control.play([Scene::gated()]);
    let owner = request.key("owner");
    let first = owner.start();
    world.control.at_gate(1).await;
    for _ in 0..4 {
        settled.send().await.assert_replays(&earlier);
    }
    let other = settled.effect("other").send().await;
    other.assert_problem("key-reused");
    let waiter = owner.start();
    world.control.extracted(8).await;
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    waiter.answer().await.assert_replays(&first);
}

async fn c4_future_after_the_commit_takes_no_room<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = narrow(world).await;
    let request = instance.post("/effects").effect("a");
    let scene = Scene::new([Act::Insert, Act::AfterCommitGated]);
    world.control.play(vec![scene; 3]);
    for number in 0..3 {
        let request = request.clone().key(format!("key-{number}"));
        let first = request.send().await;
        first.assert_executed(201);
        world.control.at_gate(number + 1).await;
        request.send().await.assert_replays(&first);
    }
    assert_eq!(world.control.commits(), 0, "all of them still run");
    world.control.open(3);
    world.control.committed(3).await;
    assert_eq!(world.effects("acme").await, 3);
}

async fn r2_thousand_replays_at_once_are_all_answered<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    are_all_answered(world, "/effects", 1000).await;
}

async fn r2_replays_at_once_are_answered_where_nobody_waits<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    are_all_answered(world, "/hasty", 64).await;
}

/// A request for a settled key only reads: no handler runs, so no attempt is in flight.
async fn are_all_answered<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    path: &str,
    replays: usize,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let first = one.post(path).key("k").effect("a").send().await;
    first.assert_executed(201);
    // The other instance has never seen the key.
    for instance in [one, other] {
        let connections = (0..CONNECTIONS).map(|_| replay(instance.address, path));
        let connections = join_all(connections).await;
        let pending = (0..replays).map(|number| connections[number % CONNECTIONS].send());
        for (status, is_replay, body) in join_all(pending).await {
            assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
            assert!(is_replay);
            assert_eq!(body, first.body);
        }
    }
    assert_eq!(world.control.entries(), 1);
}

/// A process may have no more than 1024 open files by default, so many requests share a connection of HTTP/2.
const CONNECTIONS: usize = 10;

/// Sends the same request again and again.
struct Replay {
    client: SendRequest<Bytes>,
    uri: String,
}

async fn replay(address: SocketAddr, path: &str) -> Replay {
    let stream = TcpStream::connect(address).await;
    let handshake = h2::client::handshake(stream.expect("the instance listens"));
    let (client, connection) = handshake.await.expect("the instance speaks HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    Replay {
        client,
        uri: format!("http://{address}{path}"),
    }
}

impl Replay {
    /// Status, whether it is a replay, and body.
    async fn send(&self) -> (u16, bool, Bytes) {
        let client = self.client.clone().ready().await;
        let mut client = client.expect("the connection is open");
        let request = http::Request::post(&self.uri)
            .header("x-tenant", "acme")
            .header("idempotency-key", "k")
            .header("content-type", "application/json")
            .body(())
            .expect("a request");
        let sent = client.send_request(request, false);
        let (response, mut body) = sent.expect("the request is sent");
        let label = Bytes::from_static(br#"{"label":"a"}"#);
        body.send_data(label, true).expect("the body is sent");
        let response = response.await.expect("a response");
        let is_replay = response.headers().contains_key("idempotency-replayed");
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            bytes.extend_from_slice(&part.expect("the body is whole"));
        }
        (status, is_replay, bytes.into())
    }
}

async fn r2_replay_without_a_connection_is_unavailable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    const REPLAYS: usize = 20;
    let instance = world
        .instance_with(Settings::from(Wires {
            connections: 1,
            acquire_timeout: Duration::from_millis(200),
            ..Wires::default()
        }))
        .await;
    let request = instance.post("/effects").effect("a");
    let settled = [
        request.clone().key("settled"),
        instance.post("/hasty").effect("a").key("settled"),
    ];
    let mut earlier = Vec::new();
    for settled in &settled {
        earlier.push(settled.send().await);
    }
    world.control.play([Scene::gated()]);
    let owner = request.key("owner").start();
    world.control.at_gate(1).await;
    for settled in &settled {
        let pending = (0..REPLAYS).map(|_| settled.start()).collect();
        for answer in answers(pending).await {
            answer.assert_problem("unavailable");
        }
    }
    world.control.open(1);
    owner.answer().await.assert_executed(201);
    for (settled, earlier) in settled.iter().zip(&earlier) {
        settled.send().await.assert_replays(earlier);
    }
}
