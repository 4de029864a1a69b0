//! F3 and the points between the engine's steps.

use idem_faults::{Blow, Drops, Kind, Point};
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
    f3_future_dropped_at_every_poll
    every_blow_at_every_point
}

/// How many times each poll is the last.
const ROUNDS: usize = 3;

async fn f3_future_dropped_at_every_poll<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let mut drops = Drops::open(world).await;
    for kind in Kind::ALL {
        for round in 0..ROUNDS {
            let mut polls = 1;
            while !drops
                .drop_at(format!("{kind:?}-{round}-{polls}"), kind, polls)
                .await
            {
                polls += 1;
            }
        }
    }
    let report = drops.check(world).await;
    report.holds();
    assert!(report.faults >= 20, "hardly any fault was injected");
}

async fn every_blow_at_every_point<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let mut drops = Drops::open(world).await;
    for kind in Kind::ALL {
        for point in Point::ALL {
            for blow in Blow::ALL {
                let label = format!("{kind:?}-{point:?}-{blow:?}");
                drops.strike(label, kind, point, blow).await;
            }
        }
    }
    let report = drops.check(world).await;
    report.holds();
    // A replay has no settlement.
    assert_eq!(report.faults, 4 * 15 + 6);
}
