//! Outcomes: commits that fail.

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    o8_deferred_constraint_that_fails_at_commit_is_retriable,
    o8_deferred_constraint_of_a_failed_attempt_does_not_matter,
    o8_commit_that_fails_runs_no_after_commit,
];

const ORPHAN: &str = "INSERT INTO children (name) VALUES ('orphan')";

async fn o8_deferred_constraint_that_fails_at_commit_is_retriable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let scene = Scene::new([Act::Insert, Act::run(ORPHAN)]);
    world.control.play([scene.clone(), scene.clone(), scene]);
    for _ in 0..2 {
        request.send().await.assert_problem("try-again");
        assert_eq!(world.effects("acme").await, 0);
        assert_eq!(world.records().await, 0);
    }
    world
        .run("INSERT INTO names (name) VALUES ('orphan')")
        .await;
    let retry = request.send().await;
    retry.assert_executed(201);
    request.send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o8_deferred_constraint_of_a_failed_attempt_does_not_matter<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let scene = Scene::new([Act::Insert, Act::run(ORPHAN)]).answer(Reply::new(422));
    world.control.play([scene]);
    let first = request.send().await;
    first.assert_executed(422);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 0);
}

async fn o8_commit_that_fails_runs_no_after_commit<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    world.control.play([
        Scene::new([Act::AfterCommit, Act::Insert, Act::run(ORPHAN)]),
        Scene::new([Act::AfterCommit]),
    ]);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.control.commits(), 0);
    request.send().await.assert_executed(201);
    world.control.committed(1).await;
    assert_eq!(world.control.commits(), 1);
}
