//! `AND CHAIN`: handlers that end their transaction and begin another in one statement.

use idem_tests::{Act, Database, Framework, World, conformance};

use super::endings::is_final_at_every_end;
use super::misuse;

conformance![
    on [Postgres RecordInCommit Mysql]:
    o14_own_commit_and_chain_is_final,
    o14_transaction_chained_to_a_commit_keeps_nothing_at_every_end,
    o14_transaction_chained_to_a_rollback_keeps_nothing_at_every_end,
];

async fn o14_own_commit_and_chain_is_final<F: Framework<D>, D: Database>(world: &World<F, D>) {
    misuse::is_final_at_every_reply(world, &["COMMIT AND CHAIN"], Some(1)).await;
}

async fn o14_transaction_chained_to_a_commit_keeps_nothing_at_every_end<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let commit = Act::run("COMMIT AND CHAIN");
    is_final_at_every_end(world, &[Act::Insert, commit, Act::Insert], 1).await;
}

async fn o14_transaction_chained_to_a_rollback_keeps_nothing_at_every_end<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let rollback = Act::run("ROLLBACK AND CHAIN");
    is_final_at_every_end(world, &[Act::Insert, rollback, Act::Insert], 0).await;
}
