//! How SQLite's tables are made.

use idem_core::{SqliteStore, StoreError};
use idem_tests::{Database as _, Domain as _, Framework, Sqlite, Wires, World, conformance};

conformance![
    on Sqlite:
    o11_migration_alongside_a_writer_that_stays_is_unavailable,
];

async fn o11_migration_alongside_a_writer_that_stays_is_unavailable<F: Framework<Sqlite>>(
    world: &World<F, Sqlite>,
) {
    let pool = world
        .database
        .connect(Wires {
            connections: 1,
            ..Wires::default()
        })
        .await;
    let mut session = pool.acquire().await.expect("a connection");
    let hasty = session.run("PRAGMA busy_timeout = 0").await;
    hasty.expect("a setting");
    drop(session);
    let mut writer = world.observe().await;
    writer.run("BEGIN IMMEDIATE").await.expect("it is free");
    let store = SqliteStore::new(pool.clone());
    let error = store.migrate().await.expect_err("it can't write");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    writer.run("ROLLBACK").await.expect("it is let go");
    store.migrate().await.expect("it can write");
    pool.close().await;
}
