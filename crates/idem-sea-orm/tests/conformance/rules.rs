//! The rules, on each database.

use std::sync::Arc;

use idem_tests::{
    Database, Framework, Instance, Request, Threads, World, answers, assert_one_executed, run,
};

use crate::scene::{Act, PAUSE};
use crate::service::{Actix, Axum};

/// Instantiates tests on a framework, for each database.
macro_rules! on {
    ($framework:ident: $($test:ident,)*) => {
        on!($framework Sqlite sqlite: $($test,)*);
        on!($framework Postgres postgres: $($test,)*);
        on!($framework Mysql mysql: $($test,)*);
    };
    ($framework:ident $database:ident $name:ident: $($test:ident,)*) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    type World = idem_tests::World<super::$framework, idem_tests::$database>;
                    let test = async |world: &World| super::$test(world).await;
                    idem_tests::run(idem_tests::Threads::Many, test);
                }
            )*
        }
    };
}

on![Axum:
    r3_replay_of_an_entity_is_byte_identical,
    c1_concurrent_duplicates_insert_one_entity,
    o3_constraint_that_the_handler_answers_is_final,
    o10_client_that_leaves_gets_the_answer_later,
    o12_panic_undoes_entities,
    o13_deadline_undoes_entities,
    o14_swallowed_constraint_is_found_out,
    o14_own_commit_is_found_out,
    o15_err_undoes_entities,
    o18_clones_write_in_the_same_transaction,
    o18_clone_in_use_after_the_handler_undoes,
    o18_nested_transactions_are_savepoints,
    o18_error_in_a_nested_transaction_leaves_the_outer_one,
];

#[test]
fn r3_replay_on_actix_is_byte_identical() {
    run(
        Threads::Many,
        async |world: &World<Actix, idem_tests::Sqlite>| {
            r3_replay_of_an_entity_is_byte_identical(world).await;
        },
    );
}

fn request<D: Database>(instance: &Arc<Instance<D>>, acts: &[Act]) -> Request {
    asking(instance, "/acme/effects", acts)
}

fn asking<D: Database>(instance: &Arc<Instance<D>>, path: &str, acts: &[Act]) -> Request {
    let acts: Vec<_> = acts.iter().map(|act| format!("\"{act:?}\"")).collect();
    let body = format!("[{}]", acts.join(","));
    instance.post(path).key("k").json(&body)
}

async fn take_name<F: Framework<D>, D: Database>(world: &World<F, D>) {
    world.run("INSERT INTO names (name) VALUES ('taken')").await;
}

async fn r3_replay_of_an_entity_is_byte_identical<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = request(
        &world.instance().await,
        &[Act::Insert, Act::Commit, Act::RollBack],
    );
    let first = request.send().await;
    first.assert_executed(201);
    assert_eq!(first.text(), "2");
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 2);
}

async fn c1_concurrent_duplicates_insert_one_entity<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = request(&world.instance().await, &[Act::Insert, Act::Pause]);
    let pending = (0..8).map(|_| request.start()).collect();
    assert_one_executed(&answers(pending).await);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o3_constraint_that_the_handler_answers_is_final<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    take_name(world).await;
    let request = request(&world.instance().await, &[Act::Answer]);
    let first = request.send().await;
    first.assert_executed(422);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 0);
}

async fn o10_client_that_leaves_gets_the_answer_later<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = request(&world.instance().await, &[Act::Insert, Act::Pause]);
    let connection = request.open().await;
    tokio::time::sleep(PAUSE / 3).await;
    connection.reset();
    let answer = request.send().await;
    assert!(answer.is_replay(), "{}", answer.text());
    assert_eq!(world.effects("acme").await, 1);
}

async fn o12_panic_undoes_entities<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = request(&world.instance().await, &[Act::Insert, Act::Panic]);
    request.send().await.assert_problem("handler-panicked");
    assert_eq!(world.effects("acme").await, 0);
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o13_deadline_undoes_entities<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let acts = [Act::Insert, Act::Commit, Act::Hang];
    let request = asking(&world.instance().await, "/acme/bounded", &acts);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.effects("acme").await, 0);
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 2);
}

async fn o14_swallowed_constraint_is_found_out<F: Framework<D>, D: Database>(world: &World<F, D>) {
    take_name(world).await;
    let instance = world.instance().await;
    let first = request(&instance, &[Act::Swallow]).send().await;
    if D::ERRORS_ABORT {
        first.assert_problem("transaction-lost");
        first.assert_retryable(true);
    } else {
        first.assert_executed(201);
    }
    let kept = i64::from(!D::ERRORS_ABORT);
    assert_eq!(world.effects("acme").await, kept);
}

async fn o14_own_commit_is_found_out<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = request(&world.instance().await, &[Act::Insert, Act::End]);
    let first = request.send().await;
    first.assert_problem("transaction-lost");
    first.assert_retryable(false);
    request.send().await.assert_problem("transaction-lost");
    assert_eq!(world.effects("acme").await, 1);
}

async fn o15_err_undoes_entities<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = request(&world.instance().await, &[Act::Insert, Act::Fail]);
    request.send().await.assert_executed(500);
    assert_eq!(world.effects("acme").await, 0);
    let retry = request.send().await;
    retry.assert_executed(201);
    request.send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o18_clones_write_in_the_same_transaction<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let acts = [Act::Join, Act::Spawn, Act::Raw];
    let instance = world.instance().await;
    let first = request(&instance, &acts).send().await;
    first.assert_executed(201);
    assert_eq!(first.text(), "4");
    let undone = [&acts[..], &[Act::Fail]].concat();
    let undone = request(&instance, &undone).key("l").send().await;
    undone.assert_executed(500);
    assert_eq!(world.effects("acme").await, 4);
}

async fn o18_clone_in_use_after_the_handler_undoes<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = asking(&instance, "/acme/effects", &[Act::Insert, Act::Outlive]);
    request.send().await.assert_problem("try-again");
    tokio::time::sleep(2 * PAUSE).await;
    assert_eq!(world.effects("acme").await, 0);
    assert_eq!(world.records().await, 0);
}

async fn o18_nested_transactions_are_savepoints<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    for (acts, effects) in [
        (&[Act::Commit][..], 1),
        (&[Act::RollBack], 0),
        (&[Act::Drop], 0),
        (&[Act::Drop, Act::Insert], 1),
        (&[Act::Levels], 1),
        (&[Act::Entangle], 0),
        (&[Act::Isolate, Act::Insert], 1),
    ] {
        let tenant = format!("tenant-{acts:?}").replace(['[', ']', ',', ' '], "");
        let request = asking(&instance, &format!("/{tenant}/effects"), acts);
        let first = request.send().await;
        first.assert_executed(201);
        assert_eq!(first.text(), effects.to_string(), "{acts:?}");
        assert_eq!(world.effects(&tenant).await, effects, "{acts:?}");
    }
}

async fn o18_error_in_a_nested_transaction_leaves_the_outer_one<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    take_name(world).await;
    let acts = [Act::Insert, Act::Collide, Act::Collide, Act::Insert];
    let request = request(&world.instance().await, &acts);
    let first = request.send().await;
    first.assert_executed(201);
    assert_eq!(first.text(), "2");
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 2);
}
