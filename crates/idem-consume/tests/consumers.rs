//! Consumers on SQLite. The other rules N have their suite on every database: `Engine::once` is the same code.

use std::borrow::Cow;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use idem_consume::{
    Attempt, Cause, Consumer, Delivery, Engine, Event, Failure, FromDelivery, FromRef, MessageId,
    Problem, Provider, Rejection, Scope, SqliteStore, State, StepKey, StepStore, Steps, Verdict,
    idempotent,
};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::Notify;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderPaid {
    id: String,
    tenant: String,
    cents: i64,
}

async fn ship(tx: &mut SqliteConnection, what: &str) -> sqlx::Result<()> {
    let insert = sqlx::query("INSERT INTO effects (what) VALUES (?)").bind(what);
    insert.execute(tx).await.map(drop)
}

#[idempotent(
    ttl = "14d",
    operation = "ship_order",
    key = "event.id",
    scope = "event.tenant"
)]
async fn ship_order(tx: &mut SqliteConnection, event: Event<OrderPaid>) -> Result<(), Failure> {
    ship(tx, &event.tenant).await?;
    match event.cents {
        ..0 => Err(Failure::dead("an amount below zero")),
        0 => Err("nothing yet".parse::<i64>().expect_err("no number").into()),
        1 => panic!("a panic of the consumer"),
        _ => Ok(()),
    }
}

/// A database with the tables of the library and of the tests.
async fn database() -> (SqliteStore, SqlitePool) {
    let store = SqliteStore::in_memory().await.expect("a database");
    store.migrate().await.expect("the tables");
    let pool = store.pool().clone();
    let create = "CREATE TABLE effects (what TEXT NOT NULL)";
    sqlx::query(create).execute(&pool).await.expect("a table");
    (store, pool)
}

async fn effects(pool: &SqlitePool) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM effects");
    count.fetch_one(pool).await.expect("a number")
}

fn paid(id: &str, cents: i64) -> Delivery {
    let event = OrderPaid {
        id: id.to_owned(),
        tenant: "acme".to_owned(),
        cents,
    };
    let mut json = br#"{"unknown": 1, "#.to_vec();
    json.extend_from_slice(&serde_json::to_vec(&event).expect("JSON")[1..]);
    Delivery::new(json)
}

fn is_done(verdict: &Verdict, duplicate: bool) -> bool {
    matches!(verdict, Verdict::Done { is_duplicate } if *is_duplicate == duplicate)
}

#[tokio::test]
async fn n1_n8_message_takes_effect_once_and_its_duplicate_is_done() {
    let (store, pool) = database().await;
    let consumer = Consumer::new(Engine::new(store));
    for duplicate in [false, true, true] {
        let verdict = consumer.run(ship_order, paid("7", 500)).await;
        assert!(is_done(&verdict, duplicate), "{verdict:?}");
    }
    assert_eq!(effects(&pool).await, 1);
    let verdict = consumer.run(ship_order, paid("8", 500)).await;
    assert!(is_done(&verdict, false), "{verdict:?}");
    assert_eq!(effects(&pool).await, 2);
}

#[tokio::test]
async fn n2_n8_failure_is_delivered_again_and_leaves_nothing() {
    let (store, pool) = database().await;
    let consumer = Consumer::new(Engine::new(store));
    for _ in 0..2 {
        match consumer.run(ship_order, paid("7", 0)).await {
            Verdict::Again {
                cause: cause @ Cause::Failed(_),
                after: None,
            } => {
                let error = cause.source().unwrap().to_string();
                assert_eq!(error, "invalid digit found in string");
            }
            verdict => panic!("{verdict:?}"),
        }
    }
    match consumer.run(ship_order, paid("8", 1)).await {
        Verdict::Again {
            cause: Cause::Problem(Problem::HandlerPanicked),
            ..
        } => {}
        verdict => panic!("{verdict:?}"),
    }
    assert_eq!(effects(&pool).await, 0);
}

#[tokio::test]
async fn n2_n8_dead_message_is_dead_each_time() {
    let (store, pool) = database().await;
    let consumer = Consumer::new(Engine::new(store));
    for _ in 0..2 {
        match consumer.run(ship_order, paid("7", -1)).await {
            Verdict::Dead(Cause::Refused(reason)) => assert_eq!(reason, "an amount below zero"),
            verdict => panic!("{verdict:?}"),
        }
    }
    assert_eq!(effects(&pool).await, 0);
}

#[tokio::test]
async fn n8_m1_id_with_another_content_is_dead() {
    let (store, pool) = database().await;
    let consumer = Consumer::new(Engine::new(store));
    let verdict = consumer.run(ship_order, paid("7", 500)).await;
    assert!(is_done(&verdict, false), "{verdict:?}");
    match consumer.run(ship_order, paid("7", 600)).await {
        Verdict::Dead(Cause::Problem(Problem::KeyReused)) => {}
        verdict => panic!("{verdict:?}"),
    }
    // The order of the fields is not content.
    let other = r#"{"cents": 500, "tenant": "acme", "id": "7"}"#;
    let verdict = consumer.run(ship_order, Delivery::new(other)).await;
    assert!(is_done(&verdict, true), "{verdict:?}");
    assert_eq!(effects(&pool).await, 1);
}

#[tokio::test]
async fn n8_poison_leaves_no_record() {
    let (store, pool) = database().await;
    let consumer = Consumer::new(Engine::new(store));
    for poison in ["{", r#"{"id": 7}"#, ""] {
        match consumer.run(ship_order, Delivery::new(poison)).await {
            Verdict::Dead(cause @ Cause::Rejected(_)) => {
                let reason = cause.to_string();
                assert!(reason.starts_with("the content is not"), "{reason}");
            }
            verdict => panic!("{verdict:?}"),
        }
    }
    for key in ["", "a b"] {
        match consumer.run(ship_order, paid(key, 500)).await {
            Verdict::Dead(Cause::Problem(Problem::KeyMalformed(_))) => {}
            verdict => panic!("{verdict:?}"),
        }
    }
    let records: i64 = sqlx::query_scalar("SELECT count(*) FROM idem_records")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!((records, effects(&pool).await), (0, 0));
}

#[tokio::test]
async fn n8_service_without_tables_loses_no_message() {
    let (store, pool) = database().await;
    let drop = "DROP TABLE idem_records";
    sqlx::query(drop).execute(&pool).await.unwrap();
    let consumer = Consumer::new(Engine::new(store));
    match consumer.run(ship_order, paid("7", 500)).await {
        Verdict::Again {
            cause: Cause::Problem(Problem::Misconfigured),
            ..
        } => {}
        verdict => panic!("{verdict:?}"),
    }
}

/// The state of the consumers below.
#[derive(Clone)]
struct App {
    billing: Billing,
    gate: Arc<Gate>,
}

/// Where a consumer says that it runs, and waits.
#[derive(Default)]
struct Gate {
    entered: Notify,
    opened: Notify,
}

#[derive(Clone)]
struct Billing(Engine<SqliteStore>);

impl Provider for Billing {
    type Store = SqliteStore;

    fn engine(&self) -> &Engine<SqliteStore> {
        &self.0
    }
}

impl FromRef<App> for Billing {
    fn from_ref(app: &App) -> Self {
        app.billing.clone()
    }
}

impl FromRef<App> for Arc<Gate> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.gate)
    }
}

struct Tenant(String);

impl<S> FromDelivery<S> for Tenant {
    fn from_delivery(delivery: &Delivery, _: &S) -> Result<Self, Rejection> {
        let tenant = delivery.attribute("tenant");
        let tenant = tenant.ok_or_else(|| Rejection::new("the message has no tenant"))?;
        Ok(Self(tenant.to_owned()))
    }
}

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

#[idempotent(
    ttl = "1h", operation = "invoice", key = "id", scope = "tenant", fingerprint = "none",
    store = Billing, state = App
)]
async fn invoice(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    State(gate): State<Arc<Gate>>,
    tenant: Tenant,
    id: MessageId,
    delivery: Delivery,
) -> sqlx::Result<()> {
    assert_eq!(attempt.key(), Some(id.0.as_str()));
    assert_eq!(attempt.scope(), delivery.attribute("tenant"));
    gate.entered.notify_one();
    gate.opened.notified().await;
    ship(tx, "invoice").await
}

async fn app() -> (App, SqlitePool) {
    let (store, pool) = database().await;
    let app = App {
        billing: Billing(Engine::new(store)),
        gate: Arc::default(),
    };
    (app, pool)
}

fn invoiced(payload: &str) -> Delivery {
    Delivery::new(payload.to_owned())
        .with_id(7)
        .with_attribute("tenant", "acme")
}

#[tokio::test]
async fn n8_duplicate_of_a_message_in_flight_is_delivered_again() {
    let (app, pool) = app().await;
    let consumer = Consumer::new(app.clone());
    let first = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.run(invoice, invoiced("a")).await }
    });
    app.gate.entered.notified().await;
    match consumer.run(invoice, invoiced("b")).await {
        Verdict::Again {
            after: Some(after),
            cause: Cause::Problem(Problem::InFlight),
        } => assert!(after >= Duration::from_secs(1), "{after:?}"),
        verdict => panic!("{verdict:?}"),
    }
    app.gate.opened.notify_one();
    let verdict = first.await.unwrap();
    assert!(is_done(&verdict, false), "{verdict:?}");
    // The content is not bound.
    let verdict = consumer.run(invoice, invoiced("c")).await;
    assert!(is_done(&verdict, true), "{verdict:?}");
    assert_eq!(effects(&pool).await, 1);
}

#[tokio::test]
async fn n6_consumer_that_is_stopped_has_no_effect() {
    let (app, pool) = app().await;
    let consumer = Consumer::new(app.clone());
    let stopped = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.run(invoice, invoiced("a")).await }
    });
    app.gate.entered.notified().await;
    stopped.abort();
    assert!(stopped.await.unwrap_err().is_cancelled());
    app.gate.opened.notify_one();
    let verdict = consumer.run(invoice, invoiced("a")).await;
    assert!(is_done(&verdict, false), "{verdict:?}");
    assert_eq!(effects(&pool).await, 1);
}

#[tokio::test]
async fn n8_argument_that_is_missing_is_named() {
    let (app, _pool) = app().await;
    let consumer = Consumer::new(app);
    let cases = [
        (Delivery::new("").with_id(7), "the message has no tenant"),
        (
            Delivery::new("").with_attribute("tenant", "acme"),
            "the delivery has no id",
        ),
    ];
    for (delivery, expected) in cases {
        match consumer.run(invoice, delivery).await {
            Verdict::Dead(Cause::Rejected(reason)) => assert_eq!(reason, expected),
            verdict => panic!("{verdict:?}"),
        }
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

#[idempotent(ttl = "1h", operation = "text", key = "id", unscoped, lease = "5s")]
async fn text(
    steps: &mut Steps<SqliteConnection>,
    id: MessageId,
    Event(fails): Event<bool>,
) -> Result<(), Failure> {
    let sent = async |_: StepKey| Ok::<_, Failure>(CALLS.fetch_add(1, Ordering::Relaxed));
    let sent = steps.call("send", sent).await?;
    assert_eq!(sent, 0, "{id}");
    if fails && steps_fail_once() {
        return Err(Failure::again("not yet"));
    }
    let write = async |tx: &mut SqliteConnection| Ok::<_, Failure>(ship(tx, "text").await?);
    steps.commit("write", write).await
}

fn steps_fail_once() -> bool {
    static FAILED: AtomicUsize = AtomicUsize::new(0);
    FAILED.fetch_add(1, Ordering::Relaxed) == 0
}

#[tokio::test]
async fn t7_redelivery_resumes_after_the_recorded_steps() {
    let (store, pool) = database().await;
    let store = StepStore::new(store);
    store.migrate().await.expect("the tables");
    let consumer = Consumer::new(Engine::new(store));
    let delivery = Delivery::new("true").with_id("7");
    let verdict = consumer.run(text, delivery.clone()).await;
    assert!(
        matches!(&verdict, Verdict::Again { cause: Cause::Failed(error), .. } if error.to_string() == "not yet"),
        "{verdict:?}"
    );
    for duplicate in [false, true] {
        let verdict = consumer.run(text, delivery.clone()).await;
        assert!(is_done(&verdict, duplicate), "{verdict:?}");
    }
    assert_eq!(
        (effects(&pool).await, CALLS.load(Ordering::Relaxed)),
        (1, 1)
    );
}
