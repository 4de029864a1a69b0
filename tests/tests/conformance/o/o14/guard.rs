//! Sessions on which PostgreSQL itself refuses a write outside of idem's transaction.

use std::sync::Arc;

use idem_core::{IdempotencyKey, Operation, PostgresStore};
use idem_tests::{
    Act, Database as _, Framework, Instance, Postgres, Reply, Scene, Settings, World, conformance,
};

conformance![
    on Postgres:
    o14_guard_lets_requests_through,
    o14_guard_lets_requests_with_their_record_in_commit_through,
    e3_guard_lets_purges_and_erasures_through,
    r6_guard_lets_the_first_migration_through,
    o14_guard_refuses_a_write_after_a_failed_nested_begin,
    o14_guard_refuses_a_write_after_a_nested_begin_and_a_swallowed_error,
    o14_guard_refuses_a_write_after_a_cancelled_nested_begin,
    o14_guard_refuses_a_write_after_the_handlers_own_commit,
    o14_guard_refuses_the_same_writes_with_the_record_in_commit,
];

fn guarded(postgres: fn(PostgresStore) -> PostgresStore) -> Settings {
    let mut settings = Settings::of_store(postgres);
    settings.wires.session = PostgresStore::guard;
    settings
}

async fn o14_guard_lets_requests_through<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    let instance = world.instance_with(guarded(|store| store)).await;
    lets_through(world, &instance).await;
}

async fn o14_guard_lets_requests_with_their_record_in_commit_through<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let settings = guarded(PostgresStore::with_record_in_commit);
    let instance = world.instance_with(settings).await;
    lets_through(world, &instance).await;
}

/// A success, failures, a retry, an expiry, and a request without a key.
async fn lets_through<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    instance: &Instance<Postgres>,
) {
    let request = instance.post("/effects").effect("a");
    let succeeds = request.clone().key("succeeds");
    let first = succeeds.send().await;
    first.assert_executed(201);
    succeeds.send().await.assert_replays(&first);

    let fails = request.clone().key("fails");
    world
        .control
        .play([Scene::effect().answer(Reply::new(422))]);
    let first = fails.send().await;
    first.assert_executed(422);
    fails.send().await.assert_replays(&first);

    let retried = request.clone().key("retried");
    world
        .control
        .play([Scene::effect().answer(Reply::new(500))]);
    retried.send().await.assert_executed(500);
    retried.send().await.assert_executed(201);

    world.expire().await;
    succeeds.send().await.assert_executed(201);
    let keyless = instance.post("/optional").effect("a");
    keyless.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 4);
}

async fn e3_guard_lets_purges_and_erasures_through<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance_with(guarded(|store| store)).await;
    let request = instance.post("/effects").effect("a");
    request.clone().key("k1").send().await.assert_executed(201);
    world.expire().await;
    request.key("k2").send().await.assert_executed(201);
    let (engine, operation) = (&instance.engine, Operation::of_route("POST", "/effects"));
    let key = IdempotencyKey::parse(b"k2").expect("a key");
    assert_eq!(engine.purge_expired().await.expect("purges"), 1);
    let found = engine.find(Some("acme"), &operation, &key).await;
    assert!(found.expect("finds").is_some());
    assert_eq!(engine.erase(Some("acme")).await.expect("erases"), 1);
    assert_eq!(world.records().await, 0);
}

async fn r6_guard_lets_the_first_migration_through<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let pool = world.database.connect(guarded(|store| store).wires).await;
    let store = PostgresStore::new(pool);
    store.migrate().await.expect("migrates");
    store.migrate().await.expect("migrates again");
}

/// The insert after the misuse fails, and the answer is that of the misuse.
async fn refuses<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    instance: &Arc<Instance<Postgres>>,
    acts: impl IntoIterator<Item = Act>,
    effects: i64,
) {
    let acts: Vec<Act> = acts.into_iter().collect();
    let swallowed = "INSERT INTO effects (tenant, label) VALUES ('acme', 'swallowed')";
    let escapes = [
        (Act::Insert, Reply::new(201)),
        (Act::swallow(swallowed), Reply::new(201)),
        (Act::swallow(swallowed), Reply::new(422)),
        (Act::swallow(swallowed), Reply::new(500)),
    ];
    let before = world.effects("acme").await;
    for (number, (escape, reply)) in (1..).zip(escapes) {
        let scene = Scene::new(acts.iter().cloned().chain([escape])).answer(reply);
        world.control.play([scene]);
        let key = format!("key-{}", world.control.entries());
        let request = instance.post("/effects").key(key).effect("a");
        let first = request.send().await;
        first.assert_problem("transaction-lost");
        first.assert_retryable(false);
        assert_eq!(world.effects("acme").await - before, effects * number);
        let entries = world.control.entries();
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        assert_eq!(world.control.entries(), entries, "it ran again");
    }
}

const WRONG: &str = "INSERT INTO no_such_table VALUES (1)";

async fn o14_guard_refuses_a_write_after_a_failed_nested_begin<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance_with(guarded(|store| store)).await;
    refuses(world, &instance, [Act::Insert, Act::FailedBegin], 0).await;
}

async fn o14_guard_refuses_a_write_after_a_nested_begin_and_a_swallowed_error<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance_with(guarded(|store| store)).await;
    refuses(world, &instance, [Act::swallow(WRONG), Act::Begin], 0).await;
}

async fn o14_guard_refuses_a_write_after_a_cancelled_nested_begin<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance_with(guarded(|store| store)).await;
    refuses(world, &instance, [Act::Insert, Act::CancelledBegin], 0).await;
}

async fn o14_guard_refuses_a_write_after_the_handlers_own_commit<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance_with(guarded(|store| store)).await;
    refuses(world, &instance, [Act::Insert, Act::run("COMMIT")], 1).await;
}

async fn o14_guard_refuses_the_same_writes_with_the_record_in_commit<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let settings = guarded(PostgresStore::with_record_in_commit);
    let instance = world.instance_with(settings).await;
    refuses(world, &instance, [Act::Insert, Act::FailedBegin], 0).await;
    refuses(world, &instance, [Act::swallow(WRONG), Act::Begin], 0).await;
    refuses(world, &instance, [Act::Insert, Act::CancelledBegin], 0).await;
    refuses(world, &instance, [Act::Insert, Act::run("COMMIT")], 1).await;
}
