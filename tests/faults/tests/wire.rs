//! F6: the wire between application and database is cut after every byte, in both directions.

use std::future::Future;

use futures_util::future::join_all;
use idem_faults::{Direction, Fault, Harm, Kind, Lane, Report};
use idem_tests::{Axum, Framework, Mysql, Postgres, RecordInCommit, Served};

/// How many requests suffer at once.
const LANES: usize = 4;

/// The report of all faults, spread over lanes.
async fn sweep<F: Framework<D>, D: Served>(
    kinds: &[Kind],
    faults: impl Fn(Kind, Direction, usize) -> Vec<Fault>,
) -> Report {
    let mut first = Lane::<F, D>::open().await;
    let mut all = Vec::new();
    for &kind in kinds {
        let traffic = first.traffic(kind).await;
        for direction in [Direction::Requests, Direction::Answers] {
            let faults = faults(kind, direction, traffic.of(direction));
            all.extend(faults.into_iter().map(|fault| (kind, fault)));
        }
    }
    first.close().await;
    let lanes = (0..LANES).map(async |lane| {
        let mut report = Report::default();
        let mut suffering = Lane::<F, D>::open().await;
        for (kind, fault) in all.iter().skip(lane).step_by(LANES) {
            report = report.and(suffering.suffer(*kind, *fault).await);
        }
        suffering.close().await;
        report
    });
    join_all(lanes)
        .await
        .into_iter()
        .fold(Report::default(), Report::and)
}

fn run(report: impl Future<Output = Report>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let start = std::time::Instant::now();
    let report = runtime.block_on(report);
    println!(
        "{} faults in {:?}, the slowest answer after {:?}, {} resolved, {} unknown",
        report.faults,
        start.elapsed(),
        report.slowest,
        report.resolved,
        report.unknown
    );
    for (violation, evidence) in &report.violations {
        println!("{violation}: {evidence}");
    }
    assert!(report.violations.is_empty());
    assert!(report.faults > 100, "hardly any fault was injected");
}

fn every_byte(_: Kind, direction: Direction, traffic: usize) -> Vec<Fault> {
    let harm = Harm::Cut;
    let fault = |after| Fault {
        direction,
        after,
        harm,
    };
    (0..traffic).map(fault).collect()
}

#[test]
fn f6_every_byte_axum_postgres() {
    run(sweep::<Axum, Postgres>(&Kind::ALL, every_byte));
}

#[test]
fn f6_every_byte_axum_record_in_commit() {
    run(sweep::<Axum, RecordInCommit>(&[Kind::Success], every_byte));
}

#[test]
fn f6_every_byte_axum_mysql() {
    run(sweep::<Axum, Mysql>(&Kind::ALL, every_byte));
}
