//! Steps over a wire that is cut at each COMMIT: of the claim, of each step, and of the record.

use idem_tests::{Cut, Framework, Served, World, conformance};

use super::steps::until_answered;
use crate::o::wire::wired;

conformance![
    on [Postgres RecordInCommit Mysql]:
    t2_t3_cut_at_every_commit_has_one_effect_of_each_step,
];

/// The claim, the ride, the charge, the payment, the record.
const COMMITS: usize = 5;

async fn t2_t3_cut_at_every_commit_has_one_effect_of_each_step<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    world.with_steps().await;
    let (wire, instance) = wired(world).await;
    for (number, cut) in [Cut::Before, Cut::After].into_iter().enumerate() {
        for commit in 0..COMMITS {
            let tenant = format!("acme-{number}-{commit}");
            let request = instance.post("/ride").key("k").effect("a");
            let request = request.tenant(&tenant);
            wire.cut_after(commit, cut);
            let answer = until_answered(&request).await;
            assert_eq!(answer.status, 201, "{cut:?} {commit}");
            assert_eq!(wire.cuts(), number * COMMITS + commit + 1);
            assert_eq!(world.effects(&tenant).await, 2, "{cut:?} {commit}");
            request.send().await.assert_replays(&answer);
        }
    }
}
