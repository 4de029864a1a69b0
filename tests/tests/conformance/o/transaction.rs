//! Handlers whose transaction has sqlx's own type.

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    r3_transaction_handler_is_replayed,
    o3_transaction_handler_that_fails_is_undone,
    o12_transaction_handler_that_panics_is_retriable,
];

async fn r3_transaction_handler_is_replayed<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/transaction").key("k");
    let request = request.effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o3_transaction_handler_that_fails_is_undone<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/transaction").key("k");
    let request = request.effect("a");
    world
        .control
        .play([500, 422].map(|s| Scene::answering(Reply::new(s))));
    request.send().await.assert_executed(500);
    let first = request.send().await;
    first.assert_executed(422);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 0);
}

async fn o12_transaction_handler_that_panics_is_retriable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/transaction").key("k");
    let request = request.effect("a");
    world.control.play([Scene::new([Act::Insert, Act::Panic])]);
    request.send().await.assert_problem("handler-panicked");
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}
