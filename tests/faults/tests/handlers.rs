//! X2 and X16: handlers that panic or pass their deadline at any point, and handlers that need a
//! second connection from an exhausted pool.

use std::time::Duration;

use idem_faults::{Answered, Report, retried};
use idem_tests::{
    Act, Body, Database, Framework, Mysql, Postgres, Reply, Scene, Settings, Sqlite, World,
    answers, conformance,
};

conformance![x2_handler_broken_anywhere,];

mod served {
    use super::x16_pool_exhausted_by_handlers_that_want_more;

    // SQLite runs one handler at a time.
    idem_tests::conformance![
        on [Postgres RecordInCommit Mysql]:
        x16_pool_exhausted_by_handlers_that_want_more,
    ];
}

/// A database with a statement that takes a little longer than a second.
trait Slow: Database {
    const SLOW: &'static str;
}

impl Slow for Sqlite {
    const SLOW: &'static str = "WITH RECURSIVE numbers (number) AS \
         (SELECT 1 UNION ALL SELECT number + 1 FROM numbers) SELECT max(number) FROM numbers";
}

impl<const RECORD_IN_COMMIT: bool> Slow for Postgres<RECORD_IN_COMMIT> {
    const SLOW: &'static str = "SELECT pg_sleep(1.5)";
}

impl<const CLUSTER: bool> Slow for Mysql<CLUSTER> {
    const SLOW: &'static str = "DO SLEEP(1.5)";
}

/// Handlers that end at each point.
fn ends<F: Framework<D>, D: Slow>(world: &World<F, D>) -> [(&'static str, Scene); 8] {
    let body = |body| Scene::answering(Reply::new(201).body(body));
    let endless = Body::Endless(world.control.clone());
    [
        ("P3-panic", Scene::new([Act::Panic])),
        ("P5-panic", Scene::new([Act::Insert, Act::Panic])),
        ("P7-panic", body(Body::Panics)),
        ("P7-error", body(Body::Broken)),
        ("P3-deadline", Scene::new([Act::Hang])),
        ("P4-deadline", Scene::new([Act::Insert, Act::run(D::SLOW)])),
        ("P6-deadline", Scene::new([Act::Insert, Act::Hang])),
        ("P7-deadline", body(endless)),
    ]
}

async fn x2_handler_broken_anywhere<F: Framework<D>, D: Slow>(world: &World<F, D>) {
    let (instance, clean) = (world.instance_of(8).await, world.instance().await);
    let mut requests = Vec::new();
    for (label, scene) in ends(world) {
        let request = instance.post("/bounded").key(label).effect(label);
        let entries = world.control.entries();
        world.control.play([scene]);
        let mut pending = request.start();
        world.control.entered(entries + 1).await;
        if D::ONE_WRITER {
            pending.answered().await;
        }
        requests.push((label, request, pending));
    }
    let mut report = Report::default();
    for (label, request, pending) in requests {
        let answered = pending.answer().await;
        let panicked = label.ends_with("panic");
        answered.assert_problem(if panicked {
            "handler-panicked"
        } else {
            "try-again"
        });
        let elsewhere = request.clone().to(clean.address);
        let answered = vec![Answered::Answer(answered)];
        report = report.and(retried(world, [&request, &elsewhere], answered, label).await);
    }
    report.holds();
    report.is_soon_over();
    assert_eq!(report.faults, 8);
}

/// Every handler has one of two connections and waits in vain for another. Other requests wait for
/// a connection, and duplicates wait for the handlers.
async fn x16_pool_exhausted_by_handlers_that_want_more<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let mut settings = Settings::default();
    settings.wires.connections = 2;
    settings.wires.acquire_timeout = Duration::from_millis(500);
    let (instance, clean) = (world.instance_with(settings).await, world.instance().await);
    let owners = 2;
    let request = |label: &str| instance.post("/patient").key(label).effect(label);
    let wants = Act::Elsewhere("SELECT count(*) FROM effects".to_owned());
    let scene = Scene::gated().then(wants);
    world.control.play(vec![scene; owners]);
    let labels: Vec<_> = (0..owners + 4)
        .map(|number| format!("key-{number}"))
        .collect();
    let mut answered: Vec<_> = labels
        .iter()
        .map(|label| vec![request(label).start()])
        .collect();
    world.control.at_gate(owners).await;
    for (label, answered) in labels.iter().zip(&mut answered) {
        answered.extend((0..4).map(|_| request(label).start()));
    }
    world.control.extracted(5 * labels.len()).await;
    world.control.open(owners);
    let (mut report, mut exhausted) = (Report::default(), 0);
    for (label, answered) in labels.iter().zip(answered) {
        let answered = answers(answered).await;
        exhausted += answered
            .iter()
            .filter(|answer| answer.status >= 500)
            .count();
        let answered = answered.into_iter().map(Answered::Answer).collect();
        let request = request(label);
        let elsewhere = request.clone().to(clean.address);
        report = report.and(retried(world, [&request, &elsewhere], answered, label).await);
    }
    report.faults = exhausted;
    report.holds();
    report.is_soon_over();
    assert!(exhausted >= owners, "every request got a connection");
}
