//! F6 to F9: the wire between application and database is cut after every byte in both directions, goes dead,
//! or holds bytes back while clients retry or the server ends the session.

use std::future::Future;
use std::time::Instant;

use futures_util::future::join_all;
use idem_faults::{Direction, Fault, Harm, Kind, Lane, Meanwhile, Report};
use idem_tests::{Actix, Axum, Framework, Mysql, Postgres, RecordInCommit, Served};

macro_rules! everywhere {
    ($($test:ident)*) => {
        everywhere!(@ axum_postgres Axum Postgres $($test)*);
        everywhere!(@ actix_record_in_commit Actix RecordInCommit $($test)*);
        everywhere!(@ axum_mysql Axum Mysql $($test)*);
    };
    (@ $module:ident $framework:ident $database:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::run(super::$test::<super::$framework, super::$database>());
                }
            )*
        }
    };
}

everywhere! {
    f6_wire_cut_after_every_byte
    f7_wire_black_holed
    f8_bytes_held_back_while_the_client_retries
    f9_session_ended_by_the_server
}

async fn f6_wire_cut_after_every_byte<F: Framework<D>, D: Served>() -> Report {
    sweep::<F, D>(Sample::EVERY, &[Harm::Cut], Meanwhile::Nothing).await
}

/// What an attempt waits for in vain takes seconds, so this is a sample.
async fn f7_wire_black_holed<F: Framework<D>, D: Served>() -> Report {
    let harms = [Harm::Stall, Harm::BlackHole];
    sweep::<F, D>(Sample::SOME, &harms, Meanwhile::Nothing).await
}

/// The attempt passes its deadline meanwhile, and what was held back arrives after that.
async fn f8_bytes_held_back_while_the_client_retries<F: Framework<D>, D: Served>() -> Report {
    sweep::<F, D>(Sample::SOME, &[Harm::HoldBack], Meanwhile::Duplicates).await
}

async fn f9_session_ended_by_the_server<F: Framework<D>, D: Served>() -> Report {
    sweep::<F, D>(Sample::MANY, &[Harm::HoldBack], Meanwhile::Terminated).await
}

/// Which bytes, and how many requests suffer at once.
#[derive(Debug, Clone, Copy)]
struct Sample {
    step: usize,
    lanes: usize,
}

impl Sample {
    const EVERY: Self = Self { step: 1, lanes: 4 };
    const MANY: Self = Self { step: 7, lanes: 4 };
    const SOME: Self = Self {
        step: 31,
        lanes: 16,
    };
}

/// The report of all faults, spread over lanes.
async fn sweep<F: Framework<D>, D: Served>(
    sample: Sample,
    harms: &[Harm],
    meanwhile: Meanwhile,
) -> Report {
    let mut first = Lane::<F, D>::open().await;
    let mut faults = Vec::new();
    for kind in Kind::ALL {
        let traffic = first.traffic(kind).await;
        for direction in [Direction::Requests, Direction::Answers] {
            let bytes = (0..traffic.of(direction)).step_by(sample.step);
            faults.extend(bytes.flat_map(|after| {
                harms.iter().map(move |&harm| {
                    let fault = Fault {
                        direction,
                        after,
                        harm,
                    };
                    (kind, fault)
                })
            }));
        }
    }
    first.close().await;
    let lanes = (0..sample.lanes).map(async |lane| {
        let mut suffering = Lane::<F, D>::open().await;
        for (kind, fault) in faults.iter().skip(lane).step_by(sample.lanes) {
            suffering.warm_up().await;
            suffering.suffer(*kind, &[(*fault, meanwhile)]).await;
        }
        suffering.close().await
    });
    let reports = join_all(lanes).await.into_iter();
    reports.fold(Report::default(), Report::and)
}

fn run(report: impl Future<Output = Report>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let start = Instant::now();
    let report = runtime.expect("a runtime").block_on(report);
    report.holds();
    println!("{:.0?} in all", start.elapsed());
    assert!(report.faults >= 50, "hardly any fault was injected");
}
