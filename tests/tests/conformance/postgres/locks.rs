//! PostgreSQL's lock function, its replacement by others, and row locks.

use std::time::Duration;

use idem_tests::{Domain as _, Framework, Pending, Reply, Scene, Served, World, conformance};
use tokio::time::sleep;

conformance![
    on [Postgres RecordInCommit]:
    c1_lock_that_always_says_yes_still_has_one_effect,
    c1_lock_that_always_says_yes_still_has_one_effect_on_an_old_record,
    c1_record_committed_while_the_lock_is_asked_for_is_seen,
    c2_conflict_at_the_claim_is_asked_again,
    c4_identities_on_one_lock_only_wait_for_each_other,
    e4_erasure_waits_for_an_attempt_on_a_recorded_identity,
];

pub(crate) const ALWAYS: &str = "CREATE OR REPLACE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean \
     LANGUAGE sql VOLATILE AS 'SELECT true'";

async fn c1_lock_that_always_says_yes_still_has_one_effect<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    world.run(ALWAYS).await;
    world.control.play([Scene::gated(), Scene::gated()]);
    let request = one.post("/patient").key("k").effect("a");
    let pending = [&one, &other].map(|instance| request.clone().to(instance.address).start());
    world.control.entered(2).await;
    world.control.open(2);
    one_is_kept(pending).await;
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.records().await, 1);
}

async fn c1_lock_that_always_says_yes_still_has_one_effect_on_an_old_record<
    F: Framework<D>,
    D: Served,
>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    world.run(ALWAYS).await;
    let fails = Scene::effect().answer(Reply::new(500));
    let request = one.post("/patient").effect("a");
    let (expired, failed) = (request.clone().key("expired"), request.key("failed"));
    expired.send().await.assert_executed(201);
    world.expire().await;
    world.control.play([fails]);
    failed.send().await.assert_executed(500);
    for (effects, request) in (2..).zip([expired, failed]) {
        let extracted = world.control.extractions();
        let entered = world.control.entries();
        world.control.play([Scene::gated()]);
        let pending = [&one, &other].map(|i| request.clone().to(i.address).start());
        world.control.extracted(extracted + 2).await;
        world.control.entered(entered + 1).await;
        world.control.open(1);
        one_is_kept(pending).await;
        assert_eq!(world.effects("acme").await, effects);
    }
}

/// The read after the lock has a snapshot of its own: a snapshot that was taken with the lock would miss the record.
async fn c1_record_committed_while_the_lock_is_asked_for_is_seen<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/effects").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.at_gate(1).await;
    world
        .run(
            "CREATE OR REPLACE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean \
             LANGUAGE plpgsql VOLATILE AS 'BEGIN \
             PERFORM pg_catalog.pg_advisory_xact_lock_shared(7); \
             RETURN pg_catalog.pg_try_advisory_xact_lock(lock_id); END'",
        )
        .await;
    let mut gate = world.observe().await;
    let closed = gate.number("SELECT count(pg_advisory_lock(7))").await;
    closed.expect("the gate closes");
    let second = request.to(other.address).start();
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while world.number(waiting).await == 0 {
        sleep(Duration::from_millis(2)).await;
    }
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    let opened = gate.number("SELECT count(pg_advisory_unlock(7))").await;
    opened.expect("the gate opens");
    second.answer().await.assert_replays(&first);
    assert_eq!(world.control.entries(), 1);
}

async fn c2_conflict_at_the_claim_is_asked_again<F: Framework<D>, D: Served>(world: &World<F, D>) {
    let instance = world.instance().await;
    world.run("CREATE SEQUENCE claims").await;
    let first = instance.post("/effects").key("first").effect("a");
    first.send().await.assert_executed(201);
    for (number, code) in ["40001", "40P01", "55P03"].into_iter().enumerate() {
        world
            .run(format_args!(
                "ALTER SEQUENCE claims RESTART; \
                 CREATE OR REPLACE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean \
                 LANGUAGE plpgsql VOLATILE AS 'BEGIN \
                 IF pg_catalog.nextval(''public.claims'') = 1 THEN \
                 RAISE EXCEPTION ''trouble'' USING ERRCODE = ''{code}''; END IF; \
                 RETURN pg_catalog.pg_try_advisory_xact_lock(lock_id); END'"
            ))
            .await;
        let request = instance.post("/effects").key(code).effect("a");
        request.send().await.assert_executed(201);
        assert_eq!(world.control.entries(), number + 2);
        assert!(world.number("SELECT last_value FROM claims").await > 1);
    }
}

async fn one_is_kept(pending: [Pending; 2]) {
    let [one, other] = pending;
    let (one, other) = (one.answer().await, other.answer().await);
    let (kept, replay) = if one.is_replay() {
        (other, one)
    } else {
        (one, other)
    };
    kept.assert_executed(201);
    replay.assert_replays(&kept);
}

async fn c4_identities_on_one_lock_only_wait_for_each_other<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    world
        .run(
            "CREATE OR REPLACE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean \
             LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.pg_try_advisory_xact_lock(1)'",
        )
        .await;
    world.control.play([Scene::gated()]);
    let request = instance.post("/patient").effect("a");
    let first = request.clone().key("k1").start();
    world.control.entered(1).await;
    let second = request.key("k2").start();
    world.control.extracted(2).await;
    world.control.open(1);
    first.answer().await.assert_executed(201);
    second.answer().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 2);
}

/// The attempt has locked the row that it is going to replace.
async fn e4_erasure_waits_for_an_attempt_on_a_recorded_identity<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k").effect("a");
    let fails = Scene::answering(Reply::new(500));
    world.control.play([fails, Scene::gated()]);
    request.send().await.assert_executed(500);
    let attempt = request.start();
    world.control.at_gate(1).await;
    let engine = other.engine.clone();
    let erasure = tokio::spawn(async move { engine.erase(Some("acme")).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND query LIKE '%DELETE FROM idem.records%'";
    while world.number(waiting).await == 0 {
        assert!(!erasure.is_finished(), "it waits for the row");
        sleep(Duration::from_millis(2)).await;
    }
    world.control.open(1);
    attempt.answer().await.assert_executed(201);
    let erased = erasure.await.expect("ends").expect("erases");
    assert_eq!(erased, 1, "the record that the attempt has written");
    assert_eq!(world.records().await, 0);
    assert_eq!(world.effects("acme").await, 1);
}
