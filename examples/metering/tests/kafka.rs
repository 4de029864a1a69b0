//! The example under faults, on the mock cluster of librdkafka: its processes are killed, messages are published
//! twice, offsets are not committed. The last test is a control: it shows the effect that is double.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use idem_consume::{
    Consumer, Delivery, Engine, Event, Failure, MessageId, SqliteStore, Verdict, idempotent,
};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{Row as _, SqliteConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long everything may take.
const TIMEOUT: Duration = Duration::from_mins(2);

/// When a silent process loses its partitions. The first members of a group wait for 3 s, and are silent.
const SESSION_MS: &str = "3500";

/// The partitions of the topic.
const PARTITIONS: i32 = 4;

/// The readings. `FAULTS_LONG` has more of them, and so more kills.
fn extent() -> usize {
    match std::env::var_os("FAULTS_LONG") {
        Some(_) => 1_800,
        None => 180,
    }
}

/// A cluster of one test alone, and a database.
struct Site {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let cluster = MockCluster::new(3).expect("a cluster");
        for (topic, partitions) in [("readings", PARTITIONS), ("readings-dead", 1)] {
            let created = cluster.create_topic(topic, partitions, 3);
            created.expect("a topic");
        }
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create();
        Self {
            cluster,
            producer: producer.expect("a producer"),
            folder: TempDir::new().expect("a folder"),
        }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("readings.db")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn process(&self) -> Child {
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log);
        Command::new(env!("CARGO_BIN_EXE_metering"))
            .args(["--brokers", &self.cluster.bootstrap_servers()])
            .args(["--session-ms", SESSION_MS, "--database"])
            .arg(self.database())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("the example starts")
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "metering")
            .set("session.timeout.ms", SESSION_MS)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        config
    }

    /// A consumer of a topic from its beginning, and of no group.
    fn reader(&self, topic: &str, partitions: i32) -> StreamConsumer {
        let reader: StreamConsumer = self.client().create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = all.add_partition_offset(topic, partition, Offset::Beginning);
            added.expect("a partition");
        }
        reader.assign(&all).expect("partitions");
        reader
    }

    /// Publishes until the cluster has confirmed it. The messages of a meter are in one partition.
    async fn publish(&self, id: Option<&str>, meter: &str, payload: &str) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in [("ce_source", Some("/towns/1")), ("ce_id", id)] {
            if value.is_some() {
                headers = headers.insert(Header { key, value });
            }
        }
        let record = FutureRecord::to("readings")
            .key(meter)
            .payload(payload)
            .headers(headers);
        let sent = self.producer.send(record, Timeout::Never).await;
        sent.expect("a place");
    }

    async fn publish_reading(&self, number: usize) {
        let (meter, kwh) = (meter(number), number);
        let payload = format!(r#"{{"meter": "{meter}", "kwh": {kwh}}}"#);
        self.publish(Some(&id(number)), &meter, &payload).await;
    }

    async fn pool(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(self.database())
            .create_if_missing(true);
        SqlitePool::connect_with(options).await.expect("a database")
    }

    /// Waits until the group has committed the offset after the last message of each partition.
    async fn is_drained(&self) {
        let until = Instant::now() + TIMEOUT;
        let observer: BaseConsumer = self.client().create().expect("a client");
        for partition in 0..PARTITIONS {
            loop {
                let mut asked = TopicPartitionList::new();
                asked.add_partition("readings", partition);
                let ends = observer.fetch_watermarks("readings", partition, TIMEOUT);
                let committed = observer.committed_offsets(asked, TIMEOUT);
                let committed = committed.expect("an offset").elements()[0].offset();
                let next = match committed {
                    Offset::Offset(next) => next,
                    _ => 0, // of a partition without messages
                };
                if ends.expect("an end").1 == next {
                    break;
                }
                let log = self.log();
                assert!(Instant::now() < until, "{partition}: {committed:?}\n{log}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn id(number: usize) -> String {
    format!("reading-{number:04}")
}

fn meter(number: usize) -> String {
    format!("meter-{}", number % 16)
}

/// The ids of the readings in the order of their effects, each as often as it has one. None before there is a table.
async fn readings(pool: &SqlitePool) -> Vec<String> {
    let rows = sqlx::query("SELECT message FROM readings ORDER BY id");
    let rows = rows.fetch_all(pool).await.unwrap_or_default();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until there are so many readings.
async fn has_readings(pool: &SqlitePool, number: usize) {
    let until = Instant::now() + TIMEOUT;
    while readings(pool).await.len() < number {
        assert!(Instant::now() < until, "not {number}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn x39_killed_consumers_record_every_reading_once_and_in_order() {
    const SLICE: usize = 60;
    let site = Site::new();
    let pool = site.pool().await;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut processes = [site.process(), site.process()];
    let (mut published, mut kills) = (0, 0);
    for slice in 0..extent() / SLICE {
        let end = (slice + 1) * SLICE;
        for number in end - SLICE..end {
            site.publish_reading(number).await;
            published += 1;
            // A producer that does not know whether it has published publishes again.
            if rng.u8(..4) == 0 {
                site.publish_reading(rng.usize(..=number)).await;
                published += 1;
            }
        }
        has_readings(&pool, end - SLICE / 2).await;
        let both = rng.bool();
        for (place, process) in processes.iter_mut().enumerate() {
            if both || place == slice % 2 {
                process.kill().await.expect("a process");
                *process = site.process();
                kills += 1;
            }
        }
    }
    site.is_drained().await;
    let effects = readings(&pool).await;
    let expected: Vec<String> = (0..extent()).map(id).collect();
    let mut sorted = effects.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "each once");
    for number in 0..16 {
        let of_meter = |id: &&String| expected.iter().position(|own| own == *id);
        let of_meter = effects.iter().filter_map(|id| of_meter(&id));
        let of_meter: Vec<usize> = of_meter.filter(|place| place % 16 == number).collect();
        assert!(of_meter.is_sorted(), "meter {number}: {of_meter:?}");
    }
    let replayed = site.log().matches("\"replayed\"").count();
    let duplicates = published - extent();
    assert!(replayed >= duplicates, "{replayed} of {duplicates}");
    eprintln!(
        "{published} publications of {} readings, {kills} kills, {replayed} deliveries without an effect",
        extent()
    );
}

#[tokio::test]
async fn x39_poison_is_a_dead_letter_and_a_failure_keeps_the_order() {
    let site = Site::new();
    let _process = site.process();
    site.publish(None, "meter-0", r#"{"meter": "meter-0", "kwh": 1}"#)
        .await;
    site.publish(Some("poison"), "meter-0", "{").await;
    let letters = site.reader("readings-dead", 1);
    for (payload, cause) in [
        (&b"{\"meter\""[..], "the delivery has no id"),
        (b"{", "the content is not"),
    ] {
        let letter = next(&letters).await;
        let value = header(&letter, "cause");
        assert!(value.starts_with(cause), "{value}");
        assert!(letter.payload().expect("it").starts_with(payload));
    }

    let pool = site.pool().await;
    let away = "ALTER TABLE readings RENAME TO away";
    sqlx::query(away).execute(&pool).await.expect("no table");
    let (until, start) = (Instant::now() + TIMEOUT, Instant::now());
    // All are of one meter, and so of one partition.
    for number in [0, 16, 32] {
        site.publish_reading(number).await;
    }
    while site.log().matches("delivered again").count() < 3 {
        assert!(Instant::now() < until, "{}", site.log());
        sleep(Duration::from_millis(20)).await;
    }
    // A pause of a second before the second and the third attempt.
    let pauses = start.elapsed();
    assert!(pauses >= Duration::from_secs(2), "{pauses:?}");
    let back = "ALTER TABLE away RENAME TO readings";
    sqlx::query(back).execute(&pool).await.expect("the table");
    has_readings(&pool, 3).await;
    assert_eq!(readings(&pool).await, [0, 16, 32].map(id));
    site.is_drained().await;
    assert_eq!(readings(&pool).await.len(), 3);
}

/// A consumer in this process.
#[idempotent(ttl = "1h", operation = "count", key = "id", unscoped)]
async fn count(
    tx: &mut SqliteConnection,
    id: MessageId,
    reading: Event<serde_json::Value>,
) -> Result<(), Failure> {
    let insert = sqlx::query("INSERT INTO readings (message, content) VALUES (?, ?)");
    insert
        .bind(&id.0)
        .bind(reading.0.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// The engine and the effects of [`count`].
struct Counting {
    consumer: Consumer<Engine<SqliteStore>>,
    pool: SqlitePool,
}

impl Counting {
    async fn new() -> Self {
        let store = SqliteStore::in_memory().await.expect("a database");
        store.migrate().await.expect("the tables");
        let pool = store.pool().clone();
        let create = "CREATE TABLE readings (id INTEGER PRIMARY KEY, message TEXT NOT NULL, content TEXT NOT NULL)";
        sqlx::query(create).execute(&pool).await.expect("a table");
        Self {
            consumer: Consumer::new(Engine::new(store)),
            pool,
        }
    }

    /// Whether the message is a duplicate, by this id.
    async fn run(&self, message: &BorrowedMessage<'_>, id: String) -> bool {
        let payload = message.payload().expect("a payload").to_vec();
        let delivery = Delivery::new(payload).with_id(id);
        match self.consumer.run(count, delivery).await {
            Verdict::Done { is_duplicate } => is_duplicate,
            verdict => panic!("{verdict:?}"),
        }
    }
}

#[tokio::test]
async fn x39_a_consumer_that_leaves_before_the_commit_of_its_offsets_has_run_for_good() {
    const READINGS: usize = 20;
    let site = Site::new();
    let counting = Counting::new().await;
    for number in 0..READINGS {
        site.publish_reading(number).await;
    }
    for is_duplicate in [false, true] {
        let member: StreamConsumer = site.client().create().expect("a consumer");
        member.subscribe(&["readings"]).expect("a subscription");
        for _ in 0..READINGS {
            let message = next(&member).await;
            let id = header(&message, "ce_id");
            assert_eq!(counting.run(&message, id).await, is_duplicate);
            if is_duplicate {
                let committed = member.commit_message(&message, CommitMode::Sync);
                committed.expect("a commit");
            }
        }
    }
    site.is_drained().await;
    assert_eq!(readings(&counting.pool).await.len(), READINGS);
}

#[tokio::test]
async fn control_an_offset_is_no_id_of_a_producer_s_duplicate() {
    let site = Site::new();
    for _ in 0..2 {
        site.publish_reading(0).await;
    }
    let (offsets, ids) = (Counting::new().await, Counting::new().await);
    let reader = site.reader("readings", PARTITIONS);
    for is_second in [false, true] {
        let message = next(&reader).await;
        let place = format!("{}/{}", message.partition(), message.offset());
        assert!(!offsets.run(&message, place).await, "another offset");
        let id = header(&message, "ce_id");
        assert_eq!(ids.run(&message, id).await, is_second);
    }
    let effects = [&offsets.pool, &ids.pool].map(readings);
    let [offsets, ids] = effects;
    assert_eq!((offsets.await.len(), ids.await.len()), (2, 1));
}

async fn next(consumer: &StreamConsumer) -> BorrowedMessage<'_> {
    let message = timeout(TIMEOUT, consumer.recv()).await;
    message.expect("in time").expect("a message")
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> String {
    let headers = message.headers().expect("headers");
    let header = headers.iter().find(|header| header.key == name);
    let value = header.and_then(|header| header.value).expect("a value");
    String::from_utf8(value.to_vec()).expect("a text")
}
