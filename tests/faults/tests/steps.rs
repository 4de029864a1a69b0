//! X25, X26 and X27: services with rides in steps are killed and frozen.

use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Freezes, Keys, Kills, Report, alone, freeze_riders, kill_riders};
use idem_tests::{Database, Mysql, Postgres, Sqlite};

#[test]
fn x25_t2_t3_t4_t7_service_killed_axum_sqlite() {
    killed::<Sqlite>("service-axum");
}

#[test]
fn x25_t2_t3_t4_t7_service_killed_axum_postgres() {
    killed::<Postgres>("service-axum");
}

#[test]
fn x25_t2_t3_t4_t7_service_killed_axum_mysql() {
    killed::<Mysql>("service-axum");
}

#[test]
fn x25_t2_t3_t4_t7_service_killed_actix_postgres() {
    killed::<Postgres>("service-actix");
}

fn killed<D: Database>(program: &'static str) {
    let report = kill::<D>(program, Keys::Kept);
    report.holds();
    assert!(report.acknowledged > 10, "hardly any ride was paid");
    assert!(report.rides.requests > report.rides.charges, "no retry");
}

/// The limit of a call: without keys at the provider it is more than one charge. A `call_once` is not.
#[test]
fn x26_t3_provider_that_forgets_keys_charges_twice() {
    let report = kill::<Postgres>("service-axum", Keys::Forgotten);
    report.holds();
    let rides = &report.rides;
    assert!(rides.charges > rides.receipts, "no second charge");
}

fn kill<D: Database>(program: &'static str, keys: Keys) -> Report {
    let kills = Kills {
        times: 4,
        clients: 8,
        work: Duration::from_millis(3),
        rng: Rng::with_seed(25),
    };
    alone(kill_riders::<D>(program, keys, kills))
}

#[test]
fn x27_t5_service_frozen_past_its_lease_axum_sqlite() {
    frozen::<Sqlite>("service-axum");
}

#[test]
fn x27_t5_service_frozen_past_its_lease_actix_postgres() {
    frozen::<Postgres>("service-actix");
}

#[test]
fn x27_t5_service_frozen_past_its_lease_axum_mysql() {
    frozen::<Mysql>("service-axum");
}

fn frozen<D: Database>(program: &'static str) {
    let freezes = Freezes::some::<D>(2, Rng::with_seed(27));
    let report = alone(freeze_riders::<D>(program, freezes));
    report.holds();
    // A second lease: the tests of a machine share its processors.
    report.rides.are_taken_over_within(Duration::from_secs(2));
}
