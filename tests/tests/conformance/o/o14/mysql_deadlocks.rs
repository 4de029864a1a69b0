//! Handlers that swallow an error with which MariaDB or MySQL undoes the whole transaction.

use idem_tests::{Act, Framework, Mysql, Reply, Request, Scene, World, answers, conformance};

use crate::mysql::isolation::{at, entangled};

conformance![
    on Mysql:
    o14_deadlock_that_is_swallowed_is_never_a_false_success,
    o14_deadlock_that_a_transaction_handler_swallows_is_never_a_false_success,
    o14_write_after_a_swallowed_deadlock_does_not_stand,
    o14_update_on_an_old_snapshot_is_undone_or_succeeds,
];

/// Whether the handler has a transaction of sqlx's own type. To close it fails, and nothing has been kept then. Without
/// one, the undone transaction looks as if the handler had ended it.
fn is_closed_by_sqlx(path: &str) -> bool {
    path == "/transaction"
}

/// The victim's effect is gone, so the answer is a failure, whatever the handler answers.
async fn is_no_false_success<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
    requests: &[Request; 2],
    path: &str,
) {
    let gated = world.control.gated();
    let pending = requests.each_ref().map(Request::start);
    world.control.at_gate(gated + 2).await;
    world.control.open(2);
    let answers = answers(pending.into()).await;
    let failed = answers.iter().position(|answer| answer.status != 201);
    let failed = failed.expect("one of the two has to fail");
    answers[failed].assert_problem("transaction-lost");
    answers[1 - failed].assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
    let retry = requests[failed].send().await;
    if is_closed_by_sqlx(path) {
        answers[failed].assert_retryable(true);
        retry.assert_executed(201);
        assert_eq!(world.effects("acme").await, 2);
    } else {
        answers[failed].assert_retryable(false);
        assert_eq!((retry.status, &retry.body), (500, &answers[failed].body));
        assert_eq!(world.effects("acme").await, 1);
    }
}

async fn o14_deadlock_that_is_swallowed_is_never_a_false_success<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let requests = entangled(world, "/effects", |lock| vec![Act::swallow(lock)]).await;
    is_no_false_success(world, &requests, "/effects").await;
}

async fn o14_deadlock_that_a_transaction_handler_swallows_is_never_a_false_success<
    F: Framework<Mysql>,
>(
    world: &World<F, Mysql>,
) {
    let requests = entangled(world, "/transaction", |lock| vec![Act::swallow(lock)]).await;
    is_no_false_success(world, &requests, "/transaction").await;
}

async fn o14_write_after_a_swallowed_deadlock_does_not_stand<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    for (number, path) in (1..).zip(["/effects", "/transaction"]) {
        let goes_on = |lock| {
            let writes = "INSERT INTO effects VALUES ('later', 'a')";
            vec![Act::swallow(lock), Act::run(writes)]
        };
        let requests = entangled(world, path, goes_on).await;
        is_no_false_success(world, &requests, path).await;
        assert_eq!(world.effects("later").await, number, "the winner's");
        world.run("DELETE FROM names").await;
        world.run("DELETE FROM effects WHERE tenant = 'acme'").await;
        world.run("DELETE FROM idem_records").await;
        world.control.forget();
    }
}

/// MariaDB undoes the whole transaction where `innodb_snapshot_isolation` is on. On MySQL the update succeeds.
async fn o14_update_on_an_old_snapshot_is_undone_or_succeeds<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    world.run("INSERT INTO names (name) VALUES ('row')").await;
    let is_mariadb = world.text("SELECT VERSION()").await.contains("MariaDB");
    let opening = if is_mariadb {
        "SET SESSION innodb_snapshot_isolation = ON"
    } else {
        "DO 0"
    };
    for path in ["/repeatable-read", "/transaction"] {
        let instance = world.instance_with(at(opening)).await;
        for status in [201, 500] {
            let acts = [
                Act::Insert,
                Act::run("SELECT name FROM names"),
                Act::Wait,
                Act::swallow("UPDATE names SET name = CONCAT(name, '.')"),
            ];
            let scene = Scene::new(acts).answer(Reply::new(status));
            world.control.play([scene]);
            let gated = world.control.gated() + 1;
            let request = instance.post(path).key(format!("key-{gated}")).effect("a");
            let before = world.effects("acme").await;
            let first = request.start();
            world.control.at_gate(gated).await;
            world.run("UPDATE names SET name = CONCAT(name, '!')").await;
            world.control.open(1);
            let first = first.answer().await;
            let retry = request.send().await;
            let kept = match status {
                201 if is_mariadb && is_closed_by_sqlx(path) => {
                    first.assert_problem("transaction-lost");
                    first.assert_retryable(true);
                    retry.assert_executed(201);
                    1
                }
                201 if is_mariadb => {
                    first.assert_problem("transaction-lost");
                    first.assert_retryable(false);
                    assert_eq!((retry.status, &retry.body), (first.status, &first.body));
                    0
                }
                201 => {
                    first.assert_executed(201);
                    retry.assert_replays(&first);
                    1
                }
                _ => {
                    first.assert_executed(500);
                    retry.assert_executed(201);
                    1
                }
            };
            assert_eq!(
                world.effects("acme").await,
                before + kept,
                "{path} {status}"
            );
        }
    }
}
