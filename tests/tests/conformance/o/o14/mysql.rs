//! Statements that commit by themselves on MariaDB and MySQL.

use idem_tests::{Act, Framework, Mysql, Reply, Scene, World, conformance};

use super::endings::is_final_at_every_end;

conformance![
    on Mysql:
    o14_statement_that_commits_by_itself_is_found_out_at_every_end,
    o14_statement_that_commits_and_fails_is_found_out_at_every_end,
    o14_autocommit_that_is_turned_on_is_found_out_at_every_end,
    o14_write_after_autocommit_is_turned_on_is_found_out_at_every_end,
    o14_locked_tables_are_found_out_at_every_end,
    o14_read_only_transaction_after_the_own_commit_is_found_out_at_every_end,
    o14_temporary_table_is_the_handlers_own,
    o14_handler_may_use_another_database,
];

async fn o14_statement_that_commits_by_itself_is_found_out_at_every_end<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    for statement in [
        "CREATE TABLE IF NOT EXISTS made (number INT)",
        "ALTER TABLE names COMMENT 'altered'",
        "TRUNCATE TABLE names",
        "ANALYZE TABLE names",
        "START TRANSACTION",
    ] {
        println!("{statement}");
        is_final_at_every_end(world, &[Act::Insert, Act::run(statement), Act::Insert], 1).await;
        world.run("DELETE FROM effects").await;
        world.run("DELETE FROM idem_records").await;
    }
}

async fn o14_statement_that_commits_and_fails_is_found_out_at_every_end<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let fails = Act::swallow("CREATE TABLE effects (number INT)");
    is_final_at_every_end(world, &[Act::Insert, fails], 1).await;
}

async fn o14_autocommit_that_is_turned_on_is_found_out_at_every_end<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    is_final_at_every_end(world, &[Act::Insert, Act::run("SET autocommit = 1")], 1).await;
}

async fn o14_write_after_autocommit_is_turned_on_is_found_out_at_every_end<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let acts = [Act::Insert, Act::run("SET autocommit = 1"), Act::Insert];
    is_final_at_every_end(world, &acts, 2).await;
}

async fn o14_locked_tables_are_found_out_at_every_end<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    is_final_at_every_end(
        world,
        &[Act::Insert, Act::run("LOCK TABLES effects WRITE")],
        1,
    )
    .await;
}

/// Not even the record can be written then.
async fn o14_read_only_transaction_after_the_own_commit_is_found_out_at_every_end<
    F: Framework<Mysql>,
>(
    world: &World<F, Mysql>,
) {
    let acts = [
        Act::Insert,
        Act::run("COMMIT"),
        Act::run("START TRANSACTION READ ONLY"),
    ];
    is_final_at_every_end(world, &acts, 1).await;
}

async fn o14_temporary_table_is_the_handlers_own<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let request = world.instance().await.post("/effects").effect("a");
    let made = Act::run("CREATE TEMPORARY TABLE made (number INT) ENGINE = InnoDB");
    let filled = Act::run("INSERT INTO made VALUES (1)");
    let dropped = Act::run("DROP TEMPORARY TABLE made");
    for status in [201, 422, 500] {
        let scene = Scene::new([Act::Insert, made.clone(), filled.clone(), dropped.clone()]);
        world.control.play([scene.answer(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        if status < 500 {
            request.send().await.assert_replays(&first);
        }
    }
    assert_eq!(world.effects("acme").await, 1);
}

/// The session stays in the other database, as it does without idem.
async fn o14_handler_may_use_another_database<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let instance = world.instance_of(1).await;
    let request = instance.post("/effects").effect("a");
    let leaves = Act::run("USE information_schema");
    for status in [201, 422, 500] {
        let scene = Scene::new([Act::Insert, leaves.clone()]);
        let returns = Act::run(format!("USE {}", world.database.name()));
        let after = Scene::new([returns, Act::Insert]);
        world
            .control
            .play([scene.answer(Reply::new(status)), after]);
        let left = request.clone().key(format!("left-{status}"));
        let first = left.send().await;
        first.assert_executed(status);
        if status < 500 {
            left.send().await.assert_replays(&first);
        }
        let next = request.clone().key(format!("next-{status}"));
        next.send().await.assert_executed(201);
    }
    assert_eq!(world.effects("acme").await, 4);
    assert_eq!(
        instance.engine.erase(Some("acme")).await.expect("erases"),
        6
    );
}
