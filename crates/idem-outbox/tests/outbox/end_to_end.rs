//! From a request to the effect of its messages: producers are cut off, relays, consumers and the broker are killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, AckKind, stream};
use fastrand::Rng;
use futures_util::StreamExt as _;
use idem_consume::{Consumer, Delivery, Event, MessageId, Verdict, idempotent};
use idem_core::once::{Error, Failure, Once};
use idem_core::{Attempt, Engine, PostgresStore};
use idem_outbox::{Message, Outbox, PushError, Relay};
use idem_tests::Postgres;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{sleep, timeout};
use xtask::server::{NATS, Server};

use crate::site::{Ended, Site, until};

/// The messages of a request.
const MESSAGES: usize = 2;

/// The requests, and the kills of the broker: for 1,000 messages; with `FAULTS_LONG` for 12,000.
fn extent() -> (usize, usize) {
    match std::env::var_os("FAULTS_LONG") {
        Some(_) => (6_600, 20),
        None => (550, 3),
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    order: usize,
}

/// The consumer: the id of a message in the outbox is its key.
#[idempotent(ttl = "1h", operation = "ship", key = "id", unscoped)]
async fn ship(
    tx: &mut PgConnection,
    id: MessageId,
    order: Event<Order>,
) -> Result<(), idem_consume::Failure> {
    let insert = sqlx::query("INSERT INTO effects (tenant, label) VALUES ($1, $2)");
    let insert = insert.bind(order.order.to_string()).bind(&id.0);
    insert.execute(tx).await?;
    Ok(())
}

/// What has happened.
#[derive(Debug, Default)]
struct Counts {
    cut_off: AtomicUsize,
    published: AtomicUsize,
    delivered: AtomicUsize,
    dead: AtomicUsize,
    requests: AtomicUsize,
}

/// One of so many times.
fn sometimes(times: u8) -> bool {
    fastrand::u8(..times) == 0
}

/// Adds one.
fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn of(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

/// The broker, with a stream whose own window for duplicates is as short as it can be: they are to reach the consumer.
async fn broker() -> (Server, Context) {
    let server = Server::start(&NATS).unwrap();
    let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let client = client.connect(server.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    let config = stream::Config {
        name: "ORDERS".to_owned(),
        subjects: vec!["orders".to_owned()],
        duplicate_window: Duration::from_millis(100),
        ..stream::Config::default()
    };
    let stream = jetstream.create_stream(config).await.unwrap();
    let config = pull::Config {
        durable_name: Some("shipping".to_owned()),
        ack_wait: Duration::from_secs(1),
        ..pull::Config::default()
    };
    stream.create_consumer(config).await.unwrap();
    (server, jetstream)
}

/// A client that asks until there is an answer, and leaves before it now and then. Returns the ids of its messages.
async fn produce(
    site: &Site<Postgres>,
    order: usize,
    seed: u64,
    counts: &Counts,
) -> Vec<(String, String)> {
    let mut rng = Rng::with_seed(seed);
    let key = order.to_string();
    let mut is_first = true;
    loop {
        let is_first = std::mem::replace(&mut is_first, false);
        let work = async |tx: &mut PgConnection, attempt: &Attempt| -> Ended<Vec<String>> {
            let mut ids = Vec::new();
            for _ in 0..MESSAGES {
                let payload = Order { order };
                let outbox = &site.outbox;
                ids.push(outbox.push(tx, attempt, "orders", &payload).await?);
            }
            match order % 11 {
                0 => Err(Failure::Final("refused".to_owned())),
                1 if is_first => Err(Failure::Again(PushError::Unnamed)),
                _ => Ok(ids),
            }
        };
        let asked = site.order(&key, work);
        let patience = match rng.u8(..4) {
            0 => Duration::from_micros(rng.u64(..8_000)),
            _ => Duration::from_secs(30),
        };
        match timeout(patience, asked).await {
            Ok(Ok(Once::Fresh(ids) | Once::Replayed(ids))) => {
                return ids.into_iter().map(|id| (key.clone(), id)).collect();
            }
            Ok(Err(Error::Final(_))) => return Vec::new(),
            Ok(Err(error)) => {
                assert!(error.is_retryable(), "{error:?}");
                sleep(Duration::from_millis(5)).await;
            }
            Err(_) => count(&counts.cut_off),
        }
    }
}

fn relay(outbox: Outbox<PostgresStore>, jetstream: Context, counts: Arc<Counts>) -> JoinHandle<()> {
    let publish = async move |message: Message| {
        if sometimes(20) {
            return Err(std::io::Error::other("the connection is lost").into());
        }
        count(&counts.published);
        let publish = PublishMessage::build()
            .payload(message.payload)
            .message_id(message.id);
        let sent = jetstream.send_publish(message.topic, publish).await?;
        sent.await?;
        if sometimes(20) {
            return Err(std::io::Error::other("the confirmation is lost").into());
        }
        if sometimes(50) {
            // Long enough for a kill before the deletion of the batch.
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    };
    let relay = Relay::new(outbox, publish)
        .with_batch(50)
        .with_timeout(Duration::from_millis(500))
        .with_poll_interval(Duration::from_millis(100))
        .with_delays(Duration::from_millis(150), Duration::from_millis(500));
    tokio::spawn(async move {
        relay.run().await;
    })
}

fn consumer(
    engine: Engine<PostgresStore>,
    jetstream: Context,
    counts: Arc<Counts>,
) -> JoinHandle<()> {
    let consumer = Consumer::new(engine);
    let handle = async move |message: jetstream::Message| {
        count(&counts.delivered);
        let headers = message.headers.as_ref().unwrap();
        let id = headers.get("Nats-Msg-Id").unwrap();
        let delivery = Delivery::new(message.payload.clone()).with_id(id);
        let answer = match consumer.run(ship, delivery).await {
            Verdict::Done { .. } => AckKind::Ack,
            Verdict::Again { after, .. } => {
                AckKind::Nak(Some(after.unwrap_or(Duration::from_millis(50))))
            }
            Verdict::Dead(_) => {
                count(&counts.dead);
                AckKind::Term
            }
        };
        // If it is lost, the message is delivered again.
        if !sometimes(20) {
            let _ = message.ack_with(answer).await;
        }
    };
    tokio::spawn(async move {
        loop {
            if let Some(pull) = pull(&jetstream).await
                && let Ok(messages) = pull.stream().max_messages_per_batch(20).messages().await
            {
                let messages = messages.take_while(|message| std::future::ready(message.is_ok()));
                messages
                    .for_each_concurrent(8, async |message| handle(message.unwrap()).await)
                    .await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
}

async fn pull(jetstream: &Context) -> Option<PullConsumer> {
    let consumer = jetstream.get_consumer_from_stream("shipping", "ORDERS");
    consumer.await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn x37_killed_relays_consumers_and_broker_lose_and_double_nothing() {
    let (requests, most_kills) = extent();
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let (mut server, jetstream) = broker().await;
    let site = Arc::new(Site::<Postgres>::new().await);
    let shipping = Site::<Postgres>::new().await;
    let outbox = site.instance().await;
    let counts = Arc::new(Counts::default());

    let producing = tokio::spawn({
        let (site, counts) = (Arc::clone(&site), Arc::clone(&counts));
        async move {
            let producers = futures_util::stream::iter(0..requests).map(async |order| {
                let ids = produce(&site, order, seed ^ order as u64, &counts).await;
                count(&counts.requests);
                ids
            });
            let ids: Vec<_> = producers.buffer_unordered(8).collect().await;
            ids.concat()
        }
    });
    let start = |number: usize| {
        let (jetstream, counts) = (jetstream.clone(), Arc::clone(&counts));
        match number {
            0..3 => relay(outbox.clone(), jetstream, counts),
            _ => consumer(shipping.engine.clone(), jetstream, counts),
        }
    };
    let mut tasks: Vec<_> = (0..6).map(start).collect();
    let (mut kills, mut kills_of_broker) = (0, 0);
    while !producing.is_finished() {
        sleep(Duration::from_millis(rng.u64(20..120))).await;
        let killed = rng.usize(..tasks.len());
        tasks[killed].abort();
        tasks[killed] = start(killed);
        kills += 1;
        if of(&counts.requests) > requests * (kills_of_broker + 1) / (most_kills + 1) {
            block_in_place(|| {
                server.kill().unwrap();
                server.restart().unwrap();
            });
            kills_of_broker += 1;
        }
    }
    let pushed = producing.await.unwrap();
    until(async || site.counts().await == (0, 0)).await;
    until(async || match pull(&jetstream).await {
        Some(mut consumer) => consumer
            .info()
            .await
            .is_ok_and(|info| info.num_pending == 0 && info.num_ack_pending == 0),
        None => false,
    })
    .await;
    tasks.iter().for_each(JoinHandle::abort);

    let pool = shipping.pool().await;
    let effects = sqlx::query_as::<_, (String, String)>("SELECT tenant, label FROM effects");
    let mut effects = effects.fetch_all(&pool).await.unwrap();
    eprintln!(
        "{} messages of {requests} requests, {} producers cut off, {kills} tasks killed, {kills_of_broker} kills of \
         the broker; {} publications, {} deliveries, {} effects",
        pushed.len(),
        of(&counts.cut_off),
        of(&counts.published),
        of(&counts.delivered),
        effects.len()
    );
    effects.sort();
    let expected: BTreeSet<_> = pushed.iter().cloned().collect();
    assert_eq!(expected.len(), pushed.len(), "each has its own id");
    assert!(pushed.len() >= (requests - requests / 11 - 1) * MESSAGES);
    assert!(effects.into_iter().eq(expected), "each takes effect once");
    assert_eq!(of(&counts.dead), 0);
    assert!(kills > 0 && kills_of_broker > 0, "nothing was killed");
    // Or the consumer had nothing to do.
    assert!(of(&counts.published) > pushed.len() && of(&counts.delivered) > pushed.len());
    drop(pool);
    shipping.remove().await;
}
