//! The store's check of its database before the first request.

use futures_util::future::join_all;
use idem_core::{PostgresStore, StoreError};
use idem_tests::{Database as _, Framework, Postgres, Wires, World, conformance};

conformance![
    on Postgres:
    p1_missing_setup_is_named,
    p1_setup_is_refused_where_the_lock_refuses_a_free_identity,
    p1_setup_is_refused_where_the_role_may_not_read,
    p1_setup_is_refused_where_the_role_may_not_write,
    p1_setup_is_refused_where_the_role_may_not_execute,
    p1_missing_setup_is_misconfigured_and_not_unavailable,
    r6_setup_fails_where_a_name_is_taken,
    r6_setup_is_found_once_it_is_there,
    r6_setup_may_be_made_and_checked_by_many_at_once,
];

/// A store as an application makes it, before any migration.
async fn store<F: Framework<Postgres>>(world: &World<F, Postgres>, wires: Wires) -> PostgresStore {
    PostgresStore::new(world.database.connect(wires).await)
}

/// The whole chain of causes, as a log shows it.
fn text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn is_misconfigured(store: &PostgresStore, word: &str) {
    let error = store.check().await.expect_err("the check fails");
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    let text = text(&error);
    assert!(text.contains(word), "{word:?} is not in {text:?}");
}

async fn p1_missing_setup_is_named<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    let store = store(world, Wires::default()).await;
    is_misconfigured(&store, "migrate()").await;
    store.migrate().await.expect("migrates");
    store.check().await.expect("is set up");
    world.run("DELETE FROM idem.migrations").await;
    let another = self::store(world, Wires::default()).await;
    is_misconfigured(&another, "migrate()").await;
}

async fn p1_setup_is_refused_where_the_lock_refuses_a_free_identity<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let ours = store(world, Wires::default()).await;
    ours.migrate().await.expect("migrates");
    for answer in ["NULL::boolean", "false"] {
        world
            .run(format!(
                "CREATE OR REPLACE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean \
                 LANGUAGE sql VOLATILE AS 'SELECT {answer}'"
            ))
            .await;
        let store = store(world, Wires::default()).await;
        is_misconfigured(&store, "idem.try_lock").await;
    }
}

/// A built-in role of the server, so that the test leaves no role in the cluster.
fn as_another(mut wires: Wires) -> Wires {
    wires.session = |options| options.options([("role", "pg_signal_backend")]);
    wires
}

async fn p1_setup_is_refused_where_the_role_may_not_read<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let ours = store(world, Wires::default()).await;
    ours.migrate().await.expect("migrates");
    let theirs = store(world, as_another(Wires::default())).await;
    is_misconfigured(&theirs, "permission denied").await;
    world
        .run("GRANT USAGE ON SCHEMA idem TO pg_signal_backend")
        .await;
    is_misconfigured(&theirs, "permission denied").await;
}

async fn p1_setup_is_refused_where_the_role_may_not_write<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let ours = store(world, Wires::default()).await;
    ours.migrate().await.expect("migrates");
    world
        .run(
            "GRANT USAGE ON SCHEMA idem TO pg_signal_backend; \
             GRANT SELECT ON ALL TABLES IN SCHEMA idem TO pg_signal_backend",
        )
        .await;
    let theirs = store(world, as_another(Wires::default())).await;
    is_misconfigured(&theirs, "INSERT").await;
    world
        .run("GRANT INSERT, UPDATE ON idem.records TO pg_signal_backend")
        .await;
    theirs.check().await.expect("is set up");
}

async fn p1_setup_is_refused_where_the_role_may_not_execute<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let ours = store(world, Wires::default()).await;
    ours.migrate().await.expect("migrates");
    world
        .run(
            "GRANT USAGE ON SCHEMA idem TO pg_signal_backend; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA idem TO pg_signal_backend; \
             REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA idem FROM PUBLIC",
        )
        .await;
    let theirs = store(world, as_another(Wires::default())).await;
    is_misconfigured(&theirs, "permission denied").await;
    world
        .run("GRANT EXECUTE ON ALL ROUTINES IN SCHEMA idem TO pg_signal_backend")
        .await;
    theirs.check().await.expect("is set up");
}

async fn p1_missing_setup_is_misconfigured_and_not_unavailable<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance().await;
    world.run("ALTER SCHEMA idem RENAME TO elsewhere").await;
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_problem("misconfigured");
    assert_eq!(world.control.entries(), 0);
    world.run("ALTER SCHEMA elsewhere RENAME TO idem").await;
    request.send().await.assert_executed(201);
}

async fn r6_setup_fails_where_a_name_is_taken<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    world
        .run(
            "CREATE SCHEMA idem; CREATE FUNCTION idem.try_lock(lock_id bigint) RETURNS text \
             LANGUAGE sql AS 'SELECT ''yes'''",
        )
        .await;
    let store = store(world, Wires::default()).await;
    let error = store.migrate().await.expect_err("the migration fails");
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    let text = text(&error);
    assert!(text.contains("try_lock"), "{text}");
}

async fn r6_setup_is_found_once_it_is_there<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    let store = store(world, Wires::default()).await;
    is_misconfigured(&store, "migrate()").await;
    let another = self::store(world, Wires::default()).await;
    another.migrate().await.expect("migrates");
    store.check().await.expect("is set up");
}

async fn r6_setup_may_be_made_and_checked_by_many_at_once<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let wires = Wires {
        connections: 1,
        ..Wires::default()
    };
    let stores = join_all((0..16).map(|_| store(world, wires))).await;
    let migrated = join_all(stores.iter().map(PostgresStore::migrate)).await;
    for migrated in migrated {
        migrated.expect("migrates");
    }
    let stores = join_all((0..16).map(|_| store(world, wires))).await;
    let checked = join_all(stores.iter().map(PostgresStore::check)).await;
    for checked in checked {
        checked.expect("is set up");
    }
}
