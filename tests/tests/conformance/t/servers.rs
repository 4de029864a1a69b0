//! Steps on a database server: over a wire that is cut at each COMMIT, and under a lock.

use idem_tests::{Cut, Framework, Scene, Served, World, conformance};

use super::steps::{left, until_answered};
use crate::o::wire::wired;

conformance![
    on [Postgres RecordInCommit Mysql]:
    t2_t3_cut_at_every_commit_has_one_effect_of_each_step,
    t1_step_that_outlasts_its_lease_keeps_its_key,
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

async fn t1_step_that_outlasts_its_lease_keeps_its_key<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let (instance, other) = (world.with_steps().await, world.instance().await);
    let request = instance.post("/ride").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.at_gate(1).await;
    // The wait of two seconds is longer than the lease, but the step has locked the run.
    let elsewhere = request.to(other.address);
    elsewhere.send().await.assert_problem("in-flight");
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    elsewhere.send().await.assert_replays(&first);
    assert_eq!((world.control.entries(), left(world).await), (3, 0));
}
