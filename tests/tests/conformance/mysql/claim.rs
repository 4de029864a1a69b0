//! Errors that MariaDB or MySQL answers to a claim.

use idem_tests::{Framework, Mysql, World, conformance};

conformance![
    on Mysql:
    o11_error_at_the_claim_is_answered_by_its_meaning,
];

async fn o11_error_at_the_claim_is_answered_by_its_meaning<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let instance = world.instance().await;
    let request = instance.post("/hasty").key("k").effect("a");
    // A full table, and a deadlock again and again.
    for (number, problem) in [(1114, "unavailable"), (1213, "try-again")] {
        world
            .run(format_args!(
                "CREATE TRIGGER trouble BEFORE INSERT ON idem_records FOR EACH ROW \
                 SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'trouble'"
            ))
            .await;
        request.send().await.assert_problem(problem);
        world.run("DROP TRIGGER trouble").await;
    }
    request.send().await.assert_executed(201);
    assert_eq!(world.control.entries(), 1);
}
