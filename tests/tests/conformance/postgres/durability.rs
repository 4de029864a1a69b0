//! The durability of a protected request's COMMIT on PostgreSQL, with any setting of the session.

use std::convert::identity;

use idem_core::PostgresStore;
use idem_tests::{Act, Framework, Postgres, Reply, Request, Scene, Settings, World, conformance};

conformance![
    on Postgres:
    i3_commit_is_durable_where_the_session_has_less,
    i3_commit_is_durable_with_its_record_in_commit,
    i3_commit_is_durable_for_a_failure_and_for_its_retry,
    i3_commit_is_durable_without_a_key,
    i3_commit_is_durable_whatever_the_handler_sets,
    i3_commit_is_never_less_durable_than_the_session,
    i3_durability_can_be_left_to_the_session,
    i3_commit_has_no_statement_timeout,
];

/// Deferred triggers run inside COMMIT, and note its settings.
const NOTES: &str = "CREATE TABLE notes (durability TEXT, timeout TEXT); \
     CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     INSERT INTO notes VALUES (current_setting('synchronous_commit'), \
     current_setting('statement_timeout')); RETURN NULL; END $$; \
     CREATE CONSTRAINT TRIGGER noted AFTER INSERT ON effects \
     DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();";

const NOTES_OF_RECORDS: &str = "CREATE CONSTRAINT TRIGGER noted AFTER INSERT OR UPDATE \
     ON idem.records DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();";

/// An instance whose sessions have this setting, and whose commits are noted.
async fn noted<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    setting: &str,
    postgres: fn(PostgresStore) -> PostgresStore,
) -> Request {
    world.database.set(setting).await;
    let instance = world.instance_with(Settings::of_store(postgres)).await;
    world.run(NOTES).await;
    world.run(NOTES_OF_RECORDS).await;
    instance.post("/effects").effect("a")
}

/// The noted values, each once.
async fn durabilities<F: Framework<Postgres>>(world: &World<F, Postgres>) -> String {
    world
        .text("SELECT string_agg(DISTINCT durability, ' ') FROM notes")
        .await
}

const OFF: &str = "synchronous_commit = off";

async fn i3_commit_is_durable_where_the_session_has_less<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let request = noted(world, OFF, |store| store).await;
    request.key("k").send().await.assert_executed(201);
    assert_eq!(durabilities(world).await, "on");
}

async fn i3_commit_is_durable_with_its_record_in_commit<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let request = noted(world, OFF, PostgresStore::with_record_in_commit).await;
    request.key("k").send().await.assert_executed(201);
    assert_eq!(durabilities(world).await, "on");
}

async fn i3_commit_is_durable_for_a_failure_and_for_its_retry<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let request = noted(world, OFF, |store| store).await.key("k");
    let fails = Scene::effect().answer(Reply::new(500));
    world.control.play([fails]);
    request.send().await.assert_executed(500);
    request.send().await.assert_executed(201);
    assert_eq!(world.number("SELECT count(*) FROM notes").await, 3);
    assert_eq!(durabilities(world).await, "on");
}

async fn i3_commit_is_durable_without_a_key<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    for store in [identity as fn(_) -> _, PostgresStore::with_record_in_commit] {
        world.database.set(OFF).await;
        let instance = world.instance_with(Settings::of_store(store)).await;
        world.run("DROP TABLE IF EXISTS notes").await;
        world.run("DROP FUNCTION IF EXISTS note CASCADE").await;
        world.run(NOTES).await;
        let request = instance.post("/optional").effect("a");
        request.send().await.assert_executed(201);
        assert_eq!(durabilities(world).await, "on");
    }
    assert_eq!(world.records().await, 0);
}

async fn i3_commit_is_durable_whatever_the_handler_sets<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let request = noted(world, "synchronous_commit = on", |store| store).await;
    let weakens = Act::run("SET LOCAL synchronous_commit = off");
    world.control.play([Scene::new([Act::Insert, weakens])]);
    request.key("k").send().await.assert_executed(201);
    assert_eq!(durabilities(world).await, "on");
}

async fn i3_commit_is_never_less_durable_than_the_session<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let setting = "synchronous_commit = remote_apply";
    let request = noted(world, setting, |store| store).await;
    request.key("k").send().await.assert_executed(201);
    assert_eq!(durabilities(world).await, "remote_apply");
}

async fn i3_durability_can_be_left_to_the_session<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let bound = |store: PostgresStore| store.with_session_durability();
    let fused = |store: PostgresStore| store.with_session_durability().with_record_in_commit();
    for store in [bound as fn(_) -> _, fused] {
        world.run("DROP TABLE IF EXISTS notes").await;
        world.run("DROP FUNCTION IF EXISTS note CASCADE").await;
        let request = noted(world, OFF, store).await;
        let key = format!("k{}", world.control.entries());
        request.key(key).send().await.assert_executed(201);
        assert_eq!(durabilities(world).await, "off");
    }
}

/// A commit may have to wait for a standby, so no limit of the session may cancel it.
async fn i3_commit_has_no_statement_timeout<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    let setting = "statement_timeout = '5s'";
    let request = noted(world, setting, |store| store).await;
    request.key("k").send().await.assert_executed(201);
    let timeout = "SELECT string_agg(DISTINCT timeout, ' ') FROM notes";
    assert_eq!(world.text(timeout).await, "0");
}
