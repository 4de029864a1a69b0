//! F10 and F11: the database server is killed and started again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Durability, Kills, Report, Violation, kill_server};
use idem_tests::{Actix, Axum, Framework, Mysql, Postgres, RecordInCommit, Served};
use xtask::server::{Kind, MARIADB, POSTGRES};

/// One at a time: they have the machine's two cores.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn f10_server_killed_axum_postgres() {
    loses_nothing(&run::<Axum, Postgres>(&POSTGRES, Durability::Kept));
}

#[test]
fn f10_server_killed_actix_record_in_commit() {
    loses_nothing(&run::<Actix, RecordInCommit>(&POSTGRES, Durability::Kept));
}

#[test]
fn f10_server_killed_axum_mysql() {
    loses_nothing(&run::<Axum, Mysql>(&MARIADB, Durability::Kept));
}

/// The control: what is lost here shows that F10 would see a loss. Even so nothing is half done.
#[test]
fn f11_server_killed_without_durability_axum_postgres() {
    loses_whole_requests(&run::<Axum, Postgres>(&POSTGRES, Durability::Off));
}

#[test]
fn f11_server_killed_without_durability_axum_mysql() {
    loses_whole_requests(&run::<Axum, Mysql>(&MARIADB, Durability::Off));
}

fn loses_nothing(report: &Report) {
    assert!(report.violations.is_empty(), "{report}");
}

/// A success that was lost is run again by its retry, and answered with another number.
fn loses_whole_requests(report: &Report) {
    let expected = [Violation::Lost, Violation::Differs];
    let is_expected = |(violation, _): &&(Violation, String)| expected.contains(violation);
    let lost = report.violations.iter().filter(is_expected).count();
    assert_eq!(lost, report.violations.len(), "{report}");
    assert!(lost > 0, "nothing was lost");
}

fn run<F: Framework<D>, D: Served>(kind: &'static dyn Kind, durability: Durability) -> Report {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kills = Kills {
        times: 4,
        clients: 8,
        work: Duration::ZERO,
        rng: Rng::with_seed(10),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let killed = kill_server::<F, D>(kind, durability, kills);
    let report = runtime.expect("a runtime").block_on(killed);
    println!(
        "{durability:?}: {} violations; {} acknowledged",
        report.violations.len(),
        report.acknowledged
    );
    assert!(
        report.acknowledged > 20,
        "hardly any request was acknowledged"
    );
    report
}
