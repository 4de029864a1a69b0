//! X6 to X9: the wire between application and database is cut after every byte in both directions,
//! goes dead, or holds bytes back while clients retry or the server ends the session.

use std::future::Future;
use std::time::Instant;

use futures_util::future::join_all;
use idem_faults::{Direction, Fault, Harm, Kind, Lane, Meanwhile, Report};
use idem_tests::{Actix, Axum, Framework, Mysql, Postgres, RecordInCommit, Served};

macro_rules! everywhere {
    ($($test:ident)*) => {
        everywhere!(@ axum_postgres Axum Postgres 1 $($test)*);
        everywhere!(@ axum_mysql Axum Mysql 1 $($test)*);
        // The same wire, for another adapter or another last message.
        everywhere!(@ actix_postgres Actix Postgres 7 $($test)*);
        everywhere!(@ actix_mysql Actix Mysql 7 $($test)*);
        everywhere!(@ axum_record_in_commit Axum RecordInCommit 7 $($test)*);
        everywhere!(@ actix_record_in_commit Actix RecordInCommit 7 $($test)*);
    };
    (@ $module:ident $framework:ident $database:ident $step:literal $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::run(super::$test::<super::$framework, super::$database>($step));
                }
            )*
        }
    };
}

everywhere! {
    x6_wire_cut_after_every_byte
    x7_wire_black_holed
    x8_bytes_held_back_while_the_client_retries
    x9_session_ended_by_the_server
}

async fn x6_wire_cut_after_every_byte<F: Framework<D>, D: Served>(step: usize) -> Report {
    sweep::<F, D>(Sample::EVERY.by(step), &[Harm::Cut], Meanwhile::Nothing).await
}

/// A sample, as an attempt waits for seconds in vain.
async fn x7_wire_black_holed<F: Framework<D>, D: Served>(step: usize) -> Report {
    let harms = [Harm::Stall, Harm::BlackHole];
    sweep::<F, D>(Sample::SOME.by(step), &harms, Meanwhile::Nothing).await
}

/// The attempt passes its deadline meanwhile. The bytes that were held back arrive after that.
async fn x8_bytes_held_back_while_the_client_retries<F: Framework<D>, D: Served>(
    step: usize,
) -> Report {
    sweep::<F, D>(
        Sample::SOME.by(step),
        &[Harm::HoldBack],
        Meanwhile::Duplicates,
    )
    .await
}

async fn x9_session_ended_by_the_server<F: Framework<D>, D: Served>(step: usize) -> Report {
    sweep::<F, D>(
        Sample::MANY.by(step),
        &[Harm::HoldBack],
        Meanwhile::Terminated,
    )
    .await
}

/// The bytes to test, and the number of requests with faults in parallel.
#[derive(Debug, Clone, Copy)]
struct Sample {
    step: usize,
    lanes: usize,
}

impl Sample {
    /// The same sample with this many times fewer bytes.
    fn by(self, step: usize) -> Self {
        Self {
            step: self.step * step,
            ..self
        }
    }

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
            // A retry differs only in its claim.
            let step = if kind == Kind::Retry { 3 } else { 1 } * sample.step;
            let bytes = (0..traffic.of(direction)).step_by(step);
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
    join_all(lanes).await.into_iter().sum()
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
    assert!(report.faults >= 20, "hardly any fault was injected");
}
