//! The example under faults: its processes and the broker are killed, messages are published twice, acknowledgements
//! are lost. The last test is a control: it shows the effect that is missing.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt as _;
use idem_consume::{
    Consumer, Delivery, Engine, Event, Failure, MessageId, SqliteStore, Verdict, idempotent,
};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Queue, message};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{Row as _, SqliteConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use xtask::server::{RABBITMQ, Server};

/// How long everything may take.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The purchases, and the kills of the broker. `FAULTS_LONG` has more of both.
fn extent() -> (usize, usize) {
    match std::env::var_os("FAULTS_LONG") {
        Some(_) => (6_000, 12),
        None => (400, 2),
    }
}

/// A connection to the broker.
struct Client {
    _connection: Connection,
    channel: Channel,
}

impl Client {
    async fn connect(url: &str) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            _connection: connection,
            channel,
        })
    }

    /// Publishes a message that survives the end of the broker. It is stored when this returns.
    async fn publish(&self, queue: &str, id: Option<&str>, cents: i64) -> lapin::Result<()> {
        let payload = format!(r#"{{"shop": "acme", "customer": "ada", "cents": {cents}}}"#);
        let mut properties = BasicProperties::default().with_delivery_mode(2);
        if let Some(id) = id {
            properties = properties.with_message_id(id.into());
        }
        let options = BasicPublishOptions::default();
        let payload = payload.as_bytes();
        let sent =
            self.channel
                .basic_publish("".into(), queue.into(), options, payload, properties);
        let confirmation = sent.await?.await?;
        assert!(confirmation.is_ack(), "{confirmation:?}");
        Ok(())
    }

    /// The numbers of a queue that is there.
    async fn queue(&self, name: &str) -> lapin::Result<Queue> {
        let passive = QueueDeclareOptions::default().passive();
        let declared = self
            .channel
            .queue_declare(name.into(), passive, FieldTable::default());
        declared.await
    }

    async fn messages(&self, name: &str) -> u32 {
        let queue = self.queue(name).await.expect("the queue");
        queue.message_count()
    }

    async fn consumers(&self, name: &str) -> u32 {
        let queue = self.queue(name).await.expect("the queue");
        queue.consumer_count()
    }

    /// Waits until the queue has messages, or has none.
    async fn has_messages(&self, queue: &str, has: bool) {
        let until = Instant::now() + TIMEOUT;
        while (self.messages(queue).await > 0) != has {
            assert!(Instant::now() < until, "{queue}: {has}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes a message out of the queue.
    async fn get(&self, queue: &str) -> message::BasicGetMessage {
        self.has_messages(queue, true).await;
        let options = BasicGetOptions { no_ack: true };
        let message = self.channel.basic_get(queue.into(), options).await;
        message.expect("an answer").expect("a message")
    }

    async fn consume(&self, queue: &str) -> lapin::Consumer {
        let options = BasicConsumeOptions::default();
        let consumer =
            self.channel
                .basic_consume(queue.into(), "".into(), options, FieldTable::default());
        consumer.await.expect("a consumer")
    }
}

/// The example with its database and a queue.
struct Site {
    url: String,
    queue: String,
    folder: TempDir,
}

impl Site {
    fn new(broker: &Server, queue: &str) -> Self {
        Self {
            url: broker.url().to_owned(),
            queue: queue.to_owned(),
            folder: TempDir::new().expect("a folder"),
        }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("credits.db")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log")
    }

    fn process(&self) -> Child {
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log);
        Command::new(env!("CARGO_BIN_EXE_loyalty"))
            .args(["--amqp-url", &self.url, "--queue", &self.queue])
            .arg("--database")
            .arg(self.database())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("the example starts")
    }

    async fn pool(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(self.database())
            .create_if_missing(true);
        SqlitePool::connect_with(options).await.expect("a database")
    }

    /// Waits until all messages are handled, and kills the processes.
    async fn is_drained(&self, processes: &mut [Child; 2]) -> Client {
        let client = self.is_consuming().await;
        let until = Instant::now() + TIMEOUT;
        loop {
            client.has_messages(&self.queue, false).await;
            // A message in the hands of a consumer is not counted: without consumers it is in the queue again.
            for process in &mut *processes {
                process.kill().await.expect("a process");
            }
            while client.consumers(&self.queue).await > 0 {
                assert!(Instant::now() < until, "a consumer is left");
                sleep(Duration::from_millis(5)).await;
            }
            if client.messages(&self.queue).await == 0 {
                return client;
            }
            assert!(Instant::now() < until, "not drained");
            for process in &mut *processes {
                *process = self.process();
            }
            self.is_consuming().await;
        }
    }

    /// Waits until a process has its tables and its queues.
    async fn is_consuming(&self) -> Client {
        let until = Instant::now() + TIMEOUT;
        loop {
            if let Ok(client) = Client::connect(&self.url).await
                && let Ok(queue) = client.queue(&self.queue).await
                && queue.consumer_count() > 0
            {
                return client;
            }
            assert!(Instant::now() < until, "no consumer");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The purchases that were credited, each as often as it was.
async fn credits(pool: &SqlitePool) -> Vec<String> {
    let rows = sqlx::query("SELECT message FROM credits ORDER BY message");
    let rows = rows.fetch_all(pool).await.expect("the credits");
    rows.iter().map(|row| row.get(0)).collect()
}

fn purchase(number: usize) -> String {
    format!("purchase-{number:04}")
}

/// A publisher that publishes until the broker has confirmed it, so a message can be there more than once.
struct Publisher {
    url: String,
    client: Option<Client>,
    sent: usize,
}

impl Publisher {
    async fn publish(&mut self, queue: &str, id: &str, cents: i64) {
        let until = Instant::now() + TIMEOUT;
        loop {
            if self.client.is_none() {
                self.client = Client::connect(&self.url).await.ok();
            }
            if let Some(client) = &self.client {
                self.sent += 1;
                if client.publish(queue, Some(id), cents).await.is_ok() {
                    return;
                }
            }
            self.client = None;
            assert!(Instant::now() < until, "not published");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn x38_killed_consumers_and_broker_credit_every_purchase_once() {
    const EMPTY: usize = 10;
    let (purchases, broker_kills) = extent();
    let mut broker = Server::start(&RABBITMQ).expect("a broker of its own");
    let site = Site::new(&broker, "purchases");
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut processes = [site.process(), site.process()];
    let mut publisher = Publisher {
        url: site.url.clone(),
        client: Some(site.is_consuming().await),
        sent: 0,
    };
    // The publisher goes on while the broker is away.
    let (kill, orders) = std::sync::mpsc::channel::<()>();
    let broker = std::thread::spawn(move || {
        for () in orders {
            broker.kill().expect("a broker");
            broker.restart().expect("the same broker again");
        }
        broker
    });
    let mut kills = 0;
    for number in 0..purchases {
        let id = purchase(number);
        publisher.publish(&site.queue, &id, 500).await;
        // A publisher that does not know whether it has published publishes again.
        if number >= 40 && rng.u8(..4) == 0 {
            let again = purchase(rng.usize(..number - 20));
            publisher.publish(&site.queue, &again, 500).await;
        }
        if number % 30 == 29 {
            let killed = rng.usize(..2);
            processes[killed].kill().await.expect("a process");
            processes[killed] = site.process();
            kills += 1;
        }
        if number % (purchases / broker_kills) == 50 {
            kill.send(()).expect("a broker");
        }
    }
    drop(kill);
    let _broker = broker.join().expect("a broker");
    for number in 0..EMPTY {
        let id = format!("empty-{number}");
        publisher.publish(&site.queue, &id, 0).await;
    }
    let client = site.is_drained(&mut processes).await;
    let expected: Vec<String> = (0..purchases).map(purchase).collect();
    assert_eq!(credits(&site.pool().await).await, expected, "each once");
    let dead = client.messages("purchases-dead").await as usize;
    assert!(dead >= EMPTY, "{dead} of {EMPTY} dead letters");
    let sent = publisher.sent;
    let replayed = site.log().matches("\"replayed\"").count();
    eprintln!(
        "{sent} publications of {purchases} purchases, {kills} kills, {broker_kills} of the broker, {replayed} \
         deliveries without an effect, {dead} dead letters"
    );
}

#[tokio::test]
async fn x38_no_id_is_a_dead_letter_and_a_failure_is_delivered_again_after_a_pause() {
    let broker = Server::find_or_start(&RABBITMQ).expect("a broker");
    let site = Site::new(&broker, &format!("purchases-{}", fastrand::u64(..)));
    let dead = format!("{}-dead", site.queue);
    let _process = site.process();
    let client = site.is_consuming().await;
    let pool = site.pool().await;
    for _ in 0..2 {
        let sent = client.publish(&site.queue, None, 500).await;
        sent.expect("a publication");
    }
    for _ in 0..2 {
        let letter = client.get(&dead).await;
        let headers = letter.properties.headers().as_ref().expect("headers");
        let cause = headers.inner().get("cause").expect("a cause");
        let expected = AMQPValue::LongString("the delivery has no id".into());
        assert_eq!(*cause, expected);
        assert!(letter.data.starts_with(br#"{"shop""#), "{letter:?}");
    }

    let away = "ALTER TABLE credits RENAME TO away";
    sqlx::query(away).execute(&pool).await.expect("no table");
    let (until, start) = (Instant::now() + TIMEOUT, Instant::now());
    let sent = client.publish(&site.queue, Some("a"), 500).await;
    sent.expect("a publication");
    while site.log().matches("delivered again").count() < 3 {
        assert!(Instant::now() < until, "{}", site.log());
        sleep(Duration::from_millis(20)).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(2), "{}", site.log());
    let back = "ALTER TABLE away RENAME TO credits";
    sqlx::query(back).execute(&pool).await.expect("the table");
    while credits(&pool).await != ["a"] {
        assert!(Instant::now() < until, "{}", site.log());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.messages(&dead).await, 0);
    for queue in [&site.queue, &dead] {
        let options = QueueDeleteOptions::default();
        let deleted = client.channel.queue_delete(queue.as_str().into(), options);
        deleted.await.expect("a queue");
    }
}

/// A consumer in this process.
#[idempotent(ttl = "1h", operation = "count", key = "id", unscoped)]
async fn count(
    tx: &mut SqliteConnection,
    id: MessageId,
    purchase: Event<serde_json::Value>,
) -> Result<(), Failure> {
    let insert = sqlx::query("INSERT INTO credits (message, content) VALUES (?, ?)");
    insert
        .bind(&id.0)
        .bind(purchase.0.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// The engine and the effects of [`count`], and a queue.
struct Counting {
    broker: Server,
    queue: String,
    consumer: Consumer<Engine<SqliteStore>>,
    pool: SqlitePool,
}

impl Counting {
    async fn new() -> Self {
        let broker = Server::find_or_start(&RABBITMQ).expect("a broker");
        let store = SqliteStore::in_memory().await.expect("a database");
        store.migrate().await.expect("the tables");
        let pool = store.pool().clone();
        let create = "CREATE TABLE credits (message TEXT NOT NULL, content TEXT NOT NULL)";
        sqlx::query(create).execute(&pool).await.expect("a table");
        let queue = format!("counting-{}", fastrand::u64(..));
        let counting = Self {
            broker,
            queue,
            consumer: Consumer::new(Engine::new(store)),
            pool,
        };
        let mut arguments = FieldTable::default();
        // Nobody else deletes it.
        arguments.insert("x-expires".into(), AMQPValue::LongInt(60_000));
        let (client, options) = (counting.client().await, QueueDeclareOptions::durable());
        let queue = counting.queue.as_str().into();
        let declared = client.channel.queue_declare(queue, options, arguments);
        declared.await.expect("a queue");
        counting
    }

    async fn client(&self) -> Client {
        let client = Client::connect(self.broker.url()).await;
        client.expect("a connection")
    }

    /// Whether the message is a duplicate.
    async fn run(&self, message: &message::Delivery) -> bool {
        let id = message.properties.message_id().as_ref().expect("an id");
        let delivery = Delivery::new(message.data.clone()).with_id(id);
        match self.consumer.run(count, delivery).await {
            Verdict::Done { is_duplicate } => is_duplicate,
            verdict => panic!("{verdict:?}"),
        }
    }
}

#[tokio::test]
async fn x38_the_flag_of_a_redelivery_says_nothing_about_the_effect() {
    let counting = Counting::new().await;
    let client = counting.client().await;
    for id in ["run", "unrun"] {
        let sent = client.publish(&counting.queue, Some(id), 500).await;
        sent.expect("a publication");
    }
    let mut messages = client.consume(&counting.queue).await;
    let run = next(&mut messages).await;
    assert_eq!((run.redelivered, counting.run(&run).await), (false, false));
    next(&mut messages).await;
    // Both acknowledgements are missing.
    drop((messages, client));

    let client = counting.client().await;
    let mut messages = client.consume(&counting.queue).await;
    for is_duplicate in [true, false] {
        let message = next(&mut messages).await;
        let flag = message.redelivered;
        assert_eq!((flag, counting.run(&message).await), (true, is_duplicate));
        acknowledge(&message).await;
    }
    let again = client.publish(&counting.queue, Some("run"), 500).await;
    again.expect("a publication");
    let message = next(&mut messages).await;
    let flag = message.redelivered;
    assert_eq!((flag, counting.run(&message).await), (false, true));
    acknowledge(&message).await;
    assert_eq!(credits(&counting.pool).await, ["run", "unrun"]);
}

#[tokio::test]
async fn control_an_acknowledgement_before_the_commit_loses_the_effect() {
    let counting = Counting::new().await;
    let client = counting.client().await;
    for id in ["lost", "next"] {
        let sent = client.publish(&counting.queue, Some(id), 500).await;
        sent.expect("a publication");
    }
    let mut messages = client.consume(&counting.queue).await;
    let message = next(&mut messages).await;
    acknowledge(&message).await;
    // The consumer dies in its attempt: its first poll has not ended it.
    let delivery = Delivery::new(message.data.clone()).with_id("lost");
    let attempt = counting.consumer.run(count, delivery);
    assert!(futures_util::poll!(Box::pin(attempt)).is_pending());
    drop((messages, client));

    let client = counting.client().await;
    let mut messages = client.consume(&counting.queue).await;
    let message = next(&mut messages).await;
    assert!(!counting.run(&message).await);
    assert_eq!(credits(&counting.pool).await, ["next"]);
}

async fn next(messages: &mut lapin::Consumer) -> message::Delivery {
    let message = messages.next().await.expect("an open stream");
    message.expect("a message")
}

async fn acknowledge(message: &message::Delivery) {
    let options = BasicAckOptions::default();
    assert!(message.ack(options).await.expect("an acknowledgement"));
}
