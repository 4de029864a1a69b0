//! Shipments of paid orders, from messages of NATS JetStream: `cargo run -p shipping`.
//!
//! JetStream delivers a message at least once: again if the acknowledgement comes late, is lost, or is never sent
//! because the consumer has died. `ship_order` is `#[idempotent]`, so its writes and the record of the message are one
//! commit, and another delivery of the message is done without a second shipment.

mod server;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{AckKind, Message, stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use idem_consume::{
    Consumer, Delivery, Engine, Event, Failure, MessageId, SqliteStore, Verdict, idempotent,
};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::signal::unix::{SignalKind, signal};

use crate::server::Server;

/// The TTL is the `max_age` of the stream: an older message is not delivered again.
#[idempotent(
    ttl = "14d",
    operation = "ship_order",
    key = "id",
    scope = "event.tenant"
)]
async fn ship_order(
    tx: &mut SqliteConnection,
    id: MessageId,
    event: Event<OrderPaid>,
) -> Result<(), Failure> {
    if event.cents <= 0 {
        return Err(Failure::dead(format_args!(
            "nothing was paid for {}",
            event.order
        )));
    }
    sqlx::query("INSERT INTO shipments (tenant, order_id, message) VALUES (?, ?, ?)")
        .bind(&event.tenant)
        .bind(&event.order)
        .bind(&id.0)
        .execute(tx)
        .await?; // an error of the database: delivered again
    Ok(())
}

/// The content of a message. `Serialize` binds it to the message's id.
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    tenant: String,
    order: String,
    cents: i64,
}

const STREAM: &str = "ORDERS";
const SUBJECT: &str = "orders.paid";
const DEAD: &str = "orders-dead.paid";
const REMEMBERED: Duration = Duration::from_hours(24 * 14);

/// Longer than an attempt takes, which is 30 s at most: else a message is delivered again while it runs.
const ACK_WAIT: Duration = Duration::from_secs(40);

/// The delivery of a message, with an id that is the same in each of them.
fn delivery(message: &Message) -> anyhow::Result<Delivery> {
    let headers = message.headers.as_ref();
    let id = headers.and_then(|headers| headers.get(NATS_MESSAGE_ID));
    let delivery = Delivery::new(message.payload.clone());
    if let Some(id) = id {
        return Ok(delivery.with_id(id));
    }
    // A place in the stream. A publisher that sends the message twice takes two places.
    let info = message.info().map_err(anyhow::Error::from_boxed)?;
    Ok(delivery.with_id(format_args!("{}/{}", info.stream, info.stream_sequence)))
}

/// Runs the consumer, and does with the message what the verdict says.
async fn handle(
    consumer: &Consumer<Engine<SqliteStore>>,
    jetstream: &Context,
    message: Message,
) -> anyhow::Result<()> {
    let verdict = consumer.run(ship_order, delivery(&message)?).await;
    let answer = match verdict {
        Verdict::Done { .. } => AckKind::Ack,
        Verdict::Again { after, cause } => {
            let error = anyhow::Error::new(cause);
            tracing::warn!("delivered again: {error:#}");
            AckKind::Nak(Some(after.unwrap_or(Duration::from_secs(1))))
        }
        Verdict::Dead(cause) => {
            let headers = message.headers.clone().unwrap_or_default();
            let letter = PublishMessage::build()
                .payload(message.payload.clone())
                .headers(headers)
                .header("Cause", cause.to_string().replace(['\r', '\n'], " "));
            // The letter is kept before the message is ended, so it can be there twice, and never lost.
            jetstream.send_publish(DEAD, letter).await?.await?;
            AckKind::Term
        }
    };
    let answered = message.ack_with(answer).await;
    answered.map_err(anyhow::Error::from_boxed)
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
    let server = match &flags.nats_url {
        Some(_) => None,
        None => Some(Server::start()?),
    };
    let url = server.as_ref().map(Server::url).or(flags.nats_url);
    let url = url.context("there is a server")?;
    let client = async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .connect(&url)
        .await?;
    let jetstream = async_nats::jetstream::new(client);
    let messages = subscribe(&jetstream).await?;
    if let Some(order) = &flags.publish {
        return publish(&jetstream, order, flags.cents).await;
    }

    let pool = database(flags.database).await?;
    let engine = Engine::new(SqliteStore::new(pool.clone()));
    engine.store().migrate().await?;
    let consumer = Consumer::new(engine);
    let stopped = stopped()?;
    println!("consuming {SUBJECT} of {url}\n\n{}", introduction(&url)?);

    let handled = messages
        .messages()
        .await?
        .take_until(stopped)
        .map_err(anyhow::Error::new)
        .for_each_concurrent(8, async |message| {
            let handled = match message {
                Ok(message) => handle(&consumer, &jetstream, message).await,
                Err(error) => Err(error),
            };
            // Without an answer the message is delivered again.
            if let Err(error) = handled {
                tracing::warn!("{error:#}");
            }
        });
    handled.await;
    Ok(())
}

/// The consumer of the stream. Both are created if they are missing.
async fn subscribe(jetstream: &Context) -> anyhow::Result<PullConsumer> {
    let stream = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        max_age: REMEMBERED,
        ..stream::Config::default()
    };
    let dead = stream::Config {
        name: "ORDERS-DEAD".to_owned(),
        subjects: vec![DEAD.to_owned()],
        ..stream::Config::default()
    };
    let consumer = pull::Config {
        durable_name: Some("shipping".to_owned()),
        ack_wait: ACK_WAIT,
        ..pull::Config::default()
    };
    jetstream.get_or_create_stream(dead).await?;
    let stream = jetstream.get_or_create_stream(stream).await?;
    let consumer = stream.get_or_create_consumer("shipping", consumer).await?;
    Ok(consumer)
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
    let create = "CREATE TABLE IF NOT EXISTS shipments (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, \
                  order_id TEXT NOT NULL, message TEXT NOT NULL)";
    sqlx::query(create).execute(pool).await.map(drop)
}

/// Publishes that an order is paid. Its name is the id of the message, however often it is published.
async fn publish(jetstream: &Context, order: &str, cents: i64) -> anyhow::Result<()> {
    let event = OrderPaid {
        tenant: "acme".to_owned(),
        order: order.to_owned(),
        cents,
    };
    let message = PublishMessage::build()
        .payload(serde_json::to_vec(&event)?.into())
        .message_id(order);
    let place = jetstream.send_publish(SUBJECT, message).await?.await?;
    let sequence = place.sequence;
    println!("{order} is message {sequence} of {STREAM}");
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
    nats_url: Option<String>,
    database: Option<PathBuf>,
    publish: Option<String>,
    cents: i64,
}

impl Flags {
    const HELP: &str = "\
--nats-url URL       a NATS server with JetStream, such as nats://127.0.0.1 [a throw-away one of this process]
--database FILE      the file of the database [in memory]
--publish ORDER      publish that this order is paid, and end
--cents AMOUNT       the amount that is paid [500]";

    fn read() -> Result<Self, lexopt::Error> {
        let mut flags = Self {
            nats_url: None,
            database: None,
            publish: None,
            cents: 500,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("nats-url") => flags.nats_url = Some(arguments.value()?.string()?),
                Long("database") => flags.database = Some(arguments.value()?.into()),
                Long("publish") => flags.publish = Some(arguments.value()?.string()?),
                Long("cents") => flags.cents = arguments.value()?.parse()?,
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

/// Commands to try. The order is new at every start.
fn introduction(url: &str) -> anyhow::Result<String> {
    let order = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let publish = format!("cargo run -p shipping -- --nats-url {url} --publish order-{order}");
    Ok(format!(
        "\
# A paid order is shipped: this program logs `idem.outcome=\"executed\"`.
{publish}

# The same order again. JetStream itself drops what it gets again within two minutes; later it delivers the message,
# and this program logs `idem.outcome=\"replayed\"`.
{publish}

# An order without a payment is a dead letter, in the stream ORDERS-DEAD.
{publish}-unpaid --cents 0

# Kill this program at any time: the next one gets what it had not acknowledged."
    ))
}
