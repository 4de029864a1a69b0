//! X22: a standby takes over.

use std::time::Duration;

use fastrand::Rng;
use idem_faults::{Crash, Kills, Pair, Replication, Report, alone, fail_over, until};
use idem_tests::{
    Actix, Answer, Axum, Framework, Postgres, RecordInCommit, Request, Served, Settings, World,
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

/// A primary loses its synchronous standby, crashes during a COMMIT, and comes back: its record is on one
/// node only. Plain sessions answer with it, and the answer is lost with the node. Confirmed sessions wait.
#[test]
fn x22_record_on_one_node_is_replayed_by_plain_sessions_and_not_by_confirmed_ones() {
    alone(async {
        let mut pair = Pair::start(Replication::Synchronous).await;
        let world = World::<Axum, Postgres>::on(<Postgres as Served>::on(&pair.url()).await).await;
        let mut settings = Settings::default();
        settings.wires.acquire_timeout = Duration::from_secs(2);
        let plain = world.instance_with(settings.clone()).await;
        settings.wires.opening = CONFIRMED;
        let confirmed = world.instance_with(settings).await;
        let request = plain.post("/hasty").key("k").effect("a");
        let elsewhere = request.clone().to(confirmed.address);

        pair.stop_standby();
        let pending = request.start();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
             AND backend_type = 'client backend'";
        until(&mut pair.primary().await, waiting, 1).await;
        // While COMMIT waits, nobody sees what it commits.
        elsewhere.send().await.assert_problem("in-flight");
        assert_eq!(world.effects("acme").await, 0);

        pair.crash(Crash::Killed);
        pair.restart();
        drop(pending.answer().await);
        assert!(persist(&request).await.is_replay());
        elsewhere.send().await.assert_problem("unavailable");

        pair.crash(Crash::Killed);
        pair.restart_standby();
        pair.promote().await;
        assert!(!persist(&elsewhere).await.is_replay());
        assert_eq!(world.control.entries(), 2);
        assert_eq!(world.effects("acme").await, 1);
        world.end(true).await;
    });
}
