//! A wire to MariaDB or MySQL that is cut or held.

use std::time::{Duration, Instant};

use idem_tests::{Act, Framework, Mysql, Scene, World, conformance};

use crate::o::wire::wired;

conformance![
    on Mysql:
    c2_frozen_attempt_frees_its_key,
    c2_attempt_on_a_record_that_was_purged_blocks_no_other_key,
];

/// The server ends a silent session; the frozen process can't.
async fn c2_frozen_attempt_frees_its_key<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let (wire, frozen) = wired(world).await;
    let other = world.instance().await;
    let request = frozen.post("/bounded").key("k").effect("a");
    world.control.play([Scene::new([Act::Insert, Act::Hang])]);
    wire.hold("ROLLBACK TO SAVEPOINT");
    let start = Instant::now();
    let first = request.start();
    wire.held().await;
    let elsewhere = request.to(other.address);
    let mut retry = elsewhere.send().await;
    while retry.status == 409 && start.elapsed() < Duration::from_secs(8) {
        retry = elsewhere.send().await;
    }
    retry.assert_executed(201);
    let freed = start.elapsed();
    assert!(freed < Duration::from_secs(5), "{freed:?}");
    wire.release();
    first.answer().await.assert_problem("try-again");
    elsewhere.send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 1);
}

/// The claim has seen an expired record and finds nothing there: it must not lock the gap.
async fn c2_attempt_on_a_record_that_was_purged_blocks_no_other_key<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (wire, instance) = wired(world).await;
    let other = world.instance().await;
    let request = instance.post("/effects").key("k").effect("a");
    request
        .clone()
        .to(other.address)
        .send()
        .await
        .assert_executed(201);
    world.expire().await;
    wire.hold("DELETE FROM");
    world.control.play([Scene::gated()]);
    let held = request.start();
    wire.held().await;
    // As a purge does, followed by the server's own cleanup, which a test can't wait for.
    world.run("TRUNCATE TABLE idem_records").await;
    wire.release();
    world.control.at_gate(1).await;
    let keys = (0..16).map(|number| format!("other-{number}"));
    let others = keys.map(|key| other.post("/hasty").key(key).effect("a").start());
    for answer in idem_tests::answers(others.collect()).await {
        answer.assert_executed(201);
    }
    world.control.open(1);
    held.answer().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 18);
}
