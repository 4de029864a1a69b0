//! Steps on a database server: over a wire that is cut at each COMMIT, and under a lock.

use idem_tests::{
    Cut, Framework, Instance, Request, Scene, Served, Settings, Wire, World, conformance,
};

use super::steps::{left, until_answered};
use crate::o::wire::wired;

conformance![
    on [Postgres RecordInCommit Mysql]:
    t2_t3_cut_at_every_commit_has_one_effect_of_each_step,
    t1_step_that_outlasts_its_lease_keeps_its_key,
    cost_of_steps_is_a_transaction_for_each_and_two_more,
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

/// The round trips of a request without pings, and the commits among them.
async fn cost<D: Served>(wire: &Wire, instance: &Instance<D>, request: Request) -> (usize, usize) {
    drop(instance.whole_pool().await);
    wire.sent();
    request.send().await.assert_executed(201);
    drop(instance.whole_pool().await);
    let mut sent = wire.sent();
    sent.retain(|sent| sent != b"S\0\0\0\x04" && sent != b"\x01\0\0\0\x0e");
    let commits = |sent: &&Vec<u8>| {
        let mut words = sent.windows(7);
        words.any(|word| word.starts_with(b"COMMIT") && word[6] != b'T')
    };
    (sent.len(), sent.iter().filter(commits).count())
}

async fn cost_of_steps_is_a_transaction_for_each_and_two_more<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    world.with_steps().await;
    let wire = Wire::to(world.database.address()).await;
    let mut settings = Settings::default();
    settings.wires.connections = 1;
    settings.wires.through = Some(wire.address);
    let instance = world.instance_with(settings).await;
    let mut costs = Vec::new();
    // One transaction; one step, two and three.
    for (path, label) in [
        ("/effects", "a"),
        ("/ride", "booked"),
        ("/ride", "charged"),
        ("/ride", "paid"),
    ] {
        let ask = |key: &str| {
            instance
                .post(path)
                .key(format!("{label}-{key}"))
                .effect(label)
        };
        // The handler's statement is prepared once.
        ask("warm").send().await.assert_executed(201);
        costs.push(cost(&wire, &instance, ask("fresh")).await);
    }
    println!("round trips and commits: {costs:?}");
    let [plain, one, two, three] = &costs[..] else {
        unreachable!("four requests");
    };
    assert_eq!([plain.1, one.1, two.1, three.1], [1, 3, 4, 5]);
    assert!(one.0 <= plain.0 + 15, "the claim, the record and a step");
    assert!(two.0 <= one.0 + 7, "a call");
    assert!(three.0 <= two.0 + 8, "a commit with a statement");
}
