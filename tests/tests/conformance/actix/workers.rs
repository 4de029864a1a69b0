//! actix-web's many threads with a runtime each, and HTTP/2 without TLS.

use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use idem_tests::{Actix, Database, Framework, Instance, Scene, World, answers, conformance};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

conformance![
    by Actix:
    c1_duplicates_on_all_workers_are_one_flight,
    o10_attempt_runs_to_its_end_when_an_http2_stream_is_reset,
    o10_attempt_runs_to_its_end_when_an_http2_connection_is_gone,
    o11_attempts_on_all_workers_end_before_the_workers_do,
];

async fn c1_duplicates_on_all_workers_are_one_flight<D: Database>(world: &World<Actix, D>)
where
    Actix: Framework<D>,
{
    let instance = world.instance_of(1).await;
    let request = instance.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    // Connections go to the workers by turns.
    let duplicates: Vec<_> = (0..8).map(|_| request.start()).collect();
    world.control.extracted(9).await;
    assert!(instance.pool.try_acquire().is_none(), "the attempt has it");
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    for duplicate in answers(duplicates).await {
        duplicate.assert_replays(&first);
    }
    assert_eq!(world.control.entries(), 1);
}

/// A request of HTTP/2 in the middle of its handler.
struct Http2 {
    _client: SendRequest<bytes::Bytes>,
    response: ResponseFuture,
    body: h2::SendStream<bytes::Bytes>,
    connection: JoinHandle<()>,
}

impl Http2 {
    async fn begin<D: Database>(world: &World<Actix, D>, instance: &Instance<D>) -> Self
    where
        Actix: Framework<D>,
    {
        world.control.play([Scene::gated()]);
        let stream = TcpStream::connect(instance.address).await;
        let handshake = h2::client::handshake(stream.expect("the instance listens"));
        let (mut client, connection) = handshake.await.expect("the instance speaks HTTP/2");
        let connection = tokio::spawn(async move { drop(connection.await) });
        let request = http::Request::post(format!("http://{}/patient", instance.address))
            .header("x-tenant", "acme")
            .header("idempotency-key", "k")
            .header("content-type", "application/json")
            .body(())
            .expect("a request");
        let sent = client.send_request(request, false);
        let (response, mut body) = sent.expect("the request is sent");
        let label = bytes::Bytes::from_static(br#"{"label":"a"}"#);
        body.send_data(label, true).expect("the body is sent");
        world.control.entered(1).await;
        Self {
            _client: client,
            response,
            body,
            connection,
        }
    }
}

async fn ends_and_replays<D: Database>(world: &World<Actix, D>, instance: &Instance<D>)
where
    Actix: Framework<D>,
{
    world.control.open(1);
    let retry = instance.post("/patient").key("k").effect("a").send().await;
    assert!(retry.is_replay(), "{}", retry.text());
    assert_eq!(retry.json()["attempt"], 1);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o10_attempt_runs_to_its_end_when_an_http2_stream_is_reset<D: Database>(
    world: &World<Actix, D>,
) where
    Actix: Framework<D>,
{
    let instance = world.instance().await;
    let mut request = Http2::begin(world, &instance).await;
    request.body.send_reset(Reason::CANCEL);
    request.response.await.expect_err("the stream is reset");
    ends_and_replays(world, &instance).await;
}

async fn o10_attempt_runs_to_its_end_when_an_http2_connection_is_gone<D: Database>(
    world: &World<Actix, D>,
) where
    Actix: Framework<D>,
{
    let instance = world.instance().await;
    let request = Http2::begin(world, &instance).await;
    request.connection.abort();
    let aborted = request.connection.await;
    assert!(aborted.is_err_and(|error| error.is_cancelled()));
    ends_and_replays(world, &instance).await;
}

async fn o11_attempts_on_all_workers_end_before_the_workers_do<D: Database>(world: &World<Actix, D>)
where
    Actix: Framework<D>,
{
    let instance = world.instance().await;
    let attempts = if D::ONE_WRITER { 1 } else { 4 };
    world.control.play((0..attempts).map(|_| Scene::gated()));
    let keys = (0..attempts).map(|number| format!("k{number}"));
    let request = instance.post("/effects").effect("a");
    let mut clients = Vec::new();
    for key in keys {
        clients.push(request.clone().key(key).open().await);
    }
    world.control.entered(attempts).await;
    let gone = clients.pop().expect("a client");
    gone.reset();
    let (stopped, ()) = tokio::join!(instance.stop(), async { world.control.open(attempts) });
    let () = stopped;
    for client in clients {
        client.answer().await.assert_executed(201);
    }
    let effects = i64::try_from(attempts).expect("few");
    assert_eq!(world.effects("acme").await, effects);
    assert_eq!(world.records().await, effects);
}
