//! F10 and F11: the database server is killed and started again, under load.

use std::sync::Mutex;
use std::time::Duration;

use idem_core::PostgresStore;
use idem_faults::{EFFECTS, Load, Report, Violation};
use idem_tests::{
    Axum, Driver, Framework, Mysql, Postgres, RecordInCommit, Request, Served, Settings, World,
};
use sqlx::pool::PoolConnection;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use xtask::server::{Kind, MARIADB, POSTGRES, Server};

/// How often a server is killed.
const KILLS: usize = 4;

const CLIENTS: usize = 8;

/// One at a time: they have the machine's two cores.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn f10_server_killed_axum_postgres() {
    let report = run(killed::<Axum, Postgres>(&POSTGRES, Durability::Kept));
    assert!(report.violations.is_empty(), "{report}");
}

#[test]
fn f10_server_killed_axum_record_in_commit() {
    let report = run(killed::<Axum, RecordInCommit>(&POSTGRES, Durability::Kept));
    assert!(report.violations.is_empty(), "{report}");
}

#[test]
fn f10_server_killed_axum_mysql() {
    let report = run(killed::<Axum, Mysql>(&MARIADB, Durability::Kept));
    assert!(report.violations.is_empty(), "{report}");
}

/// The control: what is lost here shows that F10 would see a loss. Even so nothing is half done.
#[test]
fn f11_server_killed_without_durability_axum_postgres() {
    loses_whole_requests(&run(killed::<Axum, Postgres>(&POSTGRES, Durability::Off)));
}

#[test]
fn f11_server_killed_without_durability_axum_mysql() {
    loses_whole_requests(&run(killed::<Axum, Mysql>(&MARIADB, Durability::Off)));
}

/// A success that was lost is run again by its retry, and answered with another number.
fn loses_whole_requests(report: &Report) {
    let expected = [Violation::Lost, Violation::Differs];
    let is_expected = |(violation, _): &&(Violation, String)| expected.contains(violation);
    let lost = report.violations.iter().filter(is_expected).count();
    assert_eq!(lost, report.violations.len(), "{report}");
    assert!(lost > 0, "nothing was lost");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    Kept,
    Off,
}

fn run(report: impl Future<Output = Report>) -> Report {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(report)
}

const PATH: &str = "/effects";

async fn killed<F: Framework<D>, D: Served>(
    kind: &'static dyn Kind,
    durability: Durability,
) -> Report {
    let server = spawn_blocking(move || Server::start(kind))
        .await
        .expect("ends");
    let mut server = server.expect("a server");
    let world = World::<F, D>::on(D::on(server.url()).await).await;
    let lasting = |store: PostgresStore| store.with_session_durability();
    let mut settings = Settings::default();
    if durability == Durability::Off {
        settings = Settings::of_store(lasting);
    }
    settings.wires.patience = Duration::from_secs(2);
    let instances = [
        world.instance_with(settings.clone()).await,
        world.instance_with(settings).await,
    ];
    // Behind the migrations, which would be lost, too.
    if durability == Durability::Off {
        weaken(&world).await;
    }
    let addresses = [instances[0].address, instances[1].address];
    let request = move |label: &str, number: usize| {
        Request::new(addresses[number % 2], "POST", PATH)
            .tenant("acme")
            .key(label)
            .effect(label)
    };
    let load = Load::start(CLIENTS, "key", request);
    for round in 0..KILLS {
        sleep(Duration::from_millis(300 + 170 * round as u64)).await;
        server = spawn_blocking(move || {
            server.kill().expect("the server runs");
            server.restart().expect("it starts again");
            server
        })
        .await
        .expect("ends");
        if durability == Durability::Off {
            weaken(&world).await;
        }
    }
    sleep(Duration::from_millis(300)).await;
    let history = load.stop().await;
    let (acknowledged, requests) = (history.acknowledged(), history.requests());
    let retry = |label: &str| request(label, 0);
    let mut connection = observe(&world).await;
    let mut report = history
        .check::<D>(&mut connection, EFFECTS, ("acme", PATH), retry)
        .await;
    drop(connection);
    report.faults = KILLS;
    println!("{acknowledged} acknowledged keys, {requests} requests; {report}");
    assert!(acknowledged > 20, "hardly any request was acknowledged");
    world.end(true).await;
    report
}

async fn weaken<F: Framework<D>, D: Served>(world: &World<F, D>) {
    let mut connection = observe(world).await;
    D::weaken(&mut connection).await;
}

/// The observer's connections are gone with the server.
async fn observe<F: Framework<D>, D: Served>(world: &World<F, D>) -> PoolConnection<Driver<D>> {
    for _ in 0..50 {
        if let Ok(connection) = world.try_observe().await {
            return connection;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the server does not come back");
}
