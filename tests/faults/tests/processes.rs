//! F4: the application is killed by SIGKILL, again and again, under load.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use idem_faults::{Ledger, Load, Report};
use idem_tests::{Database, Domain as _, Mysql, Postgres, Request, Service, Site, Sqlite, Wires};
use tokio::time::sleep;

/// How often an application is killed.
const KILLS: usize = 8;

const CLIENTS: usize = 6;

/// One at a time: they have the machine's two cores.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn f4_application_killed_axum_sqlite() {
    run(killed::<Sqlite>("payments"));
}

#[test]
fn f4_application_killed_axum_postgres() {
    run(killed::<Postgres>("payments-postgres"));
}

#[test]
fn f4_application_killed_axum_mysql() {
    run(killed::<Mysql>("payments-mysql"));
}

#[test]
fn f4_application_killed_actix_sqlite() {
    run(killed::<Sqlite>("payments-actix"));
}

#[test]
fn f4_application_killed_actix_postgres() {
    run(killed::<Postgres>("payments-actix"));
}

#[test]
fn f4_application_killed_actix_mysql() {
    run(killed::<Mysql>("payments-actix"));
}

fn run(report: impl Future<Output = Report>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let report = runtime.expect("a runtime").block_on(report);
    assert!(report.violations.is_empty(), "{report}");
}

const PATH: &str = "/payments";

/// The example's ledger; the label of a payment is its note.
const PAYMENTS: Ledger = Ledger {
    table: "payments",
    label: "note",
};

async fn killed<D: Database>(program: &'static str) -> Report {
    let database = D::create().await;
    let site = Site { database, program };
    let work = Duration::from_millis(3);
    let mut service = Service::working(&site, work).await;
    let address = Arc::new(Mutex::new(service.address));
    let current = Arc::clone(&address);
    let request = move |label: &str, _: usize| payment(*lock(&current), label);
    let load = Load::start(CLIENTS, "note", request.clone());
    for round in 0..KILLS {
        sleep(Duration::from_millis(150 + 37 * round as u64)).await;
        service.kill().await;
        service = Service::working(&site, work).await;
        *lock(&address) = service.address;
    }
    sleep(Duration::from_millis(300)).await;
    let history = load.stop().await;
    let (acknowledged, requests) = (history.acknowledged(), history.requests());

    let pool = site.database.connect(Wires::default()).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let retry = |label: &str| request(label, 0);
    let mut report = history
        .check::<D>(&mut connection, PAYMENTS, ("acme", PATH), retry)
        .await;
    report.faults = KILLS;
    println!("{program}: {acknowledged} acknowledged keys, {requests} requests; {report}");
    assert!(acknowledged > 50, "hardly any payment was acknowledged");
    // Every payment moved one from alice to bob, and nothing else did.
    let paid = connection.number("SELECT count(*) FROM payments").await;
    let accounts = service.get("/accounts").await;
    let paid = paid.expect("a number");
    assert_eq!(accounts[0]["balance"], 100_000 - paid);
    assert_eq!(accounts[1]["balance"], 100_000 + paid);
    service.kill().await;
    drop(connection);
    pool.close().await;
    site.database.remove().await;
    report
}

fn payment(address: SocketAddr, label: &str) -> Request {
    let payment = format!(r#"{{"from":"alice","to":"bob","amount":1,"note":"{label}"}}"#);
    Request::new(address, "POST", PATH)
        .without("x-tenant")
        .header("authorization", "Bearer acme")
        .key(label)
        .json(&payment)
}

fn lock<T: Copy>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
