//! Points for purchases, from messages of RabbitMQ: `cargo run -p loyalty -- --amqp-url amqp://…`.
//!
//! RabbitMQ delivers a message again if the consumer or the connection is gone before the acknowledgement, and marks it
//! as redelivered. The mark is no help: a message that the publisher has sent twice has none, and a message that has it
//! may never have run. `credit_points` is `#[idempotent]`, so its writes and the record of the message are one commit,
//! and another delivery of the message is done without a second credit.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, TryStreamExt as _};
use idem_consume::{
    Consumer, Delivery, Engine, Event, Failure, MessageId, SqliteStore, Verdict, idempotent,
};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, message};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The TTL is longer than a message can wait in the queue. RabbitMQ itself sets no limit.
#[idempotent(
    ttl = "30d",
    operation = "credit_points",
    key = "id",
    scope = "purchase.shop"
)]
async fn credit_points(
    tx: &mut SqliteConnection,
    id: MessageId, // a message without the property `message_id` is a dead letter
    purchase: Event<Purchase>,
) -> Result<(), Failure> {
    if purchase.cents <= 0 {
        return Err(Failure::dead("nothing was bought"));
    }
    sqlx::query("INSERT INTO credits (shop, customer, points, message) VALUES (?, ?, ?, ?)")
        .bind(&purchase.shop)
        .bind(&purchase.customer)
        .bind(purchase.cents / 100)
        .bind(&id.0)
        .execute(tx)
        .await?; // an error of the database: delivered again
    Ok(())
}

/// The content of a message. `Serialize` binds it to the message's id.
#[derive(Serialize, Deserialize)]
struct Purchase {
    shop: String,
    customer: String,
    cents: i64,
}

/// How many messages a process has at a time.
const PREFETCH: u16 = 8;

/// The delivery mode of a message that the broker writes to the disk.
const PERSISTENT: u8 = 2;

/// How long a message waits for its next attempt, where the library doesn't know better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long the process waits to connect again.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// The queue, and that of the dead letters. Both survive the end of the broker.
struct Queues {
    main: String,
    dead: String,
}

impl Queues {
    fn named(main: String) -> Self {
        let dead = format!("{main}-dead");
        Self { main, dead }
    }

    async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        for name in [&self.main, &self.dead] {
            let durable = QueueDeclareOptions::durable();
            let declared =
                channel.queue_declare(name.as_str().into(), durable, FieldTable::default());
            declared.await?;
        }
        Ok(())
    }
}

/// Publishes a message that survives the end of the broker, which has stored it when this returns.
async fn publish(
    channel: &Channel,
    queue: &str,
    payload: &[u8],
    properties: BasicProperties,
) -> anyhow::Result<()> {
    // Without this a message to a queue that is missing is dropped, and confirmed.
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = properties.with_delivery_mode(PERSISTENT);
    let sent = channel.basic_publish("".into(), queue.into(), options, payload, properties);
    match sent.await?.await? {
        Confirmation::Ack(None) => Ok(()),
        refused => bail!("{queue} has not stored the message: {refused:?}"),
    }
}

/// The delivery of a message, with the id of its publisher. Where there is none, nothing replaces it: two equal messages
/// can be two purchases.
fn delivery(message: &message::Delivery) -> Delivery {
    let delivery = Delivery::new(message.data.clone());
    match message.properties.message_id() {
        Some(id) => delivery.with_id(id),
        None => delivery,
    }
}

/// Runs the consumer, and does with the message what the verdict says.
async fn handle(
    consumer: &Consumer<Engine<SqliteStore>>,
    channel: &Channel,
    queues: &Queues,
    message: message::Delivery,
) -> anyhow::Result<()> {
    match consumer.run(credit_points, delivery(&message)).await {
        Verdict::Done { .. } => {}
        Verdict::Again { after, cause } => {
            let error = anyhow::Error::new(cause);
            tracing::warn!("delivered again: {error:#}");
            // RabbitMQ delivers it again at once, and so without a pause. While it is here, the process has one message
            // less of its prefetch: if the database is away, it soon takes no more.
            sleep(after.unwrap_or(RETRY_AFTER)).await;
            let requeue = BasicNackOptions {
                requeue: true,
                ..BasicNackOptions::default()
            };
            message.nack(requeue).await?;
            return Ok(());
        }
        Verdict::Dead(cause) => {
            let properties = message.properties.clone();
            let mut headers = properties.headers().clone().unwrap_or_default();
            let cause = AMQPValue::LongString(cause.to_string().into());
            headers.insert("cause".into(), cause);
            let properties = properties.with_headers(headers);
            // The letter is kept before the message is removed, so it can be there twice, and is never lost.
            publish(channel, &queues.dead, &message.data, properties).await?;
        }
    }
    message.ack(BasicAckOptions::default()).await?;
    Ok(())
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
    let (url, queues) = (flags.amqp_url, Queues::named(flags.queue));
    if let Some(purchase) = &flags.publish {
        return buy(&url, &queues, purchase, flags.cents).await;
    }

    let pool = database(flags.database).await?;
    let engine = Engine::new(SqliteStore::new(pool));
    engine.store().migrate().await?;
    let consumer = Consumer::new(engine);
    let stopped = stopped()?;
    println!(
        "consuming {} of {url}\n\n{}",
        queues.main,
        introduction(&url)?
    );
    while let Err(error) = consume(&url, &queues, &consumer, &stopped).await {
        tracing::warn!("{error:#}");
        if stopped
            .run_until_cancelled(sleep(RECONNECT_AFTER))
            .await
            .is_none()
        {
            break;
        }
    }
    Ok(())
}

/// Consumes until it is stopped, or until the connection is lost. The messages without an acknowledgement are then
/// delivered again.
async fn consume(
    url: &str,
    queues: &Queues,
    consumer: &Consumer<Engine<SqliteStore>>,
    stopped: &CancellationToken,
) -> anyhow::Result<()> {
    let (connection, channel) = connect(url, queues).await?;
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await?;
    let options = BasicConsumeOptions::default();
    let (queue, tag) = (queues.main.as_str().into(), "".into());
    let messages = channel.basic_consume(queue, tag, options, FieldTable::default());
    messages
        .await?
        .take_until(stopped.cancelled())
        .map_err(anyhow::Error::new)
        .try_for_each_concurrent(usize::from(PREFETCH), async |message| {
            handle(consumer, &channel, queues, message).await
        })
        .await?;
    if !stopped.is_cancelled() {
        bail!("the broker has cancelled the consumer");
    }
    connection.close(200, "".into()).await?;
    Ok(())
}

/// A channel whose publications are confirmed, with the queues.
async fn connect(url: &str, queues: &Queues) -> anyhow::Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await;
    let connection = connection.with_context(|| url.to_owned())?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    queues.declare(&channel).await?;
    Ok((connection, channel))
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
    let create = "CREATE TABLE IF NOT EXISTS credits (id INTEGER PRIMARY KEY, shop TEXT NOT NULL, \
                  customer TEXT NOT NULL, points INTEGER NOT NULL, message TEXT NOT NULL)";
    sqlx::query(create).execute(pool).await.map(drop)
}

/// Publishes a purchase. Its name is the id of the message, however often it is published.
async fn buy(url: &str, queues: &Queues, purchase: &str, cents: i64) -> anyhow::Result<()> {
    let (connection, channel) = connect(url, queues).await?;
    let content = Purchase {
        shop: "acme".to_owned(),
        customer: "ada".to_owned(),
        cents,
    };
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(purchase.into());
    let payload = serde_json::to_vec(&content)?;
    publish(&channel, &queues.main, &payload, properties).await?;
    println!("{purchase} is published");
    connection.close(200, "".into()).await?;
    Ok(())
}

/// Cancelled at Ctrl-C, and at SIGTERM: that is how systemd, Docker and Kubernetes end a service.
fn stopped() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = CancellationToken::new();
    let token = stopped.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    });
    Ok(stopped)
}

struct Flags {
    amqp_url: String,
    database: Option<PathBuf>,
    queue: String,
    publish: Option<String>,
    cents: i64,
}

impl Flags {
    const HELP: &str = "\
--amqp-url URL       a RabbitMQ server (required); `cargo xtask serve rabbitmq` has a throw-away one
--database FILE      the file of the database [in memory]
--queue NAME         the queue [purchases]; that of the dead letters has its name with -dead
--publish PURCHASE   publish this purchase, and end
--cents AMOUNT       the amount of the purchase [500]";

    fn read() -> Result<Self, lexopt::Error> {
        let (mut amqp_url, mut database, mut publish) = (None, None, None);
        let (mut queue, mut cents) = ("purchases".to_owned(), 500);
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("amqp-url") => amqp_url = Some(arguments.value()?.string()?),
                Long("database") => database = Some(arguments.value()?.into()),
                Long("queue") => queue = arguments.value()?.string()?,
                Long("publish") => publish = Some(arguments.value()?.string()?),
                Long("cents") => cents = arguments.value()?.parse()?,
                Long("help") | Short('h') => {
                    println!("{}", Self::HELP);
                    std::process::exit(0);
                }
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Self {
            amqp_url: amqp_url.ok_or("`--amqp-url` is missing")?,
            database,
            queue,
            publish,
            cents,
        })
    }
}

/// Commands to try. The purchase is new at every start.
fn introduction(url: &str) -> anyhow::Result<String> {
    let purchase = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let publish = format!("cargo run -p loyalty -- --amqp-url {url} --publish purchase-{purchase}");
    Ok(format!(
        "\
# A purchase earns points: this program logs `idem.outcome=\"executed\"`.
{publish}

# The same purchase again: this program logs `idem.outcome=\"replayed\"`.
{publish}

# A purchase of nothing is a dead letter, in the queue purchases-dead.
{publish}-empty --cents 0

# Kill this program at any time: the next one gets what it had not acknowledged."
    ))
}
