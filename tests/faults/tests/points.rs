//! X3 and the points between the engine's steps.

use futures_util::{StreamExt as _, stream};
use idem_faults::{Blow, Drops, Kind, Point, Report};
use idem_tests::{
    Axum, Database, Framework, Mysql, Postgres, RecordInCommit, Sqlite, Threads, World,
};

macro_rules! databases {
    ($($test:ident)*) => {
        databases!(@ sqlite Sqlite $($test)*);
        databases!(@ postgres Postgres $($test)*);
        databases!(@ record_in_commit RecordInCommit $($test)*);
        databases!(@ mysql Mysql $($test)*);
    };
    (@ $module:ident $database:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    idem_tests::run(
                        super::Threads::Many,
                        async |world: &super::World<super::Axum, super::$database>| {
                            super::$test(world).await;
                        },
                    );
                }
            )*
        }
    };
}

databases! {
    x3_future_dropped_at_every_poll
    x3_every_blow_at_every_point
}

/// The number of requests that are dropped at each poll.
const ROUNDS: usize = 3;

async fn x3_future_dropped_at_every_poll<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let report = every_kind(world, async |drops, kind| {
        for round in 0..ROUNDS {
            let mut polls = 1;
            while !drops
                .drop_at(format!("{kind:?}-{round}-{polls}"), kind, polls)
                .await
            {
                polls += 1;
            }
        }
    });
    let report = report.await;
    report.holds();
    assert!(report.faults >= 20, "hardly any fault was injected");
}

async fn x3_every_blow_at_every_point<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let report = every_kind(world, async |drops, kind| {
        for point in Point::ALL {
            for blow in Blow::ALL {
                let label = format!("{kind:?}-{point:?}-{blow:?}");
                drops.strike(label, kind, point, blow).await;
            }
        }
    });
    let report = report.await;
    report.holds();
    // A replay does not settle anything.
    assert_eq!(report.faults, 4 * 15 + 6);
}

/// Requests of all kinds. They run in parallel if a hanging writer does not block others.
async fn every_kind<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    harm: impl AsyncFn(&mut Drops<D>, Kind),
) -> Report {
    let mut open = Vec::new();
    for kind in Kind::ALL {
        open.push((Drops::open(world).await, kind));
    }
    let harmed = open.into_iter().map(async |(mut drops, kind)| {
        harm(&mut drops, kind).await;
        drops
    });
    let at_once = if D::ONE_WRITER { 1 } else { Kind::ALL.len() };
    let done: Vec<_> = stream::iter(harmed)
        .buffer_unordered(at_once)
        .collect()
        .await;
    let mut report = Report::default();
    for drops in done {
        report = report.and(drops.check(world).await);
    }
    report
}
