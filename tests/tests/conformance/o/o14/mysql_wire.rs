//! Sessions of MariaDB or MySQL that end after the handler has broken its transaction.

use idem_tests::{Act, Database, Framework, Mysql, Reply, Scene, World, conformance};

use crate::o::wire::wired;

conformance![
    on Mysql:
    o14_session_that_is_killed_keeps_nothing,
    o14_own_commit_before_the_wire_breaks_is_never_run_again,
    o14_own_commit_before_the_wire_breaks_is_remembered_as_long_as_a_record,
];

async fn o14_session_that_is_killed_keeps_nothing<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let request = world.instance().await.post("/effects").effect("a");
    let kill = Act::swallow("KILL CONNECTION_ID()");
    for (effects, status) in (1..).zip([201, 422, 500]) {
        let scene = Scene::new([Act::Insert, kill.clone(), Act::swallow("DO 0")]);
        world.control.play([scene.answer(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        match status {
            500 => first.assert_executed(500),
            _ => first.assert_problem("try-again"),
        }
        assert_eq!(world.effects("acme").await, effects - 1);
        request.send().await.assert_executed(201);
        assert_eq!(world.effects("acme").await, effects);
    }
}

/// As if the process had died there: it sends nothing more on this connection.
async fn o14_own_commit_before_the_wire_breaks_is_never_run_again<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    for status in [201, 422, 500] {
        let (wire, instance) = wired(world).await;
        let tenant = format!("tenant-{status}");
        let request = instance
            .post("/effects")
            .key("k")
            .effect("a")
            .tenant(&tenant);
        let scene = Scene::new([Act::Insert, Act::run("COMMIT"), Act::Wait]);
        world.control.play([scene.answer(Reply::new(status))]);
        let entries = world.control.entries();
        let first = request.start();
        world.control.at_gate(entries + 1).await;
        wire.down();
        let other = world.instance().await;
        let elsewhere = request.to(other.address).send().await;
        elsewhere.assert_problem("transaction-lost");
        elsewhere.assert_retryable(false);
        assert!(elsewhere.expires().is_some());
        world.control.open(1);
        let first = first.answer().await;
        // The attempt itself can't know of the handler's COMMIT.
        match status {
            500 => first.assert_executed(500),
            _ => first.assert_problem("try-again"),
        }
        wire.up();
        assert_eq!(world.control.entries(), entries + 1, "it ran again");
        assert_eq!(world.effects(&tenant).await, 1);
    }
}

async fn o14_own_commit_before_the_wire_breaks_is_remembered_as_long_as_a_record<
    F: Framework<Mysql>,
>(
    world: &World<F, Mysql>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").key("k").effect("a");
    let scene = Scene::new([Act::Insert, Act::run("COMMIT"), Act::Wait]);
    world.control.play([scene]);
    let first = request.start();
    world.control.at_gate(1).await;
    wire.down();
    world.control.open(1);
    first.answer().await.assert_problem("try-again");
    wire.up();
    let day = format!(
        "SELECT expires_at - {} FROM idem_records",
        <Mysql as Database>::NOW
    );
    let left = world.number(day).await / 1_000_000;
    assert!((86_300..=86_400).contains(&left), "{left}");
    request.send().await.assert_problem("transaction-lost");
    world.expire().await;
    request.send().await.assert_executed(201);
    assert_eq!(world.control.entries(), 2);
}
