//! A wire to the server that is cut at COMMIT, or goes down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_core::Config;
use idem_tests::{
    Act, Cut, Framework, Instance, Reply, Scene, Served, Settings, Wire, Wires, World, conformance,
};

conformance![
    on [Postgres RecordInCommit Mysql]:
    o9_commit_that_did_not_arrive_is_resolved_in_the_request,
    o9_commit_is_unknown_while_the_database_is_away,
    o9_commit_that_did_not_arrive_is_unknown_while_the_database_is_away,
    o11_database_that_is_down_is_unavailable,
    o9_failure_is_answered_as_it_is_where_the_reply_to_its_commit_is_lost,
];

/// An instance whose connections go through a wire that can be cut.
pub(crate) async fn wired<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) -> (Wire, Arc<Instance<D>>) {
    wired_with(world, Config::new()).await
}

pub(crate) async fn wired_with<F: Framework<D>, D: Served>(
    world: &World<F, D>,
    config: Config,
) -> (Wire, Arc<Instance<D>>) {
    let wire = Wire::to(world.database.address()).await;
    let settings = Settings {
        wires: Wires {
            through: Some(wire.address),
            acquire_timeout: Duration::from_secs(1),
            ..Wires::default()
        },
        config,
        ..Settings::default()
    };
    let instance = world.instance_with(settings).await;
    (wire, instance)
}

async fn o9_commit_that_did_not_arrive_is_resolved_in_the_request<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").key("k").effect("a");
    world
        .control
        .play([Scene::new([Act::Insert, Act::AfterCommit])]);
    wire.cut(Cut::Before);
    request.send().await.assert_problem("try-again");
    assert_eq!(wire.cuts(), 1);
    assert_eq!(world.effects("acme").await, 0);
    assert_eq!(world.control.commits(), 0);
    let retry = request.send().await;
    retry.assert_executed(201);
    let why = "the failure is recorded while the key is held";
    assert_eq!(retry.json()["attempt"], 2, "{why}");
    request.send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o9_commit_is_unknown_while_the_database_is_away<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").key("k").effect("a");
    wire.cut_and_go_down(Cut::After);
    request.send().await.assert_problem("outcome-unknown");
    assert_eq!(wire.cuts(), 1);
    wire.up();
    let retry = request.send().await;
    assert!(retry.is_replay(), "{}", retry.text());
    assert_eq!(retry.status, 201);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.entries(), 1);
}

async fn o9_commit_that_did_not_arrive_is_unknown_while_the_database_is_away<
    F: Framework<D>,
    D: Served,
>(
    world: &World<F, D>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").key("k").effect("a");
    wire.cut_and_go_down(Cut::Before);
    request.send().await.assert_problem("outcome-unknown");
    wire.up();
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.entries(), 2);
}

async fn o11_database_that_is_down_is_unavailable<F: Framework<D>, D: Served>(world: &World<F, D>) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").key("k").effect("a");
    wire.down();
    let start = Instant::now();
    request.send().await.assert_problem("unavailable");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(world.control.entries(), 0);
    wire.up();
    request.send().await.assert_executed(201);
}

async fn o9_failure_is_answered_as_it_is_where_the_reply_to_its_commit_is_lost<
    F: Framework<D>,
    D: Served,
>(
    world: &World<F, D>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").effect("a");
    for status in [422, 500] {
        world
            .control
            .play([Scene::effect().answer(Reply::new(status))]);
        wire.cut(Cut::After);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        assert_eq!(first.status, status, "{}", first.text());
        if status == 422 {
            request.send().await.assert_replays(&first);
        } else {
            let retry = request.send().await;
            retry.assert_executed(201);
            assert_eq!(retry.json()["attempt"], 2);
        }
    }
    assert_eq!(wire.cuts(), 2);
    assert_eq!(world.effects("acme").await, 1);
}

/// Databases where the times of the record are known before its commit.
mod own_record {
    use super::*;

    conformance![
        on [Postgres Mysql]:
        o9_commit_whose_answer_is_lost_is_resolved_in_the_request,
    ];

    async fn o9_commit_whose_answer_is_lost_is_resolved_in_the_request<
        F: Framework<D>,
        D: Served,
    >(
        world: &World<F, D>,
    ) {
        let (wire, instance) = wired(world).await;
        let request = instance.post("/effects").key("k").effect("a");
        world
            .control
            .play([Scene::new([Act::Insert, Act::AfterCommit])]);
        wire.cut(Cut::After);
        let first = request.send().await;
        assert_eq!(wire.cuts(), 1);
        first.assert_executed(201);
        assert!(first.expires().is_some());
        request.send().await.assert_replays(&first);
        assert_eq!(world.effects("acme").await, 1);
        world.control.committed(1).await;
    }
}
