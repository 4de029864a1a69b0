//! Statements that end the transaction on SQLite alone.

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    on Sqlite:
    o14_insert_or_rollback_is_never_run_again,
];

async fn o14_insert_or_rollback_is_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    world.run("INSERT INTO names (name) VALUES ('taken')").await;
    let request = world.instance().await.post("/effects").effect("a");
    let ends = "INSERT OR ROLLBACK INTO names (name) VALUES ('taken')";
    for (number, status) in (1..).zip([201, 422, 500]) {
        // The second effect is written outside of any transaction.
        let scene = Scene::new([Act::Insert, Act::swallow(ends), Act::Insert]);
        world.control.play([scene.answer(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_problem("transaction-lost");
        first.assert_retryable(false);
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        assert_eq!(world.control.entries(), number);
        assert_eq!(
            world.effects("acme").await,
            i64::try_from(number).expect("small")
        );
    }
}
