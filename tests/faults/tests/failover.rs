//! X22: a standby takes over.

use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Kills, Replication, Report, alone, fail_over};
use idem_tests::{Actix, Axum, Framework, Postgres, RecordInCommit, Served};

#[test]
fn x22_synchronous_standby_takes_over_axum_postgres() {
    run::<Axum, Postgres>(Replication::Synchronous).holds();
}

/// The control: a loss here shows that a loss would be found. Even so nothing is half done.
#[test]
fn x22_asynchronous_standby_takes_over_actix_record_in_commit() {
    let report = run::<Actix, RecordInCommit>(Replication::Asynchronous);
    report.holds();
    assert!(report.lost > 0, "nothing was lost");
}

fn run<F: Framework<D>, D: Served>(replication: Replication) -> Report {
    let kills = Kills {
        times: 2,
        clients: 8,
        work: Duration::ZERO,
        rng: Rng::with_seed(22),
    };
    let report = alone(fail_over::<F, D>(replication, kills));
    assert!(
        report.acknowledged > 20,
        "hardly any request was acknowledged"
    );
    report
}
