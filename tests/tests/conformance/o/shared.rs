//! Handlers with a handle of their connection.

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    o18_handle_writes_in_the_transaction_of_the_attempt,
    o18_clone_is_useless_after_the_handler,
    o18_clone_in_use_at_the_end_undoes_the_attempt,
];

async fn o18_handle_writes_in_the_transaction_of_the_attempt<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/shared").effect("a");
    let (panics, fails) = (Act::Panic, Reply::new(500));
    let undone = [
        Scene::effect().then(panics),
        Scene::answering(fails),
        Scene::new([Act::Insert, Act::Nested(false), Act::Begin]),
    ];
    world.control.play(undone);
    let request = request.key("k");
    request.send().await.assert_problem("handler-panicked");
    request.send().await.assert_executed(500);
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o18_clone_is_useless_after_the_handler<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/shared").key("k");
    let request = request.effect("a");
    world.control.play([Scene::answering(Reply::new(202))]);
    let first = request.send().await;
    first.assert_executed(202);
    world.control.open(1);
    world.control.committed(1).await;
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o18_clone_in_use_at_the_end_undoes_the_attempt<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/shared").key("k");
    let request = request.effect("a");
    world.control.play([Scene::answering(Reply::new(203))]);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.effects("acme").await, 0);
    world.control.open(1);
    world.control.committed(1).await;
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}
