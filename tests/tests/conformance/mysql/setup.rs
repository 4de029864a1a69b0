//! The store's check of its database before the first request.

use std::error::Error;
use std::str::FromStr as _;

use futures_util::future::join_all;
use idem_core::{MySqlStore, StoreError};
use idem_tests::{Database as _, Framework, Mysql, Wires, World, conformance};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};

conformance![
    on Mysql:
    p1_missing_setup_is_named,
    p1_setup_is_refused_where_the_user_may_not_write,
    p1_setup_is_refused_without_a_database,
    i2_table_of_records_is_transactional_whatever_the_default_engine,
    r6_setup_that_was_cut_short_is_done_again,
    p1_missing_setup_is_misconfigured_and_not_unavailable,
    r6_setup_may_be_made_and_checked_by_many_at_once,
];

/// A store as an application makes it, before any migration.
async fn store<F: Framework<Mysql>>(world: &World<F, Mysql>, wires: Wires) -> MySqlStore {
    MySqlStore::new(world.database.connect(wires).await)
}

/// The whole chain of causes, as a log shows it.
fn text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[track_caller]
fn assert_misconfigured(result: Result<(), StoreError>, word: &str) {
    let error = result.expect_err("it is refused");
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    let text = text(&error);
    assert!(text.contains(word), "{word:?} is not in {text:?}");
}

async fn p1_missing_setup_is_named<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let store = store(world, Wires::default()).await;
    assert_misconfigured(store.check().await, "migrate()");
    store.migrate().await.expect("migrates");
    store.check().await.expect("is set up");
    world.run("DELETE FROM idem_migrations").await;
    let another = self::store(world, Wires::default()).await;
    assert_misconfigured(another.check().await, "migrate()");
    world.run("DROP TABLE idem_records").await;
    another.migrate().await.expect("migrates again");
    world.run("DROP TABLE idem_records").await;
    let third = self::store(world, Wires::default()).await;
    assert_misconfigured(third.check().await, "idem_records");
}

/// A user of this test alone.
async fn p1_setup_is_refused_where_the_user_may_not_write<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let ours = store(world, Wires::default()).await;
    ours.migrate().await.expect("migrates");
    let database = world.database.name();
    let user = format!("idem_{:x}", hash(database));
    world.run(format!("CREATE USER '{user}'@'%' ")).await;
    world
        .run(format!("GRANT SELECT ON {database}.* TO '{user}'@'%'"))
        .await;
    let options = MySqlConnectOptions::from_str(&world.database.url()).expect("a URL");
    let options = options.username(&user);
    let pool = MySqlPoolOptions::new().connect_lazy_with(options);
    let theirs = MySqlStore::new(pool.clone());
    let refused = [theirs.check().await, theirs.migrate().await];
    let rights = "SELECT, INSERT, UPDATE, DELETE";
    world
        .run(format!(
            "GRANT {rights} ON {database}.idem_records TO '{user}'@'%'"
        ))
        .await;
    pool.close().await;
    let options = MySqlConnectOptions::from_str(&world.database.url()).expect("a URL");
    let options = options.username(&user);
    let pool = MySqlPoolOptions::new().connect_lazy_with(options);
    let enough = MySqlStore::new(pool.clone()).check().await;
    pool.close().await;
    world.run(format!("DROP USER '{user}'@'%'")).await;
    for refused in refused {
        assert_misconfigured(refused, "denied");
    }
    enough.expect("these rights are enough");
}

fn hash(text: &str) -> u64 {
    let digest = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, digest)
}

async fn p1_setup_is_refused_without_a_database<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let url = world.database.url();
    let server = url.split(world.database.name()).next().unwrap_or_default();
    let options = MySqlConnectOptions::from_str(server.trim_end_matches('/')).expect("a URL");
    let pool = MySqlPoolOptions::new().connect_lazy_with(options);
    let store = MySqlStore::new(pool);
    assert_misconfigured(store.check().await, "no database");
    assert_misconfigured(store.migrate().await, "no database");
}

async fn i2_table_of_records_is_transactional_whatever_the_default_engine<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let wires = Wires {
        opening: "SET SESSION default_storage_engine = MyISAM",
        ..Wires::default()
    };
    let store = store(world, wires).await;
    store.migrate().await.expect("migrates");
    let engine = "SELECT engine FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'idem_records'";
    assert_eq!(world.text(engine).await, "InnoDB");
}

/// DDL commits by itself, so the table can exist without the migration's mark, and the mark without the table.
async fn r6_setup_that_was_cut_short_is_done_again<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let ours = store(world, Wires::default()).await;
    ours.migrate().await.expect("migrates");
    for cut in ["DO 0", "DROP TABLE idem_records"] {
        world
            .run("UPDATE idem_migrations SET success = FALSE")
            .await;
        world.run(cut).await;
        let store = store(world, Wires::default()).await;
        assert_misconfigured(store.check().await, "migrate()");
        store.migrate().await.expect("migrates again");
        assert_eq!(world.records().await, 0);
        assert_eq!(
            world.number("SELECT COUNT(*) FROM idem_migrations").await,
            1
        );
    }
}

async fn p1_missing_setup_is_misconfigured_and_not_unavailable<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let instance = world.instance().await;
    world.run("RENAME TABLE idem_records TO elsewhere").await;
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_problem("misconfigured");
    assert_eq!(world.control.entries(), 0);
    world.run("RENAME TABLE elsewhere TO idem_records").await;
    request.send().await.assert_executed(201);
}

async fn r6_setup_may_be_made_and_checked_by_many_at_once<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let wires = Wires {
        connections: 1,
        ..Wires::default()
    };
    let stores = join_all((0..16).map(|_| store(world, wires))).await;
    for migrated in join_all(stores.iter().map(MySqlStore::migrate)).await {
        migrated.expect("migrates");
    }
    let stores = join_all((0..16).map(|_| store(world, wires))).await;
    for checked in join_all(stores.iter().map(MySqlStore::check)).await {
        checked.expect("is set up");
    }
    assert_eq!(
        world.number("SELECT COUNT(*) FROM idem_migrations").await,
        1
    );
}
