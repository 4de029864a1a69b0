//! Handlers that break a transaction of sqlx's own type.

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    o14_transaction_handler_that_swallows_an_sql_error,
    o14_transaction_handler_that_commits_is_never_run_again,
    o14_transaction_handler_may_nest,
];

async fn o14_transaction_handler_that_swallows_an_sql_error<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/transaction").key("k");
    let request = request.effect("a");
    let wrong = Act::swallow("INSERT INTO no_such_table VALUES (1)");
    world.control.play([Scene::new([Act::Insert, wrong])]);
    let first = request.send().await;
    if D::ERRORS_ABORT {
        first.assert_problem("transaction-lost");
        first.assert_retryable(true);
        assert_eq!(world.effects("acme").await, 0);
        request.send().await.assert_executed(201);
    } else {
        first.assert_executed(201);
    }
    assert_eq!(world.effects("acme").await, 1);
}

async fn o14_transaction_handler_that_commits_is_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/transaction").effect("a");
    for (number, status) in (1..).zip([201, 422, 500]) {
        let scene = Scene::new([Act::Insert, Act::run("COMMIT")]);
        world.control.play([scene.answer(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_problem("transaction-lost");
        first.assert_retryable(false);
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        assert_eq!(world.control.entries(), number);
    }
    assert_eq!(world.effects("acme").await, 3);
}

async fn o14_transaction_handler_may_nest<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/transaction").key("k");
    let request = request.effect("a");
    let scene = Scene::new([Act::Nested(true), Act::Nested(false), Act::Begin]);
    world.control.play([scene]);
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}
