//! X10 and X11: the database server is killed and started again.

use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Durability, Kills, Report, Violation, alone, kill_server};
use idem_tests::{Actix, Axum, Framework, Mysql, Postgres, RecordInCommit, Served};
use xtask::server::{Kind, MARIADB, POSTGRES};

#[test]
fn x10_server_killed_axum_postgres() {
    run::<Axum, Postgres>(&POSTGRES, Durability::Kept).holds();
}

#[test]
fn x10_server_killed_actix_record_in_commit() {
    run::<Actix, RecordInCommit>(&POSTGRES, Durability::Kept).holds();
}

#[test]
fn x10_server_killed_axum_mysql() {
    run::<Axum, Mysql>(&MARIADB, Durability::Kept).holds();
}

/// The control: a loss here shows that X10 would find a loss. Even so nothing is half done.
#[test]
fn x11_server_killed_without_durability_axum_postgres() {
    loses_whole_requests(&run::<Axum, Postgres>(&POSTGRES, Durability::Off));
}

#[test]
fn x11_server_killed_without_durability_axum_mysql() {
    loses_whole_requests(&run::<Axum, Mysql>(&MARIADB, Durability::Off));
}

/// The retry of a lost success runs again, and is answered with another number.
fn loses_whole_requests(report: &Report) {
    let expected = [Violation::Lost, Violation::Differs];
    let is_expected = |(violation, _): &&(Violation, String)| expected.contains(violation);
    let lost = report.violations.iter().filter(is_expected).count();
    assert_eq!(lost, report.violations.len(), "{report}");
    println!(
        "{lost} of {} acknowledged keys were lost",
        report.acknowledged
    );
    assert!(lost > 0, "nothing was lost");
}

fn run<F: Framework<D>, D: Served>(kind: &'static dyn Kind, durability: Durability) -> Report {
    let kills = Kills {
        times: 4,
        clients: 8,
        work: Duration::ZERO,
        rng: Rng::with_seed(10),
    };
    let report = alone(kill_server::<F, D>(kind, durability, kills));
    assert!(
        report.acknowledged > 20,
        "hardly any request was acknowledged"
    );
    report
}
