//! F3 and the points between the engine's steps: futures that are dropped at any poll, and stores that fail,
//! panic or hang before and behind what they do.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use idem_core::Engine;
use idem_faults::{Blow, Caller, EFFECTS, Evidence, Harmed, Kind, Point, Report, Told, check};
use idem_tests::{
    Answer, Axum, Choices, Database, Framework, Mysql, Postgres, RecordInCommit, Sqlite, Threads,
    Wires, World,
};
use tokio::time::sleep;

macro_rules! databases {
    ($($test:ident($($argument:tt)*);)*) => {
        databases!(@ sqlite Sqlite $($test($($argument)*);)*);
        databases!(@ postgres Postgres $($test($($argument)*);)*);
        databases!(@ record_in_commit RecordInCommit $($test($($argument)*);)*);
        databases!(@ mysql Mysql $($test($($argument)*);)*);
    };
    (@ $module:ident $database:ident $($test:ident($($argument:tt)*);)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    idem_tests::run(
                        super::Threads::Many,
                        async |world: &super::World<super::Axum, super::$database>| {
                            super::$test(world $($argument)*).await;
                        },
                    );
                }
            )*
        }
    };
}

databases! {
    f3_future_dropped_at_every_poll();
    every_blow_at_every_point();
}

/// The output of a future that is polled so many times and then dropped.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Retries until there is an answer that stays.
async fn persist(ask: impl AsyncFn() -> Answer) -> Answer {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        if matches!(answer.status, 201 | 422) {
            return answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{}: {}",
            answer.status,
            answer.text()
        );
        sleep(Duration::from_millis(2)).await;
    }
}

/// How many times each poll is the last.
const ROUNDS: usize = 3;

async fn f3_future_dropped_at_every_poll<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let (one, other) = (
        Caller::of(one.engine.clone()),
        Caller::of(other.engine.clone()),
    );
    let mut report = Report::default();
    for kind in Kind::ALL {
        for round in 0..ROUNDS {
            for polls in 1.. {
                let label = format!("{kind:?}-{round}-{polls}");
                let mut told = Vec::new();
                if kind == Kind::Replay {
                    told.push(Told::Answer(one.clone().call(kind, label.clone()).await));
                }
                let first = polled(one.clone().call(kind, label.clone()), polls).await;
                let passed = first.is_some();
                told.push(first.map_or(Told::Nothing, Told::Answer));
                let healed = Instant::now();
                let ask = async || other.clone().call(Kind::Success, label.clone()).await;
                told.push(Told::Answer(persist(ask).await));
                report.slowest = report.slowest.max(healed.elapsed());
                let again = one.clone().call(Kind::Success, label.clone()).await;
                told.push(Told::Answer(again));
                report.faults += usize::from(!passed);
                report.look::<F, D>(world, told, label).await;
                if passed {
                    break;
                }
            }
        }
    }
    println!("{report}");
    assert!(report.violations.is_empty());
    assert!(report.faults >= 20, "hardly any fault was injected");
}

trait Look {
    async fn look<F: Framework<D>, D: Database>(
        &mut self,
        world: &World<F, D>,
        told: Vec<Told>,
        label: String,
    );
}

impl Look for Report {
    async fn look<F: Framework<D>, D: Database>(
        &mut self,
        world: &World<F, D>,
        told: Vec<Told>,
        label: String,
    ) {
        let identity = Caller::<D::Store>::identity(&label);
        let mut connection = world.observe().await;
        let read = Evidence::read::<D>(&mut connection, EFFECTS, &identity, told, label);
        let evidence = read.await;
        let violations = check(&evidence).into_iter();
        let violations = violations.map(|violation| (violation, format!("{evidence:?}")));
        self.violations.extend(violations);
    }
}

async fn every_blow_at_every_point<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let pool = world.database.connect(Wires::default()).await;
    let store = D::store(pool.clone(), Choices::default())
        .await
        .expect("migrates");
    let (harmed, trigger) = Harmed::new(store);
    let (harmed, clean) = (
        Caller::of(Engine::new(harmed)),
        Caller::of(world.instance().await.engine.clone()),
    );
    let mut report = Report::default();
    for kind in Kind::ALL {
        for point in Point::ALL {
            for blow in Blow::ALL {
                let label = format!("{kind:?}-{point:?}-{blow:?}");
                let mut told = Vec::new();
                if kind == Kind::Replay {
                    told.push(Told::Answer(clean.clone().call(kind, label.clone()).await));
                }
                trigger.set(point, blow);
                let first = tokio::spawn(harmed.clone().call(kind, label.clone())).await;
                report.faults += usize::from(trigger.has_struck());
                told.push(first.map_or(Told::Nothing, Told::Answer));
                let ask = async || clean.clone().call(Kind::Success, label.clone()).await;
                told.push(Told::Answer(persist(ask).await));
                let again = harmed.clone().call(Kind::Success, label.clone()).await;
                told.push(Told::Answer(again));
                report.look::<F, D>(world, told, label).await;
            }
        }
    }
    println!("{report}");
    assert!(report.violations.is_empty());
    // A replay has no settlement.
    assert_eq!(report.faults, 3 * 15 + 6);
    pool.close().await;
}
