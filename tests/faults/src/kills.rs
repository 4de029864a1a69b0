//! Applications and database servers that are killed by SIGKILL, repeatedly and under load.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use idem_core::PostgresStore;
use idem_tests::{
    Answer, Database, Domain as _, Driver, Framework, Request, Served, Service, Settings, Site,
    Wires, World,
};
use sqlx::pool::PoolConnection;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use xtask::server::{Kind, Server};

use crate::checker::Ledger;
use crate::lane::{EFFECTS, TENANT, identity};
use crate::load::Load;
use crate::report::Report;

/// The endpoint of the load on servers.
pub(crate) const PATH: &str = "/effects";

/// The number of kills, and the load.
#[derive(Debug, Clone)]
pub struct Kills {
    /// The number of kills.
    pub times: usize,
    /// The number of clients.
    pub clients: usize,
    /// The time that a handler of an application works.
    pub work: Duration,
    /// Decides the time of the next kill.
    pub rng: Rng,
}

/// Runs a future while no other one runs: a killed program needs both cores of a small machine.
pub fn alone<T>(future: impl Future<Output = T>) -> T {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = lock(&ALONE);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

impl Kills {
    pub(crate) async fn pause(&mut self) {
        sleep(Duration::from_millis(self.rng.u64(150..900))).await;
    }
}

/// The ledger of the test services. The label of a payment is its note.
const PAYMENTS: Ledger = Ledger {
    table: "payments",
    label: "note",
};

/// X4: kills a test service.
pub async fn kill_application<D: Database>(program: &'static str, mut kills: Kills) -> Report {
    const PATH: &str = "/payments";
    let database = D::create().await;
    let site = Site { database, program };
    let mut service = Service::working(&site, kills.work).await;
    let address = Arc::new(Mutex::new(service.address));
    let current = Arc::clone(&address);
    let request = move |label: &str, _: usize| payment(*lock(&current), PATH, label);
    let load = Load::start(kills.clients, "note", request.clone());
    for _ in 0..kills.times {
        kills.pause().await;
        service.kill().await;
        service = Service::working(&site, kills.work).await;
        *lock(&address) = service.address;
    }
    kills.pause().await;
    let history = load.stop().await;
    let retry = async |label: &str| request(label, 0).attempt().await;
    let recoveries = history.persist_all(retry).await;

    let pool = site.database.connect(Wires::default()).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let identity = |label: &str| identity(PATH, label);
    let mut report = history
        .check::<D>(&mut connection, PAYMENTS, identity)
        .await;
    report.faults = kills.times;
    report.recoveries = recoveries;
    // Every payment moved one unit from alice to bob, and nothing else moved money.
    let paid = connection.number("SELECT count(*) FROM payments").await;
    let accounts = service.get("/accounts").await;
    let paid = paid.expect("a number");
    assert_eq!(accounts[0]["balance"], 100_000 - paid, "{report}");
    assert_eq!(accounts[1]["balance"], 100_000 + paid, "{report}");
    service.kill().await;
    drop(connection);
    pool.close().await;
    site.database.remove().await;
    report
}

fn payment(address: SocketAddr, path: &str, label: &str) -> Request {
    let payment = format!(r#"{{"from":"alice","to":"bob","amount":1,"note":"{label}"}}"#);
    Request::new(address, "POST", path)
        .without("x-tenant")
        .header("authorization", format!("Bearer {TENANT}"))
        .key(label)
        .json(&payment)
}

/// Whether a server acknowledges commits that it could lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does not.
    Kept,
    /// It does: the control, which shows that a loss would be found.
    Off,
}

/// X10 and X11: kills a server that is started only for this test.
pub async fn kill_server<F: Framework<D>, D: Served>(
    kind: &'static dyn Kind,
    durability: Durability,
    mut kills: Kills,
) -> Report {
    let server = spawn_blocking(move || Server::start(kind)).await;
    let mut server = server.expect("ends").expect("a server");
    let world = World::<F, D>::on(D::on(server.url()).await).await;
    let lasting = |store: PostgresStore| store.with_session_durability();
    let mut settings = Settings::default();
    if durability == Durability::Off {
        settings = Settings::of_store(lasting);
    }
    settings.wires.acquire_timeout = Duration::from_secs(2);
    let instances = [
        world.instance_with(settings.clone()).await,
        world.instance_with(settings).await,
    ];
    // After the migrations, as the server could lose them, too.
    weaken(&world, durability).await;
    let addresses = instances.map(|instance| instance.address);
    let request = move |label: &str, number: usize| {
        Request::new(addresses[number % addresses.len()], "POST", PATH)
            .tenant(TENANT)
            .key(label)
            .effect(label)
    };
    let load = Load::start(kills.clients, "key", request);
    for _ in 0..kills.times {
        kills.pause().await;
        let restarted = spawn_blocking(move || {
            server.kill().expect("the server runs");
            server.restart().expect("it starts again");
            server
        });
        server = restarted.await.expect("ends");
        weaken(&world, durability).await;
    }
    let retry = async |label: &str| request(label, 0).attempt().await;
    conclude(world, load, kills, retry).await
}

/// Ends the load, retries each key until its answer lasts, and checks all answers by what is in the database. The
/// recoveries are the times that the retries took.
pub(crate) async fn conclude<F: Framework<D>, D: Database>(
    world: World<F, D>,
    load: Load,
    mut kills: Kills,
    retry: impl AsyncFn(&str) -> Option<Answer>,
) -> Report {
    kills.pause().await;
    let history = load.stop().await;
    let recoveries = history.persist_all(retry).await;
    let mut connection = observe(&world).await;
    let identity = |label: &str| identity(PATH, label);
    let mut report = history.check::<D>(&mut connection, EFFECTS, identity).await;
    drop(connection);
    report.faults = kills.times;
    report.recoveries = recoveries;
    world.end(true).await;
    report
}

async fn weaken<F: Framework<D>, D: Served>(world: &World<F, D>, durability: Durability) {
    if durability == Durability::Off {
        D::weaken(&mut *observe(world).await).await;
    }
}

/// Connects again: the observer's connections are lost with the server.
async fn observe<F: Framework<D>, D: Database>(world: &World<F, D>) -> PoolConnection<Driver<D>> {
    for _ in 0..50 {
        if let Ok(connection) = world.try_observe().await {
            return connection;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the server does not come back");
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
