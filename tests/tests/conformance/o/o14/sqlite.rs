//! What only SQLite can do wrong.

use idem_core::{SqliteStore, StoreError};
use idem_tests::{
    Act, Database, Domain as _, Framework, Reply, Scene, Sqlite, Wires, World, conformance,
};

conformance![
    on Sqlite:
    o14_insert_or_rollback_is_never_run_again,
    migration_beside_a_writer_that_stays_is_unavailable,
];

async fn migration_beside_a_writer_that_stays_is_unavailable<F: Framework<Sqlite>>(
    world: &World<F, Sqlite>,
) {
    let pool = world
        .database
        .connect(Wires {
            connections: 1,
            ..Wires::default()
        })
        .await;
    let mut session = pool.acquire().await.expect("a connection");
    let hasty = session.run("PRAGMA busy_timeout = 0").await;
    hasty.expect("a setting");
    drop(session);
    let mut writer = world.observe().await;
    writer.run("BEGIN IMMEDIATE").await.expect("it is free");
    let store = SqliteStore::new(pool.clone());
    let error = store.migrate().await.expect_err("it can't write");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    writer.run("ROLLBACK").await.expect("it is let go");
    store.migrate().await.expect("it can write");
    pool.close().await;
}

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
