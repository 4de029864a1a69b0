//! The example under faults: its processes and the broker are killed, messages are published twice, acknowledgements
//! are lost. The last three tests are controls: they show the effects that are missing, and the one that is double.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::Stream;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{AckKind, Message, stream};
use fastrand::Rng;
use futures_util::StreamExt as _;
use idem_consume::{
    Cause, Consumer, Delivery, Engine, Event, Failure, MessageId, Problem, SqliteStore, Verdict,
    idempotent,
};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{Row as _, SqliteConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use xtask::server::{NATS, Server};

/// How long everything may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A broker of one test alone, and a database.
struct Site {
    broker: Server,
    jetstream: Context,
    folder: TempDir,
}

impl Site {
    /// JetStream's own window for duplicates is as short as it can be: they are to reach the consumer. A message that
    /// is not acknowledged comes again after a second.
    async fn new() -> Self {
        let broker = Server::start(&NATS).expect("a broker of its own");
        let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = client.connect(broker.url()).await.expect("a connection");
        let jetstream = async_nats::jetstream::new(client);
        let config = stream::Config {
            name: "ORDERS".to_owned(),
            subjects: vec!["orders.paid".to_owned()],
            duplicate_window: Duration::from_millis(100),
            ..stream::Config::default()
        };
        let stream = jetstream.create_stream(config).await.expect("a stream");
        for name in ["shipping", "audit"] {
            let config = pull::Config {
                durable_name: Some(name.to_owned()),
                ack_wait: Duration::from_secs(1),
                ..pull::Config::default()
            };
            stream.create_consumer(config).await.expect("a consumer");
        }
        let folder = TempDir::new().expect("a folder");
        Self {
            broker,
            jetstream,
            folder,
        }
    }

    fn database(&self) -> String {
        let file = self.folder.path().join("shipments.db");
        file.to_str().expect("a path").to_owned()
    }

    fn process(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_shipping"))
            .args(["--nats-url", self.broker.url()])
            .args(["--database", &self.database()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the example starts")
    }

    /// Publishes until the broker has confirmed it, so a message can be there more than once.
    async fn publish(&self, order: &str, cents: i64) {
        let until = Instant::now() + TIMEOUT;
        loop {
            let payload = format!(r#"{{"tenant": "acme", "order": "{order}", "cents": {cents}}}"#);
            let message = PublishMessage::build()
                .payload(payload.into())
                .message_id(order);
            let sent = self.jetstream.send_publish("orders.paid", message).await;
            match sent.expect("an open client").await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        }
    }

    async fn consumer(&self, name: &str) -> PullConsumer {
        let consumer = self.jetstream.get_consumer_from_stream(name, "ORDERS");
        consumer.await.expect("the consumer")
    }

    async fn deliveries(&self, name: &str) -> Stream {
        let deliveries = self.consumer(name).await.messages().await;
        deliveries.expect("messages")
    }

    /// Waits until every message is acknowledged, or ended as a dead letter.
    async fn is_drained(&self) {
        let until = Instant::now() + TIMEOUT;
        let mut consumer = self.consumer("shipping").await;
        loop {
            if let Ok(info) = consumer.info().await
                && info.num_pending == 0
                && info.num_ack_pending == 0
            {
                return;
            }
            assert!(Instant::now() < until, "not drained: {consumer:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The orders that were shipped, each as often as it was.
    async fn shipments(&self) -> Vec<String> {
        let pool = pool(Path::new(&self.database())).await;
        let rows = sqlx::query("SELECT order_id FROM shipments ORDER BY order_id");
        let rows = rows.fetch_all(&pool).await.expect("the shipments");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

async fn pool(file: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    SqlitePool::connect_with(options).await.expect("a database")
}

fn order(number: usize) -> String {
    format!("order-{number:04}")
}

#[tokio::test]
async fn x35_killed_consumers_and_broker_ship_every_order_once() {
    const ORDERS: usize = 600;
    const UNPAID: usize = 20;
    let mut site = Site::new().await;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut processes = [site.process(), site.process()];
    let mut kills = 0;
    let mut published = 0;
    for number in 0..ORDERS {
        site.publish(&order(number), 500).await;
        published += 1;
        // A producer that does not know whether it has published publishes again.
        if number >= 40 && rng.u8(..4) == 0 {
            site.publish(&order(rng.usize(..number - 20)), 500).await;
            published += 1;
        }
        if number % 30 == 29 {
            let killed = rng.usize(..2);
            processes[killed].kill().await.expect("a process");
            processes[killed] = site.process();
            kills += 1;
        }
        if number % 200 == 199 {
            site.broker.kill().expect("a broker");
            site.broker.restart().expect("the same broker again");
        }
    }
    for number in 0..UNPAID {
        site.publish(&format!("unpaid-{number}"), 0).await;
    }
    site.is_drained().await;
    let expected: Vec<String> = (0..ORDERS).map(order).collect();
    assert_eq!(site.shipments().await, expected, "each order once");
    let dead = site.jetstream.get_stream("ORDERS-DEAD").await;
    let dead = dead.expect("the dead letters").cached_info().state.messages;
    assert!(dead >= UNPAID as u64, "{dead} of {UNPAID} dead letters");
    eprintln!(
        "{published} messages of {ORDERS} orders, {kills} kills, 3 of the broker, {dead} dead letters"
    );
}

#[tokio::test]
async fn x35_poison_is_a_dead_letter_and_the_queue_goes_on() {
    let site = Site::new().await;
    let _process = site.process();
    let poison = PublishMessage::build().payload("{".into());
    let sent = site.jetstream.send_publish("orders.paid", poison).await;
    sent.expect("a client").await.expect("a place");
    site.publish("a", 500).await;
    site.is_drained().await;
    assert_eq!(site.shipments().await, ["a"]);
    let mut dead = site.jetstream.get_stream("ORDERS-DEAD").await.expect("it");
    assert_eq!(dead.info().await.expect("it").state.messages, 1);
    let letter = dead.get_raw_message(1).await.expect("a letter");
    assert_eq!(&*letter.payload, b"{");
    let cause = letter.headers.get("Cause").expect("a cause").as_str();
    assert!(cause.starts_with("the content is not"), "{cause}");
}

/// A consumer in this process.
#[idempotent(ttl = "1h", operation = "count", key = "id", unscoped)]
async fn count(
    tx: &mut SqliteConnection,
    id: MessageId,
    order: Event<serde_json::Value>,
) -> Result<(), Failure> {
    insert(tx, &id, &order).await
}

/// Another one.
#[idempotent(ttl = "1h", operation = "audit", key = "id", unscoped)]
async fn audit(
    tx: &mut SqliteConnection,
    id: MessageId,
    order: Event<serde_json::Value>,
) -> Result<(), Failure> {
    insert(tx, &id, &order).await
}

/// One that ends when the test lets it.
#[idempotent(ttl = "1h", operation = "count_slowly", key = "id", unscoped)]
async fn count_slowly(
    tx: &mut SqliteConnection,
    id: MessageId,
    order: Event<serde_json::Value>,
) -> Result<(), Failure> {
    insert(tx, &id, &order).await?;
    PERMITS.acquire().await?.forget();
    Ok(())
}

static PERMITS: Semaphore = Semaphore::const_new(0);

async fn insert(
    tx: &mut SqliteConnection,
    id: &MessageId,
    order: &serde_json::Value,
) -> Result<(), Failure> {
    let insert = sqlx::query("INSERT INTO effects (id, content) VALUES (?, ?)");
    let insert = insert.bind(&id.0).bind(order.to_string());
    insert.execute(tx).await?;
    Ok(())
}

async fn next(deliveries: &mut Stream) -> Message {
    let message = tokio::time::timeout(TIMEOUT, deliveries.next()).await;
    let message = message.expect("a delivery").expect("a stream");
    message.expect("a message")
}

/// The delivery of a message that its producer has named.
fn named(message: &Message) -> Delivery {
    let headers = message.headers.as_ref().expect("headers");
    let id = headers.get("Nats-Msg-Id").expect("an id");
    Delivery::new(message.payload.clone()).with_id(id)
}

/// The engine and the effects of the consumers.
struct Counting {
    consumer: Consumer<Engine<SqliteStore>>,
    pool: SqlitePool,
}

impl Counting {
    async fn new() -> Self {
        let store = SqliteStore::in_memory().await.expect("a database");
        store.migrate().await.expect("the tables");
        let pool = store.pool().clone();
        let create = "CREATE TABLE effects (id TEXT NOT NULL, content TEXT NOT NULL)";
        sqlx::query(create).execute(&pool).await.expect("a table");
        Self {
            consumer: Consumer::new(Engine::new(store)),
            pool,
        }
    }

    async fn effects(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM effects");
        count.fetch_one(&self.pool).await.expect("a number")
    }
}

#[tokio::test]
async fn x35_lost_acknowledgements_are_duplicates() {
    const ORDERS: usize = 50;
    let site = Site::new().await;
    for number in 0..ORDERS {
        site.publish(&format!("{number}"), 500).await;
    }
    let counting = Counting::new().await;
    let mut seen = BTreeSet::new();
    let mut deliveries = site.deliveries("shipping").await;
    let mut duplicates = 0;
    while seen.len() < ORDERS || duplicates < ORDERS {
        let message = next(&mut deliveries).await;
        let place = message.info().expect("a place").stream_sequence;
        let delivery = Delivery::new(message.payload.clone()).with_id(place);
        let verdict = counting.consumer.run(count, delivery).await;
        let Verdict::Done { is_duplicate } = verdict else {
            panic!("{verdict:?}")
        };
        // The first acknowledgement of each message is lost.
        assert_eq!(is_duplicate, !seen.insert(place), "{place}");
        if is_duplicate {
            duplicates += 1;
            message.double_ack().await.expect("an acknowledgement");
        }
    }
    site.is_drained().await;
    assert_eq!(counting.effects().await, 50);
}

#[tokio::test]
async fn x35_redelivery_while_the_first_delivery_runs_is_sent_back() {
    let site = Site::new().await;
    site.publish("a", 500).await;
    let counting = Counting::new().await;
    let mut deliveries = site.deliveries("shipping").await;
    let first = next(&mut deliveries).await;
    let running = tokio::spawn({
        let (consumer, delivery) = (counting.consumer.clone(), named(&first));
        async move { consumer.run(count_slowly, delivery).await }
    });
    // The broker takes the first delivery for lost.
    let second = next(&mut deliveries).await;
    assert_eq!(second.info().expect("a place").delivered, 2);
    let verdict = counting.consumer.run(count_slowly, named(&second)).await;
    let Verdict::Again {
        after,
        cause: Cause::Problem(Problem::InFlight),
    } = verdict
    else {
        panic!("{verdict:?}")
    };
    second
        .ack_with(AckKind::Nak(after))
        .await
        .expect("an answer");
    PERMITS.add_permits(1);
    let verdict = running.await.expect("a verdict");
    assert!(matches!(
        verdict,
        Verdict::Done {
            is_duplicate: false
        }
    ));
    // Its acknowledgement is lost.
    let third = next(&mut deliveries).await;
    let verdict = counting.consumer.run(count_slowly, named(&third)).await;
    assert!(matches!(verdict, Verdict::Done { is_duplicate: true }));
    third.double_ack().await.expect("an acknowledgement");
    site.is_drained().await;
    assert_eq!(counting.effects().await, 1);
}

#[tokio::test]
async fn x35_two_consumers_of_one_message_take_effect_once_each() {
    let site = Site::new().await;
    site.publish("a", 500).await;
    let counting = Counting::new().await;
    let mut shipping = site.deliveries("shipping").await;
    let mut auditing = site.deliveries("audit").await;
    for is_again in [false, true] {
        let (shipped, audited) = (next(&mut shipping).await, next(&mut auditing).await);
        let verdicts = tokio::join!(
            counting.consumer.run(count, named(&shipped)),
            counting.consumer.run(audit, named(&audited)),
        );
        for verdict in [verdicts.0, verdicts.1] {
            let Verdict::Done { is_duplicate } = verdict else {
                panic!("{verdict:?}")
            };
            assert_eq!(is_duplicate, is_again);
        }
        assert_eq!(counting.effects().await, 2);
        if is_again {
            shipped.double_ack().await.expect("an acknowledgement");
            audited.double_ack().await.expect("an acknowledgement");
        }
    }
}

#[tokio::test]
async fn control_two_consumers_with_one_name_share_the_effect() {
    let site = Site::new().await;
    site.publish("a", 500).await;
    let counting = Counting::new().await;
    for name in ["shipping", "audit"] {
        let message = next(&mut site.deliveries(name).await).await;
        let _ = counting.consumer.run(count, named(&message)).await;
        message.double_ack().await.expect("an acknowledgement");
    }
    assert_eq!(counting.effects().await, 1);
}

#[tokio::test]
async fn control_an_acknowledgement_before_the_commit_loses_the_effect() {
    let site = Site::new().await;
    site.publish("a", 500).await;
    let counting = Counting::new().await;
    let mut deliveries = site.deliveries("shipping").await;
    let message = next(&mut deliveries).await;
    message.double_ack().await.expect("an acknowledgement");
    // The consumer dies in its attempt: its first poll has not ended it.
    let delivery = Delivery::new(message.payload.clone()).with_id("a");
    let attempt = counting.consumer.run(count, delivery);
    assert!(futures_util::poll!(Box::pin(attempt)).is_pending());
    site.is_drained().await;
    let again = tokio::time::timeout(Duration::from_secs(2), deliveries.next()).await;
    assert!(again.is_err(), "it is not delivered again");
    assert_eq!(counting.effects().await, 0, "and has no effect");
}

#[tokio::test]
async fn control_a_place_in_the_stream_is_no_id_of_a_producer_s_duplicate() {
    let site = Site::new().await;
    for _ in 0..2 {
        site.publish("a", 500).await;
        sleep(Duration::from_millis(200)).await; // JetStream's own window
    }
    let (places, ids) = (Counting::new().await, Counting::new().await);
    let mut deliveries = site.deliveries("shipping").await;
    for _ in 0..2 {
        let message = next(&mut deliveries).await;
        let place = message.info().expect("a place").stream_sequence;
        let by_place = named(&message).with_id(place);
        let _ = places.consumer.run(count, by_place).await;
        let _ = ids.consumer.run(count, named(&message)).await;
        message.ack_with(AckKind::Ack).await.expect("an answer");
    }
    assert_eq!((places.effects().await, ids.effects().await), (2, 1));
}
