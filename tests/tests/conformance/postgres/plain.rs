//! A database where functions can't be created: claims are separate statements.

use std::sync::Arc;

use futures_util::future::join_all;
use idem_core::PostgresStore;
use idem_tests::{
    Act, Database as _, Framework, Instance, Postgres, Reply, Scene, Settings, Wires, World,
    answers, assert_one_executed, conformance,
};

conformance![
    on Postgres:
    r6_plain_migration_of_many_instances_at_once_succeeds,
    r2_plain_requests_are_executed_and_replayed,
    r2_plain_requests_are_executed_and_replayed_where_the_record_was_to_be_in_commit,
    c1_plain_duplicates_over_two_instances_have_one_effect,
    c2_plain_duplicate_elsewhere_is_answered_in_flight,
    c3_plain_retriable_failure_with_waiters_elsewhere_has_one_next_attempt,
    e2_plain_expired_record_is_executed_once,
    o14_plain_own_commit_is_final,
    r6_plain_setup_becomes_whole_with_the_next_migration,
];

/// A built-in role of the server, so that the test leaves no role in the cluster.
fn plain() -> Settings {
    let mut settings = Settings::default();
    settings.wires.session = |options| options.options([("role", "pg_signal_backend")]);
    settings
}

/// Lets that role own the schema, and forbids it functions.
async fn forbid<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    world
        .run(
            "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO pg_signal_backend', \
             current_database()); END $$; \
             GRANT ALL ON effects, names, children TO pg_signal_backend; \
             REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        )
        .await;
}

async fn instances<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) -> [Arc<Instance<Postgres>>; 2] {
    forbid(world).await;
    let instances = [
        world.instance_with(plain()).await,
        world.instance_with(plain()).await,
    ];
    let routines = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'idem'::regnamespace";
    assert_eq!(world.number(routines).await, 0, "functions were created");
    instances
}

async fn r6_plain_migration_of_many_instances_at_once_succeeds<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    forbid(world).await;
    let wires = Wires {
        connections: 1,
        ..plain().wires
    };
    let stores = join_all((0..8).map(|_| world.database.connect(wires))).await;
    let stores: Vec<_> = stores.into_iter().map(PostgresStore::new).collect();
    for migrated in join_all(stores.iter().map(PostgresStore::migrate)).await {
        migrated.expect("migrates");
    }
    let versions = "SELECT string_agg(version::text, ' ') FROM idem.migrations";
    assert_eq!(world.text(versions).await, "1");
}

async fn r2_plain_requests_are_executed_and_replayed<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let [one, other] = instances(world).await;
    are_executed_and_replayed(world, &one, &other).await;
}

async fn r2_plain_requests_are_executed_and_replayed_where_the_record_was_to_be_in_commit<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    forbid(world).await;
    let mut settings = plain();
    settings.choices.postgres = PostgresStore::with_record_in_commit;
    let one = world.instance_with(settings.clone()).await;
    let other = world.instance_with(settings).await;
    are_executed_and_replayed(world, &one, &other).await;
}

/// A success, a final failure, and a retriable one; and from an instance that starts later.
async fn are_executed_and_replayed<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    one: &Instance<Postgres>,
    other: &Instance<Postgres>,
) {
    let request = one.post("/effects").effect("a");
    for (key, status) in [("succeeds", 201), ("fails", 422)] {
        world
            .control
            .play([Scene::effect().answer(Reply::new(status))]);
        let request = request.clone().key(key);
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
        let elsewhere = request.clone().to(other.address);
        elsewhere.send().await.assert_replays(&first);
        let other_body = request.effect("other");
        other_body.send().await.assert_problem("key-reused");
    }
    let retried = request.key("retried");
    let panics = Scene::new([Act::Insert, Act::Panic]);
    world
        .control
        .play([Scene::effect().answer(Reply::new(500)), panics]);
    retried.send().await.assert_executed(500);
    retried.send().await.assert_problem("handler-panicked");
    let first = retried.send().await;
    first.assert_executed(201);
    assert_eq!(first.json()["attempt"], 3);
    let restarted = world.instance_with(plain()).await;
    let elsewhere = retried.to(restarted.address);
    elsewhere.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 2);
    assert_eq!(world.records().await, 3);
}

async fn c1_plain_duplicates_over_two_instances_have_one_effect<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instances = instances(world).await;
    world.control.play([Scene::gated()]);
    let request = instances[0].post("/patient").key("k").effect("a");
    let pending = instances.iter().cycle().take(32);
    let pending: Vec<_> = pending
        .map(|instance| request.clone().to(instance.address).start())
        .collect();
    world.control.extracted(32).await;
    world.control.open(1);
    assert_one_executed(&answers(pending).await);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn c2_plain_duplicate_elsewhere_is_answered_in_flight<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let [one, other] = instances(world).await;
    let request = one.post("/hasty").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.at_gate(1).await;
    let elsewhere = request.to(other.address);
    elsewhere.send().await.assert_problem("in-flight");
    world.control.open(1);
    let first = first.answer().await;
    elsewhere.send().await.assert_replays(&first);
}

async fn c3_plain_retriable_failure_with_waiters_elsewhere_has_one_next_attempt<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let [one, other] = instances(world).await;
    let fails = Scene::gated().answer(Reply::new(500));
    world.control.play([fails]);
    let request = one.post("/patient").key("k").effect("a");
    let first = request.start();
    world.control.at_gate(1).await;
    let elsewhere = request.to(other.address);
    let waiters: Vec<_> = (0..4).map(|_| elsewhere.start()).collect();
    world.control.extracted(5).await;
    world.control.open(1);
    first.answer().await.assert_executed(500);
    assert_one_executed(&answers(waiters).await);
    assert_eq!(world.control.entries(), 2);
    assert_eq!(world.effects("acme").await, 1);
}

async fn e2_plain_expired_record_is_executed_once<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instances = instances(world).await;
    let request = instances[0].post("/patient").key("k").effect("a");
    request.send().await.assert_executed(201);
    world.expire().await;
    world.control.play([Scene::gated()]);
    let pending = instances
        .each_ref()
        .map(|instance| request.clone().to(instance.address).start());
    world.control.extracted(3).await;
    world.control.open(1);
    assert_one_executed(&answers(pending.into()).await);
    assert_eq!(world.effects("acme").await, 2);
    assert_eq!(world.records().await, 1);
}

async fn o14_plain_own_commit_is_final<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    let [one, _] = instances(world).await;
    for status in [201, 422, 500] {
        let scene = Scene::new([Act::Insert, Act::run("COMMIT")]);
        world.control.play([scene.answer(Reply::new(status))]);
        let key = format!("key-{status}");
        let request = one.post("/effects").key(key).effect("a");
        let first = request.send().await;
        first.assert_problem("transaction-lost");
        first.assert_retryable(false);
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
    }
    assert_eq!(world.control.entries(), 3);
    assert_eq!(world.effects("acme").await, 3);
}

/// An instance that has not been restarted keeps working alongside it.
async fn r6_plain_setup_becomes_whole_with_the_next_migration<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let [plain, _] = instances(world).await;
    world.run("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC").await;
    let whole = world.instance_with(self::plain()).await;
    let versions = "SELECT count(*) FROM idem.migrations";
    assert_eq!(world.number(versions).await, 3);
    world.control.play([Scene::gated()]);
    let request = plain.post("/patient").key("k").effect("a");
    let first = request.start();
    world.control.at_gate(1).await;
    let elsewhere = request.clone().to(whole.address).start();
    world.control.extracted(2).await;
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    elsewhere.answer().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}
