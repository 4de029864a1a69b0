//! Commits that fail because of a deferred constraint, on databases that have them.

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![on [Sqlite Postgres RecordInCommit]:
    o8_deferred_constraint_that_fails_at_commit_is_retriable,
    o8_deferred_constraint_of_a_failed_attempt_does_not_matter,
    o8_transaction_handler_whose_commit_fails_is_retriable,
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

async fn o8_transaction_handler_whose_commit_fails_is_retriable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/transaction").key("k");
    let request = request.effect("a");
    let orphan = Act::run(ORPHAN);
    world.control.play([Scene::new([Act::Insert, orphan])]);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.effects("acme").await, 0);
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}
