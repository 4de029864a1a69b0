//! X4: the application is killed.

use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Kills, alone, kill_application};
use idem_tests::{Database, Mysql, Postgres, Sqlite};

#[test]
fn x4_application_killed_axum_sqlite() {
    run::<Sqlite>("service-axum");
}

#[test]
fn x4_application_killed_axum_postgres() {
    run::<Postgres>("service-axum");
}

#[test]
fn x4_application_killed_axum_mysql() {
    run::<Mysql>("service-axum");
}

#[test]
fn x4_application_killed_actix_sqlite() {
    run::<Sqlite>("service-actix");
}

#[test]
fn x4_application_killed_actix_postgres() {
    run::<Postgres>("service-actix");
}

#[test]
fn x4_application_killed_actix_mysql() {
    run::<Mysql>("service-actix");
}

fn run<D: Database>(program: &'static str) {
    let kills = Kills {
        times: 6,
        clients: 6,
        work: Duration::from_millis(3),
        rng: Rng::with_seed(4),
    };
    let report = alone(kill_application::<D>(program, kills));
    report.holds();
    assert!(
        report.acknowledged > 50,
        "hardly any payment was acknowledged"
    );
}
