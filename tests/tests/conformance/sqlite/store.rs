//! The SQLite store: a database that is full, and rows that can't be read.

use idem_tests::{Act, Database as _, Framework, Reply, Scene, Sqlite, World, conformance};

conformance![
    on Sqlite:
    o11_database_that_is_full_leaves_a_failure_that_is_retriable,
    o14_database_that_is_full_and_swallowed_is_retriable,
    o14_own_commit_before_the_database_is_full_is_final,
    o14_statement_after_the_database_was_full_is_final,
    o14_own_rollback_is_final,
    p1_row_with_a_value_that_does_not_fit_is_unreadable,
];

/// SQLite undoes the whole transaction when this statement fails.
fn fills() -> [Act; 2] {
    let most = Act::run("PRAGMA max_page_count = 1");
    [most, Act::swallow(insert_that_does_not_fit())]
}

fn insert_that_does_not_fit() -> &'static str {
    "INSERT INTO effects (tenant, label) VALUES ('acme', hex(zeroblob(1000000)))"
}

/// The setting of the handler's connection is not left behind.
async fn make_room<F: Framework<Sqlite>>(
    instance: &idem_tests::Instance<Sqlite>,
    _: &World<F, Sqlite>,
) {
    for mut connection in instance.whole_pool().await {
        let room = idem_tests::Domain::run(&mut *connection, "PRAGMA max_page_count = 1000000");
        room.await.expect("a setting");
    }
}

async fn o11_database_that_is_full_leaves_a_failure_that_is_retriable<F: Framework<Sqlite>>(
    world: &World<F, Sqlite>,
) {
    let instance = world.instance().await;
    let request = instance.post("/effects").key("k").effect("a");
    let [most, _] = fills();
    let fails = Act::run(insert_that_does_not_fit());
    world.control.play([Scene::new([Act::Insert, most, fails])]);
    let first = request.send().await;
    first.assert_executed(500);
    assert!(first.text().contains("full"), "{}", first.text());
    assert_eq!(world.effects("acme").await, 0);
    make_room(&instance, world).await;
    let retry = request.send().await;
    retry.assert_executed(201);
    request.send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o14_database_that_is_full_and_swallowed_is_retriable<F: Framework<Sqlite>>(
    world: &World<F, Sqlite>,
) {
    let instance = world.instance().await;
    let request = instance.post("/effects").key("k").effect("a");
    let [most, fails] = fills();
    world.control.play([Scene::new([Act::Insert, most, fails])]);
    let first = request.send().await;
    first.assert_problem("transaction-lost");
    first.assert_retryable(true);
    assert_eq!(world.effects("acme").await, 0);
    make_room(&instance, world).await;
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}

async fn is_final<F: Framework<Sqlite>>(world: &World<F, Sqlite>, acts: Vec<Act>, effects: i64) {
    let instance = world.instance().await;
    for (number, status) in (1..).zip([201, 422, 500]) {
        world
            .control
            .play([Scene::new(acts.clone()).answer(Reply::new(status))]);
        let request = instance.post("/effects").effect("a");
        let request = request.key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_problem("transaction-lost");
        first.assert_retryable(false);
        make_room(&instance, world).await;
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        assert_eq!(
            world.control.entries(),
            usize::try_from(number).expect("small")
        );
        assert_eq!(world.effects("acme").await, number * effects);
    }
}

/// The last error is the same as in a transaction that SQLite has undone, but the effect stands.
async fn o14_own_commit_before_the_database_is_full_is_final<F: Framework<Sqlite>>(
    world: &World<F, Sqlite>,
) {
    let [most, fails] = fills();
    let acts = vec![Act::Insert, Act::run("COMMIT"), most, fails];
    is_final(world, acts, 1).await;
}

/// The statement after the one that failed stands by itself, also if another one fails after it.
async fn o14_statement_after_the_database_was_full_is_final<F: Framework<Sqlite>>(
    world: &World<F, Sqlite>,
) {
    let [most, fails] = fills();
    let room = Act::run("PRAGMA max_page_count = 1000000");
    let acts = vec![most.clone(), fails.clone(), room, Act::Insert, most, fails];
    is_final(world, acts, 1).await;
}

async fn o14_own_rollback_is_final<F: Framework<Sqlite>>(world: &World<F, Sqlite>) {
    is_final(world, vec![Act::Insert, Act::run("ROLLBACK")], 0).await;
}

/// The table is STRICT; one that an operator has made anew may not be.
async fn p1_row_with_a_value_that_does_not_fit_is_unreadable<F: Framework<Sqlite>>(
    world: &World<F, Sqlite>,
) {
    let instance = world.instance().await;
    world
        .run(
            "DROP TABLE idem_records; CREATE TABLE idem_records (identity BLOB PRIMARY KEY, operation, \
             state, attempts, status, fingerprint, response, settled_at, expires_at)",
        )
        .await;
    let changes = [
        "status = 70000",
        "status = 65737",
        "status = NULL",
        "state = 'one'",
        "fingerprint = 'text'",
        "fingerprint = NULL",
        "response = 7",
        "settled_at = 1.5",
        "expires_at = 'never'",
        "attempts = 3000000000",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let request = instance.post("/hasty").effect("a");
        let request = request.key(format!("key-{number}"));
        request.send().await.assert_executed(201);
        let records = Sqlite::RECORDS;
        world.run(format!("UPDATE {records} SET {change}")).await;
        for _ in 0..2 {
            let retry = request.send().await;
            retry.assert_problem("record-unreadable");
            retry.assert_retryable(false);
        }
        assert_eq!(world.control.entries(), number + 1);
        assert_eq!(instance.engine.purge_expired().await.expect("purges"), 0);
        let erased = instance.engine.erase(Some("acme")).await;
        assert_eq!(erased.expect("erases"), 1, "{change}");
    }
}
