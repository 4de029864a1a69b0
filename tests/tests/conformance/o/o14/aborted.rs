//! Swallowed SQL errors, on databases where an error aborts the transaction.

use idem_tests::{Act, Database, Framework, Instance, World, conformance};

use super::endings::{End, at_every_end, is_final_at_every_end};

conformance![
    on [Postgres RecordInCommit]:
    o14_nested_begin_after_a_swallowed_error_is_found_out_at_every_end,
    o14_swallowed_error_keeps_nothing_at_any_end,
];

const WRONG: &str = "INSERT INTO no_such_table VALUES (1)";

async fn o14_nested_begin_after_a_swallowed_error_is_found_out_at_every_end<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let acts = [Act::Insert, Act::swallow(WRONG), Act::Begin, Act::Insert];
    is_final_at_every_end(world, &acts, 1).await;
}

async fn o14_swallowed_error_keeps_nothing_at_any_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let check = async |instance: &Instance<D>, end, tenant: &str| {
        let request = instance
            .post("/bounded")
            .key("k")
            .effect("a")
            .tenant(tenant);
        let first = request.send().await;
        assert_eq!(world.effects(tenant).await, 0);
        let retry = request.send().await;
        match end {
            End::Answers(422) => {
                first.assert_executed(422);
                retry.assert_replays(&first);
                return;
            }
            End::Answers(500) => first.assert_executed(500),
            End::Answers(_) => first.assert_problem("transaction-lost"),
            End::Panics => first.assert_problem("handler-panicked"),
            End::PassesItsDeadline => first.assert_problem("try-again"),
        }
        retry.assert_executed(201);
        assert_eq!(retry.json()["attempt"], 2);
        assert_eq!(world.effects(tenant).await, 1);
    };
    at_every_end(world, &[Act::Insert, Act::swallow(WRONG)], check).await;
}
