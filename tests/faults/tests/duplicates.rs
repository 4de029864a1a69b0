//! X15, X19 and X20: duplicates of an attempt that succeeds or fails in any way, at every isolation
//! level, and at the time at which a record expires.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use idem_faults::{Answered, Report, retried};
use idem_tests::{
    Act, Database, Framework, Instance, Reply, Scene, Served, World, answers, conformance,
};
use tokio::time::sleep;

conformance![
    x15_duplicates_have_one_effect_however_the_first_ends,
    x20_retries_at_the_instant_of_the_expiry,
];

mod served {
    use super::x19_duplicates_have_one_effect_at_every_isolation;

    idem_tests::conformance![
        on [Postgres RecordInCommit Mysql]:
        x19_duplicates_have_one_effect_at_every_isolation,
    ];
}

/// The end of the first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Succeeds,
    FailsForGood,
    FailsForNow,
    Panics,
    IsRefusedAtCommit,
}

impl First {
    const ALL: [Self; 5] = [
        Self::Succeeds,
        Self::FailsForGood,
        Self::FailsForNow,
        Self::Panics,
        Self::IsRefusedAtCommit,
    ];

    fn scene<D: Database>(self) -> Scene {
        match self {
            Self::Succeeds => Scene::gated(),
            Self::FailsForGood => Scene::gated().answer(Reply::new(422)),
            Self::FailsForNow => Scene::gated().answer(Reply::new(500)),
            Self::Panics => Scene::gated().then(Act::Panic),
            Self::IsRefusedAtCommit => Scene::gated().then(D::doom()),
        }
    }

    /// Whether it leaves a record, which binds the key to its request (M4).
    fn binds(self) -> bool {
        self != Self::IsRefusedAtCommit
    }

    /// The number of handlers that are entered before the answer is a lasting one.
    fn entries(self) -> usize {
        match self {
            Self::Succeeds | Self::FailsForGood => 1,
            _ => 2,
        }
    }
}

/// Sends this many requests with one key; every third may have another body. Then sends one retry.
async fn duplicates<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    instances: &[Arc<Instance<D>>],
    path: &str,
    (first, count, others): (First, usize, bool),
) -> Report {
    let control = &world.control;
    let label = format!("{first:?}-{count}-{others}-{}{path}", instances.len()).replace('/', "-");
    let request = instances[0].post(path).key(&label).effect(&label);
    let (gated, extracted) = (control.gated(), control.extractions());
    let entries = control.entries();
    control.play([first.scene::<D>()]);
    let mut pending = vec![request.start()];
    control.at_gate(gated + 1).await;
    for number in 1..count {
        let duplicate = request
            .clone()
            .to(instances[number % instances.len()].address);
        let asks_for_other = others && number % 3 == 2;
        pending.push(if asks_for_other {
            duplicate.effect("something else").start()
        } else {
            duplicate.start()
        });
    }
    control.extracted(extracted + count).await;
    control.open(1);
    let mut answered = Vec::new();
    for (number, answer) in answers(pending).await.into_iter().enumerate() {
        if others && number % 3 == 2 {
            assert!(
                matches!(answer.status, 409 | 422 | 503),
                "I7: {}",
                answer.text()
            );
            assert!(!answer.text().contains(&label), "I7: {}", answer.text());
        } else {
            answered.push(Answered::Answer(answer));
        }
    }
    let last = instances.last().expect("an instance");
    let elsewhere = request.clone().to(last.address);
    let report = retried(world, [&request, &elsewhere], answered, &label).await;
    // At the stricter isolation levels, the claim of another request can make a commit fail (O8).
    if path == "/patient" {
        assert_eq!(control.entries(), entries + first.entries(), "{label}");
    }
    Report {
        faults: count - 1,
        ..report
    }
}

async fn x15_duplicates_have_one_effect_however_the_first_ends<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instances = [world.instance_of(2).await, world.instance_of(2).await];
    let mut report = Report::default();
    for first in First::ALL {
        for instances in [&instances[..1], &instances[..]] {
            for others in [false, true]
                .into_iter()
                .take(1 + usize::from(first.binds()))
            {
                for count in [2, 8, 64] {
                    let case = (first, count, others);
                    report = report.and(duplicates(world, instances, "/patient", case).await);
                }
            }
        }
    }
    for first in [First::Succeeds, First::FailsForNow] {
        let case = (first, 512, true);
        report = report.and(duplicates(world, &instances, "/patient", case).await);
    }
    report.holds();
    report.is_soon_over();
    assert!(report.faults > 2000);
}

async fn x19_duplicates_have_one_effect_at_every_isolation<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let instances = [world.instance_of(2).await, world.instance_of(2).await];
    let mut report = Report::default();
    for path in ["/read-committed", "/repeatable-read", "/serializable"] {
        for first in First::ALL {
            for count in [2, 16] {
                let case = (first, count, false);
                report = report.and(duplicates(world, &instances, path, case).await);
            }
        }
    }
    report.holds();
    report.is_soon_over();
    assert!(report.faults >= 200);
}

/// The time to live of an endpoint's records, and the number of lives for which clients retry.
const LIFE: Duration = Duration::from_secs(1);
const LIVES: u32 = 2;

/// Clients that retry without a pause. From the first expiry on, purges delete expired records at
/// the same time.
async fn x20_retries_at_the_instant_of_the_expiry<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instances = [world.instance().await, world.instance().await];
    let start = Instant::now();
    let clients = (0..4).map(async |client: usize| {
        let instance = &instances[client % 2];
        let request = instance.post("/brief").key("k").effect("k");
        let mut answered = Vec::new();
        while start.elapsed() < LIFE * LIVES + LIFE / 4 {
            answered.push(request.send().await);
        }
        answered
    });
    let purges = async {
        sleep(LIFE * 3 / 2).await;
        assert!(
            world.control.entries() > 1,
            "E1: a record that is left has expired"
        );
        let instances = instances.each_ref();
        instances.map(|instance| instance.engine.spawn_purge(Duration::from_millis(1)))
    };
    let (answered, purges) = join(join_all(clients), purges).await;
    let answered: Vec<_> = answered.into_iter().flatten().collect();
    let elapsed = start.elapsed();
    drop(purges);
    let succeeded: Vec<_> = answered
        .iter()
        .filter(|answer| answer.status == 201)
        .collect();
    let bodies: BTreeSet<_> = succeeded.iter().map(|answer| &answer.body).collect();
    let executed = succeeded.iter().filter(|answer| !answer.is_replay());
    println!("{} answers, {} executions", answered.len(), bodies.len());
    assert_eq!(
        executed.count(),
        bodies.len(),
        "one execution for each life"
    );
    assert_eq!(world.control.entries(), bodies.len());
    let effects = usize::try_from(world.effects("acme").await).expect("not negative");
    assert_eq!(effects, bodies.len());
    let most = 1 + elapsed.as_secs() / LIFE.as_secs();
    assert!(
        (2..=most).contains(&(effects as u64)),
        "{effects} in {elapsed:?}"
    );
}
