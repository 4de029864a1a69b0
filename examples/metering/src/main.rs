//! Readings of meters, from messages of Kafka: `cargo run -p metering`.
//!
//! A consumer of Kafka keeps its place by committing an offset. What it has done since its last commit is delivered
//! again, to it or to another one, when it dies or the group is rebalanced. `record_reading` is `#[idempotent]`, so its
//! writes and the record of the message are one commit, and another delivery is done without a second effect. The
//! offsets can be committed as late as one likes.

use std::borrow::Cow;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use idem_consume::{
    Consumer, Delivery, Engine, Event, Failure, FromDelivery, MessageId, Rejection, Scope,
    SqliteStore, Verdict, idempotent,
};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{
    BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders,
};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// The TTL is longer than the retention of the topic, which is a week: an older message is not delivered again.
#[idempotent(ttl = "8d", operation = "record_reading", key = "id", scope = "source")]
async fn record_reading(
    tx: &mut SqliteConnection,
    id: MessageId, // a message without an id is a dead letter: its offset is a place, and no id
    source: Source,
    reading: Event<Reading>,
) -> Result<(), Failure> {
    if reading.kwh < 0 {
        return Err(Failure::dead(format_args!(
            "meter {} runs backwards",
            reading.meter
        )));
    }
    sqlx::query("INSERT INTO readings (source, meter, kwh, message) VALUES (?, ?, ?, ?)")
        .bind(&source.0)
        .bind(&reading.meter)
        .bind(reading.kwh)
        .bind(&id.0)
        .execute(tx)
        .await?; // an error of the database: delivered again
    Ok(())
}

/// The content of a message. `Serialize` binds it to the message's id.
#[derive(Serialize, Deserialize)]
struct Reading {
    meter: String,
    kwh: i64,
}

/// The source of a `CloudEvent`. Its id is unique within the source only, so the source is the scope.
struct Source(String);

impl<S> FromDelivery<S> for Source {
    fn from_delivery(delivery: &Delivery, _: &S) -> Result<Self, Rejection> {
        let source = delivery.attribute(CE_SOURCE);
        let source = source.ok_or_else(|| Rejection::new("the message has no source"))?;
        Ok(Self(source.to_owned()))
    }
}

impl Scope for Source {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

const CE_ID: &str = "ce_id";
const CE_SOURCE: &str = "ce_source";
const TOPIC: &str = "readings";
const DEAD: &str = "readings-dead";

/// How long a partition waits for its next attempt, where the library doesn't know better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a call of the client may take.
const CALL: Duration = Duration::from_secs(10);

/// The delivery of a message, with the id that its producer has given to it, and all headers that are text.
fn delivery(message: &BorrowedMessage<'_>) -> Delivery {
    let mut delivery = Delivery::new(message.payload().unwrap_or_default().to_vec());
    for header in message.headers().into_iter().flat_map(|all| all.iter()) {
        let value = header.value.and_then(|value| str::from_utf8(value).ok());
        delivery = match (header.key, value) {
            (CE_ID, Some(id)) => delivery.with_id(id),
            (name, Some(value)) => delivery.with_attribute(name, value),
            (_, None) => delivery,
        };
    }
    delivery
}

/// The parts of the service.
struct Metering {
    consumer: Consumer<Engine<SqliteStore>>,
    kafka: Arc<StreamConsumer>,
    producer: FutureProducer,
}

impl Metering {
    /// Runs the consumer for one message after the other, so the order of a partition is that of its effects.
    async fn run(&self) -> anyhow::Result<()> {
        loop {
            let message = match self.kafka.recv().await {
                Ok(message) => message,
                // The client itself tries again.
                Err(error) => {
                    tracing::warn!("{error}");
                    continue;
                }
            };
            let wait = self.handle(&message).await.unwrap_or_else(|error| {
                tracing::warn!("{error:#}");
                Some(RETRY_AFTER)
            });
            let ended = match wait {
                // The client commits the offset later.
                None => self.kafka.store_offset_from_message(&message),
                Some(wait) => self.go_back_to(&message, wait),
            };
            if let Err(error) = ended {
                // To go on would skip the message: the process ends, and the next one begins at the committed offset.
                if wait.is_some() && self.has(message.partition())? {
                    return Err(error.into());
                }
                // The group has been rebalanced: another process has the partition, and gets the message.
                tracing::warn!("{TOPIC} {}: {error}", message.partition());
            }
        }
    }

    /// Whether the partition is still this process's.
    fn has(&self, partition: i32) -> KafkaResult<bool> {
        let assigned = self.kafka.assignment()?;
        Ok(assigned.find_partition(TOPIC, partition).is_some())
    }

    /// Runs the consumer, and does with the message what the verdict says. Returns how long the message is to wait, if
    /// it is to be delivered again.
    async fn handle(&self, message: &BorrowedMessage<'_>) -> anyhow::Result<Option<Duration>> {
        match self.consumer.run(record_reading, delivery(message)).await {
            Verdict::Done { .. } => {}
            Verdict::Again { after, cause } => {
                let error = anyhow::Error::new(cause);
                tracing::warn!("delivered again: {error:#}");
                return Ok(Some(after.unwrap_or(RETRY_AFTER)));
            }
            Verdict::Dead(cause) => {
                let headers = message.headers().map(BorrowedHeaders::detach);
                let headers = headers.unwrap_or_default().insert(Header {
                    key: "cause",
                    value: Some(&cause.to_string()),
                });
                let letter = FutureRecord::to(DEAD)
                    .key(message.key().unwrap_or_default())
                    .payload(message.payload().unwrap_or_default())
                    .headers(headers);
                // The letter is kept before the offset, so it can be there twice, and is never lost.
                let sent = self.producer.send(letter, Timeout::Never).await;
                sent.map_err(|(error, _)| error).context(DEAD)?;
            }
        }
        Ok(None)
    }

    /// Has the message delivered again after the time, and before the others of its partition. The other partitions
    /// go on.
    fn go_back_to(&self, message: &BorrowedMessage<'_>, wait: Duration) -> KafkaResult<()> {
        let (topic, partition) = (message.topic(), message.partition());
        let mut waiting = TopicPartitionList::new();
        waiting.add_partition(topic, partition);
        // First: to pause sets the position, too.
        self.kafka.pause(&waiting)?;
        let kafka = Arc::clone(&self.kafka);
        tokio::spawn(async move {
            sleep(wait).await;
            if let Err(error) = kafka.resume(&waiting) {
                tracing::warn!("{error}");
            }
        });
        let offset = Offset::Offset(message.offset());
        self.kafka.seek(topic, partition, offset, CALL)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::read().unwrap_or_else(|error| {
        eprintln!("{error}\n\n{}", Flags::HELP);
        std::process::exit(2);
    });
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO) // the level of idem's one line for each delivery
        .with_writer(std::io::stderr)
        .init();

    // It ends with this function.
    let cluster = match &flags.brokers {
        Some(_) => None,
        None => Some(cluster()?),
    };
    let brokers = cluster.as_ref().map(MockCluster::bootstrap_servers);
    let brokers = brokers.or(flags.brokers).context("there is a cluster")?;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        // The client's own repetitions are no duplicates. Those of the application are.
        .set("enable.idempotence", "true")
        .create()?;
    if let Some(id) = &flags.publish {
        let reading = Reading {
            meter: flags.meter,
            kwh: flags.kwh,
        };
        return publish(&producer, id, &reading).await;
    }

    let kafka: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "metering")
        .set("auto.offset.reset", "earliest")
        // Only `store_offset_from_message` says that an offset can be committed: after the commit of the database.
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "1000")
        .set("session.timeout.ms", flags.session_ms.to_string())
        .set("heartbeat.interval.ms", (flags.session_ms / 5).to_string())
        .create()?;
    let pool = database(flags.database).await?;
    let engine = Engine::new(SqliteStore::new(pool));
    engine.store().migrate().await?;
    kafka.subscribe(&[TOPIC])?;
    let metering = Metering {
        consumer: Consumer::new(engine),
        kafka: Arc::new(kafka),
        producer,
    };
    println!(
        "consuming {TOPIC} of {brokers}\n\n{}",
        introduction(&brokers)?
    );
    let stopped = pin!(stopped()?);
    tokio::select! {
        // The attempt in flight is undone, and the stored offsets are committed.
        () = stopped => Ok(()),
        ended = metering.run() => ended,
    }
}

/// A throw-away cluster in this process: the one that librdkafka has for tests.
fn cluster() -> anyhow::Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>> {
    let cluster = MockCluster::new(1)?;
    for topic in [TOPIC, DEAD] {
        cluster.create_topic(topic, 2, 1)?;
    }
    Ok(cluster)
}

async fn database(file: Option<PathBuf>) -> anyhow::Result<SqlitePool> {
    let Some(file) = file else {
        // It is gone with its last connection.
        let store = SqliteStore::in_memory().await?;
        create_table(store.pool()).await?;
        return Ok(store.pool().clone());
    };
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePool::connect_with(options).await?;
    create_table(&pool).await?;
    Ok(pool)
}

async fn create_table(pool: &SqlitePool) -> sqlx::Result<()> {
    let create = "CREATE TABLE IF NOT EXISTS readings (id INTEGER PRIMARY KEY, source TEXT NOT NULL, \
                  meter TEXT NOT NULL, kwh INTEGER NOT NULL, message TEXT NOT NULL)";
    sqlx::query(create).execute(pool).await.map(drop)
}

/// Publishes a reading. The readings of a meter are in one partition, and so in order.
async fn publish(producer: &FutureProducer, id: &str, reading: &Reading) -> anyhow::Result<()> {
    let payload = serde_json::to_vec(reading)?;
    let mut headers = OwnedHeaders::new();
    for (key, value) in [
        ("ce_specversion", "1.0"),
        ("ce_type", "meter.read"),
        (CE_SOURCE, "/towns/1"),
        (CE_ID, id),
    ] {
        let value = Some(value);
        headers = headers.insert(Header { key, value });
    }
    let record = FutureRecord::to(TOPIC)
        .key(&reading.meter)
        .payload(&payload)
        .headers(headers);
    let sent = producer.send(record, Timeout::After(CALL)).await;
    let place = sent.map_err(|(error, _)| anyhow!(error))?;
    println!("{id} is at {TOPIC} {} {}", place.partition, place.offset);
    Ok(())
}

/// Completes at Ctrl-C, and at SIGTERM: that is how systemd, Docker and Kubernetes end a service.
fn stopped() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

struct Flags {
    brokers: Option<String>,
    database: Option<PathBuf>,
    session_ms: u32,
    publish: Option<String>,
    meter: String,
    kwh: i64,
}

impl Flags {
    const HELP: &str = "\
--brokers HOST:PORT   a Kafka cluster [a throw-away one in this process]
--database FILE       the file of the database [in memory]
--session-ms MS       when a silent process loses its partitions [45000]
--publish READING     publish a reading with this id, and end
--meter METER         the meter of the reading [meter-1]
--kwh KWH             what it reads [500]";

    fn read() -> Result<Self, lexopt::Error> {
        let mut flags = Self {
            brokers: None,
            database: None,
            session_ms: 45_000,
            publish: None,
            meter: "meter-1".to_owned(),
            kwh: 500,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("brokers") => flags.brokers = Some(arguments.value()?.string()?),
                Long("database") => flags.database = Some(arguments.value()?.into()),
                Long("session-ms") => flags.session_ms = arguments.value()?.parse()?,
                Long("publish") => flags.publish = Some(arguments.value()?.string()?),
                Long("meter") => flags.meter = arguments.value()?.string()?,
                Long("kwh") => flags.kwh = arguments.value()?.parse()?,
                Long("help") | Short('h') => {
                    println!("{}", Self::HELP);
                    std::process::exit(0);
                }
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(flags)
    }
}

/// Commands to try. The reading is new at every start.
fn introduction(brokers: &str) -> anyhow::Result<String> {
    let reading = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let publish =
        format!("cargo run -p metering -- --brokers {brokers} --publish reading-{reading}");
    Ok(format!(
        "\
# A reading is recorded: this program logs `idem.outcome=\"executed\"`.
{publish}

# The same reading again, at another offset: this program logs `idem.outcome=\"replayed\"`.
{publish}

# A meter that runs backwards is a dead letter, in the topic readings-dead.
{publish}-back --kwh -1

# The throw-away cluster ends with this program. With `--brokers` of a real one, and `--database`, kill this program at
# any time: the next one gets all that is not committed."
    ))
}
