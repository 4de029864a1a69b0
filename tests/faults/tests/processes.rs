//! F4: the application is killed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Kills, Report, kill_application};
use idem_tests::{Database, Mysql, Postgres, Sqlite};

/// One at a time: they have the machine's two cores.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn f4_application_killed_axum_sqlite() {
    run::<Sqlite>("payments");
}

#[test]
fn f4_application_killed_axum_postgres() {
    run::<Postgres>("payments-postgres");
}

#[test]
fn f4_application_killed_axum_mysql() {
    run::<Mysql>("payments-mysql");
}

#[test]
fn f4_application_killed_actix_sqlite() {
    run::<Sqlite>("payments-actix");
}

#[test]
fn f4_application_killed_actix_postgres() {
    run::<Postgres>("payments-actix");
}

#[test]
fn f4_application_killed_actix_mysql() {
    run::<Mysql>("payments-actix");
}

fn run<D: Database>(program: &'static str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kills = Kills {
        times: 8,
        clients: 6,
        work: Duration::from_millis(3),
        rng: Rng::with_seed(4),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let killed = kill_application::<D>(program, kills);
    let report: Report = runtime.expect("a runtime").block_on(killed);
    println!("{program}: {report}");
    assert!(report.violations.is_empty(), "{report}");
    assert!(
        report.acknowledged > 50,
        "hardly any payment was acknowledged"
    );
}
