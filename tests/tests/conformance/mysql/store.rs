//! The MariaDB and MySQL store: records that are locked, rows that can't be read, and tries of a claim.

use std::time::Duration;

use idem_tests::{Domain as _, Framework, Mysql, Reply, Scene, World, conformance};
use tokio::time::timeout;

conformance![
    on Mysql:
    r2_record_that_is_locked_is_replayed_at_once,
    c2_retriable_record_that_is_replaced_is_in_flight,
    c2_claim_that_never_succeeds_is_tried_ten_times,
    p1_row_with_a_value_that_does_not_fit_is_unreadable,
];

/// As an erasure or an operator does.
async fn r2_record_that_is_locked_is_replayed_at_once<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/hasty").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let mut holder = world.observe().await;
    holder.run("BEGIN").await.expect("begins");
    let locks = holder.run("SELECT * FROM idem_records FOR UPDATE").await;
    locks.expect("locks");
    let elsewhere = request.to(other.address);
    // The first claims without a read, the second reads first.
    for _ in 0..2 {
        elsewhere.send().await.assert_replays(&first);
    }
    holder.run("ROLLBACK").await.expect("ends");
}

async fn c2_retriable_record_that_is_replaced_is_in_flight<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let fails = Scene::effect().answer(Reply::new(500));
    world.control.play([fails, Scene::gated()]);
    let request = one.post("/hasty").key("k").effect("a");
    request.send().await.assert_executed(500);
    let retry = request.start();
    world.control.at_gate(1).await;
    let elsewhere = request.to(other.address);
    for _ in 0..2 {
        let answer = timeout(Duration::from_secs(5), elsewhere.send()).await;
        let answer = answer.expect("a request that must not wait does not wait");
        answer.assert_problem("in-flight");
    }
    world.control.open(1);
    let retry = retry.answer().await;
    retry.assert_executed(201);
    elsewhere.send().await.assert_replays(&retry);
}

/// The identity is free, but each INSERT fails as next to another transaction's lock. What the trigger writes
/// stays, as its table has no transactions.
async fn c2_claim_that_never_succeeds_is_tried_ten_times<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let instance = world.instance().await;
    world
        .run("CREATE TABLE tries (number INT) ENGINE = MyISAM")
        .await;
    world
        .run(
            "CREATE TRIGGER fails BEFORE INSERT ON idem_records FOR EACH ROW BEGIN \
             INSERT INTO tries VALUES (1); \
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205, MESSAGE_TEXT = 'a lock'; END",
        )
        .await;
    let request = instance.post("/hasty").key("k").effect("a");
    request.send().await.assert_problem("try-again");
    assert_eq!(world.number("SELECT COUNT(*) FROM tries").await, 10);
    world.run("DROP TRIGGER fails").await;
    request.send().await.assert_executed(201);
}

async fn p1_row_with_a_value_that_does_not_fit_is_unreadable<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let instance = world.instance().await;
    let changes = [
        "MODIFY status INT NOT NULL; UPDATE idem_records SET status = 70000",
        "MODIFY fingerprint VARBINARY(255) NULL; UPDATE idem_records SET fingerprint = NULL",
        "MODIFY expires_at BIGINT NULL; UPDATE idem_records SET expires_at = NULL",
        "MODIFY state VARCHAR(9) NOT NULL; UPDATE idem_records SET state = 'one'",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let other = world.instance().await;
        let request = instance.post("/hasty").effect("a");
        let request = request.key(format!("key-{number}"));
        request.send().await.assert_executed(201);
        world
            .run(format!("ALTER TABLE idem_records {change}"))
            .await;
        // The first process reads before it claims, the second claims at once.
        for address in [instance.address, other.address] {
            let retry = request.clone().to(address).send().await;
            retry.assert_problem("record-unreadable");
            retry.assert_retryable(false);
        }
        assert_eq!(world.control.entries(), number + 1);
        assert_eq!(instance.engine.purge_expired().await.expect("purges"), 0);
        let erased = instance.engine.erase(Some("acme")).await;
        assert_eq!(erased.expect("erases"), 1, "{change}");
        let undo = "MODIFY status SMALLINT NOT NULL, MODIFY fingerprint VARBINARY(255) NOT NULL, \
             MODIFY expires_at BIGINT NOT NULL, MODIFY state SMALLINT NOT NULL";
        world.run(format!("ALTER TABLE idem_records {undo}")).await;
    }
}
