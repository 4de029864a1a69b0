//! The memory of duplicates that wait for a running handler.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{Response, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Config, Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;
use tower::ServiceExt as _;

use crate::business::{NewPayment, Receipt};
use crate::contestant::{Failure, PATH, Tenant};
use crate::load::{Ask, request};

/// How many duplicates wait.
const WAITERS: u32 = 1000;

/// The results.
pub(crate) struct Cost {
    /// A waiting duplicate's kilobytes, of 1,000 bytes.
    pub(crate) kilobytes: f64,
    /// The section of the report.
    pub(crate) text: String,
}

/// Lets duplicates wait, and counts the bytes that were allocated for them.
pub(crate) fn run() -> Result<Cost> {
    // On this thread alone, because allocations are counted by threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let gate = Arc::new(Semaphore::new(0));
    let ask = Ask::fresh();
    let router = runtime.block_on(router(Arc::clone(&gate)))?;
    let mut requests = runtime.block_on(send(&router, &ask, 1))?;
    let mut sent = Ok(Vec::new());
    let memory = allocation_counter::measure(|| {
        sent = runtime.block_on(send(&router, &ask, WAITERS));
    });
    requests.extend(sent?);
    gate.add_permits(1);
    let replayed = runtime.block_on(replayed(requests))?;
    ensure!(replayed == WAITERS, "{replayed} duplicates were replayed");
    let bytes = i32::try_from(memory.bytes_current)? / i32::try_from(WAITERS)?;
    let allocations = memory.count_current / i64::from(WAITERS);
    Ok(Cost {
        kilobytes: f64::from(bytes) / 1000.0,
        text: format!(
            "A duplicate that waits on axum takes {bytes} bytes in {allocations} allocations, with its request of ten \
             fields and its task, and without a connection to the client. The mean of {WAITERS}.\n"
        ),
    })
}

async fn router(gate: Arc<Semaphore>) -> Result<Router> {
    let waiters = usize::try_from(WAITERS)?;
    let store = SqliteStore::in_memory().await?;
    store.migrate().await?;
    let engine = Engine::with_config(store, Config::new().with_waiters(waiters, waiters));
    Ok(Router::new()
        .route(PATH, post(hold))
        .with_state(App { engine, gate }))
}

async fn send(router: &Router, ask: &Ask, count: u32) -> Result<Vec<JoinHandle<Response<Body>>>> {
    let mut requests = Vec::new();
    for _ in 0..count {
        let (router, request) = (router.clone(), request(PATH, ask)?.map(Body::new));
        requests.push(tokio::spawn(async move {
            let response = router.oneshot(request).await;
            response.unwrap_or_else(|never| match never {})
        }));
    }
    // Every request comes as far as it can. Between them, SQLite's thread does its part.
    for _ in 0..100 {
        yield_now().await;
    }
    sleep(Duration::from_millis(100)).await;
    Ok(requests)
}

/// How many of these requests were answered as replays.
async fn replayed(requests: Vec<JoinHandle<Response<Body>>>) -> Result<u32> {
    let mut replayed = 0;
    for request in requests {
        let response = request.await?;
        let status = response.status();
        ensure!(status == StatusCode::CREATED, "{status}");
        let is_replay = response.headers().contains_key(crate::contestant::REPLAYED);
        replayed += u32::from(is_replay);
    }
    Ok(replayed)
}

#[derive(Clone)]
struct App {
    engine: Engine<SqliteStore>,
    gate: Arc<Semaphore>,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

/// Waits until it is let go.
#[idempotent(ttl = "24h", scope = "tenant")]
async fn hold(
    _tx: &mut SqliteConnection,
    tenant: Tenant,
    State(app): State<App>,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Receipt>), Failure> {
    app.gate.acquire().await?.forget();
    let receipt = Receipt::new(1, &tenant.0, payment);
    Ok((StatusCode::CREATED, Json(receipt)))
}
