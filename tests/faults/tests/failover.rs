//! X22: a standby takes over.

use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Crash, Kills, Pair, Replication, Report, alone, fail_over, until};
use idem_tests::{
    Actix, Answer, Axum, Framework, Pending, Postgres, RecordInCommit, Request, Served, Settings,
    World,
};
use tokio::time::sleep;

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

/// The first statements of a session that waits until the standby has all that is committed, as
/// docs/operating.md shows them.
const CONFIRMED: &str = "BEGIN; SET LOCAL synchronous_commit = on; \
     SELECT pg_logical_emit_message(true, 'idem', ''); COMMIT";

/// A primary that has lost its synchronous standby, has crashed during a COMMIT, and is back.
struct LeftAlone {
    pair: Pair,
    world: World<Axum, Postgres>,
    /// The request whose COMMIT had no answer, on each of two instances.
    requests: [Request; 2],
    pending: Pending,
}

impl LeftAlone {
    async fn with(opening: &'static str) -> Self {
        let mut pair = Pair::start(Replication::Synchronous).await;
        let world = World::<Axum, Postgres>::on(<Postgres as Served>::on(&pair.url()).await).await;
        let mut settings = Settings::default();
        settings.wires.acquire_timeout = Duration::from_secs(2);
        settings.wires.opening = opening;
        let one = world.instance_with(settings.clone()).await;
        let other = world.instance_with(settings).await;
        let request = one.post("/hasty").key("k").effect("a");
        let requests = [request.clone(), request.to(other.address)];
        pair.stop_standby();
        let pending = requests[0].start();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
             AND backend_type = 'client backend'";
        until(&mut pair.primary().await, waiting, 1).await;
        // While COMMIT waits, nobody sees what it commits.
        requests[1].send().await.assert_problem("in-flight");
        assert_eq!(world.effects("acme").await, 0);
        pair.crash(Crash::Killed);
        pair.restart();
        Self {
            pair,
            world,
            requests,
            pending,
        }
    }
}

/// Retries as a client does, until a request is answered with a success.
async fn persist(request: &Request) -> Answer {
    for _ in 0..200 {
        if let Some(answer) = request
            .attempt()
            .await
            .filter(|answer| answer.status == 201)
        {
            return answer;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("never answered");
}

/// What PostgreSQL promises no more, and docs/operating.md says: the record is on one node only, and
/// clients get it as their answer.
#[test]
fn x22_record_on_one_node_is_replayed_and_lost_with_the_node() {
    alone(async {
        let LeftAlone {
            mut pair,
            world,
            requests,
            pending,
        } = LeftAlone::with("").await;
        println!(
            "the request's own answer: {}",
            pending.answer().await.status
        );
        let answer = persist(&requests[1]).await;
        assert!(answer.is_replay());
        assert_eq!(world.control.entries(), 1);
        pair.crash(Crash::Killed);
        pair.restart_standby();
        pair.promote().await;
        let again = persist(&requests[1]).await;
        assert!(!again.is_replay());
        assert_eq!(world.control.entries(), 2);
        assert_eq!(world.effects("acme").await, 1);
        world.end(true).await;
    });
}

/// The remedy of docs/operating.md.
#[test]
fn x22_record_on_one_node_is_not_replayed_by_confirmed_sessions() {
    alone(async {
        let LeftAlone {
            mut pair,
            world,
            requests,
            pending,
        } = LeftAlone::with(CONFIRMED).await;
        pending.answer().await.assert_problem("outcome-unknown");
        for request in &requests {
            request.send().await.assert_problem("unavailable");
        }
        pair.restart_standby();
        let answer = persist(&requests[1]).await;
        assert!(answer.is_replay());
        pair.crash(Crash::Killed);
        pair.promote().await;
        let again = persist(&requests[0]).await;
        assert_eq!((again.is_replay(), again.body), (true, answer.body));
        assert_eq!(world.control.entries(), 1);
        world.end(true).await;
    });
}
