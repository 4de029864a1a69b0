//! X37: from a request to the effect of its messages, in processes: two services, two relays and two consumers. Each of
//! them is killed by SIGKILL at any time, and so is the broker. Clients leave and ask again, confirmations and
//! acknowledgements are lost on purpose.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, AckKind, stream};
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use fastrand::Rng;
use futures_util::StreamExt as _;
use idem_axum::idempotent;
use idem_consume::{Consumer, Delivery, Event, MessageId, Verdict};
use idem_core::{Attempt, Engine};
use idem_outbox::{Message, Outbox, OutboxStore, Relay};
use idem_tests::{Choices, Database, Domain, Driver, Mysql, Postgres, Request, Sqlite, Wires};
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolOptions;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};
use xtask::server::{NATS, Server, free_port};

use crate::site::until;

/// The variable with the part of a process: its role, its port, and the URLs of its database and of the broker.
const PART: &str = "IDEM_TEST_OUTBOX_PART";

/// The messages of a request.
const MESSAGES: usize = 2;

/// How long a client may ask.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The requests, and the kills of the broker: for about 500 messages; with `FAULTS_LONG` for 12,000.
fn extent() -> (usize, usize) {
    match std::env::var_os("FAULTS_LONG") {
        Some(_) => (6_600, 20),
        None => (275, 2),
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    order: usize,
}

#[derive(Clone)]
struct Shop<S: OutboxStore> {
    engine: Engine<S>,
    outbox: Outbox<S>,
}

impl<S: OutboxStore> FromRef<Shop<S>> for Engine<S> {
    fn from_ref(shop: &Shop<S>) -> Self {
        shop.engine.clone()
    }
}

impl<S: OutboxStore> FromRef<Shop<S>> for Outbox<S> {
    fn from_ref(shop: &Shop<S>) -> Self {
        shop.outbox.clone()
    }
}

type Refusal = (StatusCode, String);

#[idempotent(ttl = "1h", operation = "place_order", unscoped)]
async fn place_order<C: Domain<Store: OutboxStore>>(
    tx: &mut C,
    attempt: &Attempt,
    State(outbox): State<Outbox<C::Store>>,
    Json(order): Json<Order>,
) -> Result<Json<Vec<String>>, Refusal> {
    let again = |error: &dyn ToString| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let mut ids = Vec::new();
    for _ in 0..MESSAGES {
        let pushed = outbox.push(tx, attempt, "orders", &order).await;
        ids.push(pushed.map_err(|error| again(&error))?);
    }
    let inserted = tx.insert("orders", &order.order.to_string()).await;
    inserted.map_err(|error| again(&error))?;
    match order.order % 11 {
        0 => Err((StatusCode::UNPROCESSABLE_ENTITY, "refused".to_owned())),
        1 if sometimes(2) => Err(again(&"not now")),
        _ => Ok(Json(ids)),
    }
}

/// The consumer: the id of a message in the outbox is its key.
#[idem_consume::idempotent(ttl = "1h", operation = "ship", key = "id", unscoped)]
async fn ship<C: Domain>(
    tx: &mut C,
    id: MessageId,
    order: Event<Order>,
) -> Result<(), idem_consume::Failure> {
    tx.insert(&order.order.to_string(), &id.0).await?;
    Ok(())
}

/// One of so many times.
fn sometimes(times: u8) -> bool {
    fastrand::u8(..times) == 0
}

async fn serve<D: Database<Store: OutboxStore>>(store: D::Store, port: u16) {
    let shop = Shop {
        outbox: Outbox::new(store.clone()),
        engine: Engine::new(store),
    };
    let router = Router::new().route("/orders", post(place_order::<D::Connection>));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let served = axum::serve(listener, router.with_state(shop));
    served.await.unwrap();
}

async fn relay<D: Database<Store: OutboxStore>>(store: D::Store, jetstream: Context) {
    let publish = async move |message: Message| {
        if sometimes(20) {
            return Err(std::io::Error::other("the connection is lost").into());
        }
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
    let relay = Relay::new(Outbox::new(store), publish)
        .with_batch(50)
        .with_timeout(Duration::from_millis(500))
        .with_poll_interval(Duration::from_millis(100))
        .with_delays(Duration::from_millis(150), Duration::from_millis(500));
    relay.run().await;
}

async fn consume<D: Database>(store: D::Store, jetstream: Context) {
    let consumer = Consumer::new(Engine::new(store));
    let handle = async |message: jetstream::Message| {
        let headers = message.headers.as_ref().unwrap();
        let id = headers.get("Nats-Msg-Id").unwrap();
        let delivery = Delivery::new(message.payload.clone()).with_id(id);
        let answer = match consumer.run(ship::<D::Connection>, delivery).await {
            Verdict::Done { .. } => AckKind::Ack,
            Verdict::Again { after, .. } => {
                AckKind::Nak(Some(after.unwrap_or(Duration::from_millis(50))))
            }
            Verdict::Dead(cause) => panic!("a dead letter: {cause}"),
        };
        // If it is lost, the message is delivered again.
        if !sometimes(20) {
            let _ = message.ack_with(answer).await;
        }
    };
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
}

async fn pull(jetstream: &Context) -> Option<PullConsumer> {
    let consumer = jetstream.get_consumer_from_stream("shipping", "ORDERS");
    consumer.await.ok()
}

async fn connect(broker: &str) -> Context {
    let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
    jetstream::new(client.connect(broker).await.unwrap())
}

/// What a process of the test does until it is killed.
async fn part<D: Database<Store: OutboxStore>>() {
    // A test that ends or dies closes its end of the pipe.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let words = std::env::var(PART).expect("the test sets it");
    let words: Vec<&str> = words.split(' ').collect();
    let [role, port, database, broker] = words[..] else {
        panic!("{words:?}")
    };
    let pool = PoolOptions::<Driver<D>>::new().max_connections(4);
    let pool = pool.connect(database).await.unwrap();
    let store = D::store(pool, Choices::default()).await.unwrap();
    let jetstream = connect(broker).await;
    match role {
        "shop" => serve::<D>(store, port.parse().unwrap()).await,
        "relay" => relay::<D>(store, jetstream).await,
        "consumer" => consume::<D>(store, jetstream).await,
        _ => panic!("{role}"),
    }
}

/// What the processes share.
struct Chain<D: Database> {
    shop: D,
    shipping: D,
    outbox: Outbox<D::Store>,
    broker: String,
    jetstream: Context,
    ports: [u16; 2],
    /// The name of the function [`part`] in this program.
    function: String,
}

const ROLES: [&str; 3] = ["shop", "relay", "consumer"];

impl<D: Database<Store: OutboxStore>> Chain<D> {
    /// JetStream's own window for duplicates is as short as it can be: they are to reach the consumer.
    async fn new(broker: &Server, module: &str) -> Self {
        let jetstream = connect(broker.url()).await;
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
        let shop = D::create().await;
        let pool = shop.connect(Wires::default()).await;
        let outbox = Outbox::new(D::store(pool, Choices::default()).await.unwrap());
        outbox.migrate().await.unwrap();
        let (_, module) = module.split_once("::").unwrap();
        Self {
            shop,
            shipping: D::create().await,
            outbox,
            broker: broker.url().to_owned(),
            jetstream,
            ports: [free_port().unwrap(), free_port().unwrap()],
            function: format!("{module}::part"),
        }
    }

    /// Starts one of six processes, two of each role.
    fn start(&self, number: usize) -> Child {
        let role = ROLES[number / 2];
        let port = self.ports[number % 2];
        let database = match role {
            "consumer" => self.shipping.url(),
            _ => self.shop.url(),
        };
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &self.function, "--ignored", "--nocapture"])
            .env(PART, format!("{role} {port} {database} {}", self.broker))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// How many messages are in the outbox.
    async fn pending(&self) -> u64 {
        let stats = self.outbox.stats().await.unwrap();
        assert_eq!(stats.dead, 0);
        stats.pending
    }

    /// The publications that the broker has kept and the deliveries of them, once each is acknowledged.
    async fn drained(&self) -> Option<(u64, u64)> {
        let stream = self.jetstream.get_stream("ORDERS").await.ok()?;
        let publications = stream.cached_info().state.last_sequence;
        let mut consumer = pull(&self.jetstream).await?;
        let info = consumer.info().await.ok()?;
        let is_drained = info.num_pending == 0 && info.num_ack_pending == 0;
        is_drained.then_some((publications, info.delivered.consumer_sequence))
    }

    async fn remove(self) {
        drop(self.outbox);
        self.shop.remove().await;
        self.shipping.remove().await;
    }
}

/// How often each effect is in a database.
async fn effects<D: Database>(database: &D) -> HashMap<String, i64> {
    let pool = database.connect(Wires::default()).await;
    let mut connection = pool.acquire().await.unwrap();
    let count =
        "SELECT concat(tenant, ' ', label) AS effect, count(*) FROM effects GROUP BY effect";
    connection.numbers(count).await.unwrap()
}

fn once(effects: impl IntoIterator<Item = String>) -> HashMap<String, i64> {
    effects.into_iter().map(|effect| (effect, 1)).collect()
}

#[derive(Default)]
struct Progress {
    asked: AtomicUsize,
    answered: AtomicUsize,
}

/// A client that asks until there is an answer, and leaves before it now and then. Returns the ids of its messages.
async fn order(ports: [u16; 2], order: usize, seed: u64, progress: &Progress) -> Vec<String> {
    let mut rng = Rng::with_seed(seed);
    let order = Order { order };
    let until = Instant::now() + TIMEOUT;
    let mut known: Option<Vec<String>> = None;
    loop {
        assert!(
            Instant::now() < until,
            "order {} has no answer",
            order.order
        );
        let address = ([127, 0, 0, 1], ports[rng.usize(..2)]).into();
        let request = Request::new(address, "POST", "/orders")
            .key(order.order.to_string())
            .json(&serde_json::to_string(&order).unwrap());
        let patience = match rng.u8(..4) {
            0 => Duration::from_micros(rng.u64(..20_000)),
            _ => Duration::from_secs(30),
        };
        progress.asked.fetch_add(1, Ordering::Relaxed);
        let answer = timeout(patience, request.attempt()).await.ok().flatten();
        match answer.as_ref().map(|answer| answer.status) {
            Some(200) => {
                let ids: Vec<String> = serde_json::from_value(answer.unwrap().json()).unwrap();
                let first = known.get_or_insert_with(|| ids.clone());
                assert_eq!(*first, ids, "a replay");
                if rng.u8(..4) > 0 {
                    return ids;
                }
            }
            Some(422) => {
                assert_eq!(answer.unwrap().text(), "refused");
                return Vec::new();
            }
            Some(409 | 503) | None => sleep(Duration::from_millis(rng.u64(5..50))).await,
            Some(_) => panic!("{:?}", answer.unwrap().text()),
        }
    }
}

async fn killed_processes<D: Database<Store: OutboxStore>>(module: &str) {
    let (requests, most_kills) = extent();
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut broker = Server::start(&NATS).unwrap();
    let chain = Chain::<D>::new(&broker, module).await;
    let progress = Arc::new(Progress::default());
    let clients = tokio::spawn({
        let (ports, progress) = (chain.ports, Arc::clone(&progress));
        async move {
            let clients = futures_util::stream::iter(0..requests).map(async |number| {
                let ids = order(ports, number, seed ^ number as u64, &progress).await;
                progress.answered.fetch_add(1, Ordering::Relaxed);
                (number, ids)
            });
            clients.buffer_unordered(8).collect::<Vec<_>>().await
        }
    });
    let mut processes: Vec<_> = (0..6).map(|number| chain.start(number)).collect();
    let (mut kills, mut kills_of_broker) = ([0; 3], 0);
    while !clients.is_finished() || chain.pending().await > 0 {
        sleep(Duration::from_millis(rng.u64(20..150))).await;
        let role = kills.iter().sum::<usize>() % ROLES.len();
        let killed = 2 * role + rng.usize(..2);
        assert_eq!(processes[killed].try_wait().unwrap(), None, "it runs");
        processes[killed].kill().await.unwrap();
        processes[killed] = chain.start(killed);
        kills[role] += 1;
        let answered = progress.answered.load(Ordering::Relaxed);
        if answered > requests * (kills_of_broker + 1) / (most_kills + 1) {
            block_in_place(|| {
                broker.kill().unwrap();
                broker.restart().unwrap();
            });
            kills_of_broker += 1;
        }
    }
    let answers = clients.await.unwrap();
    let mut drained = None;
    until(async || {
        drained = chain.drained().await;
        drained.is_some()
    })
    .await;
    drop(processes);

    let orders: Vec<_> = answers.iter().filter(|(_, ids)| !ids.is_empty()).collect();
    let pushed = orders.iter().flat_map(|(number, ids)| {
        let message = move |id| format!("{number} {id}");
        ids.iter().map(message)
    });
    let pushed: Vec<String> = pushed.collect();
    let (publications, deliveries) = drained.unwrap();
    let shipped = effects(&chain.shipping).await;
    eprintln!(
        "{} messages of {requests} orders in {} requests; {kills:?} of {ROLES:?} killed, {kills_of_broker} kills of \
         the broker; {publications} publications, {deliveries} deliveries, {} effects",
        pushed.len(),
        progress.asked.load(Ordering::Relaxed),
        shipped.values().sum::<i64>(),
    );
    assert_eq!(pushed.len(), (requests - requests.div_ceil(11)) * MESSAGES);
    let expected = once(pushed.iter().cloned());
    assert_eq!(expected.len(), pushed.len(), "each has its own id");
    assert!(shipped == expected, "each takes effect once");
    let orders = orders.iter().map(|(number, _)| format!("orders {number}"));
    assert!(
        effects(&chain.shop).await == once(orders),
        "so does each request"
    );
    assert!(kills.iter().all(|&kills| kills > 0) && kills_of_broker > 0);
    // Or the ids had nothing to do.
    assert!(publications > pushed.len() as u64 && deliveries > publications);
    chain.remove().await;
}

macro_rules! on {
    ($($module:ident: $database:ty),+) => {$(
        mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn x37_killed_processes_and_broker_lose_and_double_nothing() {
                killed_processes::<$database>(module_path!()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "a process of x37_killed_processes_and_broker_lose_and_double_nothing"]
            async fn part() {
                super::part::<$database>().await;
            }
        }
    )+};
}
on!(sqlite: Sqlite, postgres: Postgres, mysql: Mysql);
