//! What one store alone can do wrong, without an engine.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use idem_core::adapter::ClaimGuard;
use idem_core::adapter::expansion::connection;
use idem_core::store::{Claim as _, Opening, ScopeDigest, SettleError, Settlement};
use idem_core::{MySqlStore, Open, PostgresStore, SqliteStore, Store, StoreError, TimeLimit};
use idem_tests::{Database, Domain, Driver, Mysql, Postgres, Recorder, Served as _, Sqlite, Wires};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Pool, SqliteConnection, SqlitePool};
use tokio::time::{sleep, timeout};

use super::Fresh;

const OPENING: Opening = Opening {
    isolation: None,
    deadline: Duration::from_secs(30),
    lease: None,
};

async fn settle<S: Store>(
    store: &S,
    claim: S::Claim,
    keep_writes: bool,
) -> Result<(), SettleError> {
    let settlement = Settlement {
        keep_writes,
        record: None,
        written: &OnceLock::new(),
    };
    store.settle(claim, settlement).await
}

async fn statement_timeout(store: &PostgresStore) -> String {
    let mut claim = store.begin(OPENING).await.expect("begins");
    let shown = claim.connection().text("SHOW statement_timeout").await;
    settle(store, claim, false).await.expect("settles");
    shown.expect("a setting")
}

#[tokio::test]
async fn o13_setting_after_the_migration_holds_for_its_store_alone() {
    let fresh = Fresh::<Postgres>::create().await;
    let store = &fresh.store;
    let clone = store.clone();
    let fixed = |milliseconds| TimeLimit::Fixed(Duration::from_millis(milliseconds));
    let limited = clone.with_time_limit(fixed(1234));
    assert_eq!(statement_timeout(&limited).await, "1234ms");
    assert_eq!(statement_timeout(store).await, "31s");
    let limited = limited.with_time_limit(fixed(4321));
    assert_eq!(statement_timeout(&limited).await, "4321ms");
    let unlimited = limited.clone().with_time_limit(TimeLimit::Session);
    assert_eq!(statement_timeout(&unlimited).await, "0");
    fresh.remove().await;
}

#[tokio::test]
async fn o14_transaction_that_is_not_kept_is_rolled_back_and_never_released() {
    let fresh = Fresh::<Postgres>::create().await;
    let recorder = Recorder::to(fresh.database.address()).await;
    let wires = Wires {
        connections: 1,
        through: Some(recorder.address),
        ..Wires::default()
    };
    let store = PostgresStore::new(fresh.database.connect(wires).await);
    store.check().await.expect("is set up");
    recorder.take();
    let claim = store.begin(OPENING).await.expect("begins");
    let (mut guard, slot) = ClaimGuard::new(claim);
    let connection = connection::<_, sqlx::Transaction<'_, sqlx::Postgres>>(&mut guard);
    let opened = <sqlx::Transaction<'_, sqlx::Postgres> as Open<'_>>::open(connection).await;
    let mut opened = opened.expect("opens");
    opened.insert("acme", "a").await.expect("inserts");
    let wrong = opened.run("INSERT INTO no_such_table VALUES (1)").await;
    wrong.expect_err("there is no such table");
    let closed = <sqlx::Transaction<'_, sqlx::Postgres> as Open<'_>>::close(opened, false).await;
    closed.expect("closes after an SQL error");
    drop(guard);
    let claim = slot.take().expect("comes back");
    settle(&store, claim, false).await.expect("settles");
    let sent = recorder.take();
    let mut messages = sent.iter().flat_map(|exchange| &exchange.messages);
    assert!(!messages.any(|message| message.has(b"RELEASE")));
    fresh.remove().await;
}

/// Each failed attempt ends with its connection, which takes a moment to close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_next_writer_of_sqlite_finds_the_lock_free() {
    let fresh = Fresh::<Sqlite>::create().await;
    let store = SqliteStore::new(impatient(&fresh.database, 0).await);
    for number in 0..30 {
        let mut claim = store.begin(OPENING).await.expect("begins");
        let connection = claim.connection();
        connection.insert("acme", "a").await.expect("inserts");
        let doomed = connection.run("INSERT INTO children (name) VALUES ('orphan')");
        doomed.await.expect("is refused at the commit only");
        let next = tokio::spawn({
            let store = store.clone();
            async move { store.begin(OPENING).await }
        });
        sleep(Duration::from_millis(2)).await;
        if number % 2 == 0 {
            let settled = settle(&store, claim, true).await;
            assert!(
                matches!(settled, Err(SettleError::Refused(_))),
                "{settled:?}"
            );
        } else {
            drop(claim);
        }
        let next = next.await.expect("ends").expect("the lock is free");
        settle(&store, next, true).await.expect("settles");
    }
    fresh.remove().await;
}

/// A pool of connections that wait so many milliseconds for the write lock.
async fn impatient(database: &Sqlite, milliseconds: u64) -> SqlitePool {
    let options: SqliteConnectOptions = database.url().parse().expect("a URL of SQLite");
    let options = options
        .foreign_keys(true)
        .busy_timeout(Duration::from_millis(milliseconds));
    let pool = SqlitePoolOptions::new().connect_with(options).await;
    pool.expect("the file can be opened")
}

#[tokio::test]
async fn o11_migration_whose_session_ends_is_unavailable() {
    let database = <Postgres>::create().await;
    let pool = database.connect(Wires::default()).await;
    let store = PostgresStore::new(pool.clone());
    let mut blocker = pool.acquire().await.expect("a connection");
    let blocks = blocker.run("BEGIN; CREATE SCHEMA idem").await;
    blocks.expect("creates");
    let migration = tokio::spawn({
        let store = store.clone();
        async move { store.migrate().await }
    });
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while blocker.number(terminate).await.expect("a number") == 0 {
        // Within a transaction the view is read once.
        blocker
            .run("SELECT pg_stat_clear_snapshot()")
            .await
            .expect("forgets");
        sleep(Duration::from_millis(5)).await;
    }
    let error = migration
        .await
        .expect("ends")
        .expect_err("its session is gone");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    blocker.run("ROLLBACK").await.expect("ends");
    store.migrate().await.expect("migrates");
    drop(blocker);
    pool.close().await;
    database.remove().await;
}

#[tokio::test]
async fn o11_migration_of_a_full_database_is_unavailable() {
    let database = Sqlite::create().await;
    let wires = Wires {
        connections: 1,
        ..Wires::default()
    };
    let pool = database.connect(wires).await;
    let limit = async |pages: u32| {
        let mut connection = pool.acquire().await.expect("a connection");
        let limited = connection
            .run(&format!("PRAGMA max_page_count = {pages}"))
            .await;
        limited.expect("a setting");
    };
    let store = SqliteStore::new(pool.clone());
    limit(1).await;
    let error = store.migrate().await.expect_err("there is no room");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    limit(1_000_000).await;
    store.migrate().await.expect("migrates");
    pool.close().await;
    database.remove().await;
}

#[tokio::test]
async fn o11_migration_without_its_lock_is_unavailable() {
    let fresh = Fresh::<Mysql>::create().await;
    let mut holder = fresh.pool.acquire().await.expect("a connection");
    let lock = "SELECT CAST(GET_LOCK(CONCAT('idem ', SHA2(DATABASE(), 224)), 0) AS SIGNED)";
    assert_eq!(holder.number(lock).await.expect("locks"), 1);
    let store = MySqlStore::new(fresh.pool.clone());
    let error = store
        .migrate()
        .await
        .expect_err("another session holds the lock");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    holder.run("DO RELEASE_ALL_LOCKS()").await.expect("unlocks");
    store.migrate().await.expect("migrates");
    drop(holder);
    fresh.remove().await;
}

/// Three records of the scope `acme`, which nobody can read.
async fn three_records<D: Database>(pool: &Pool<Driver<D>>) {
    let mut connection = pool.acquire().await.expect("a connection");
    let scope = ScopeDigest::new(Some("acme"));
    for number in ["01", "02", "03"] {
        let identity = D::bytes(&format!("{scope:?}{:030}{number}", 0));
        let nothing = D::bytes("");
        let insert = format!(
            "INSERT INTO {} (identity, operation, state, attempts, status, fingerprint, settled_at, expires_at) \
             VALUES ({identity}, 'o', 1, 1, 200, {nothing}, {now}, {now})",
            D::RECORDS,
            now = D::NOW
        );
        connection.run(&insert).await.expect("inserts");
    }
}

async fn records<D: Database>(pool: &Pool<Driver<D>>) -> i64 {
    let mut connection = pool.acquire().await.expect("a connection");
    let count = format!("SELECT count(*) FROM {}", D::RECORDS);
    connection.number(&count).await.expect("a number")
}

#[tokio::test]
async fn e4_erasure_waits_for_a_row_that_is_locked_on_postgresql() {
    let fresh = Fresh::<Postgres>::create().await;
    three_records::<Postgres>(&fresh.pool).await;
    let mut holder = fresh.pool.acquire().await.expect("a connection");
    let lock = "BEGIN; SELECT FROM idem.records LIMIT 1 FOR UPDATE";
    holder.run(lock).await.expect("locks");

    let wires = Wires {
        session: |options| options.options([("lock_timeout", "200ms")]),
        ..Wires::default()
    };
    let hasty = PostgresStore::new(fresh.database.connect(wires).await);
    let error = hasty.erase(&ScopeDigest::new(Some("acme"))).await;
    let error = error.expect_err("the row is locked");
    assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
    assert_eq!(records::<Postgres>(&fresh.pool).await, 3);

    let store = fresh.store.clone();
    let erasure = async move { store.erase(&ScopeDigest::new(Some("acme"))).await };
    let mut erasure = tokio::spawn(erasure);
    let early = timeout(Duration::from_secs(1), &mut erasure).await;
    assert!(early.is_err(), "the row is still there");
    holder.run("ROLLBACK").await.expect("ends");
    assert_eq!(erasure.await.expect("ends").expect("erases"), 3);
    assert_eq!(records::<Postgres>(&fresh.pool).await, 0);
    drop(holder);
    fresh.remove().await;
}

#[tokio::test]
async fn e4_erasure_that_leaves_a_row_that_is_locked_is_incomplete_on_mysql() {
    let fresh = Fresh::<Mysql>::create().await;
    three_records::<Mysql>(&fresh.pool).await;
    let mut holder = fresh.pool.acquire().await.expect("a connection");
    let lock = "BEGIN; SELECT * FROM idem_records LIMIT 1 FOR UPDATE";
    holder.run(lock).await.expect("locks");

    let scope = ScopeDigest::new(Some("acme"));
    let start = Instant::now();
    let error = fresh.store.erase(&scope).await;
    let error = error.expect_err("the row is locked");
    let StoreError::Incomplete { erased, left } = error else {
        panic!("{error:?}");
    };
    assert_eq!((erased, left), (2, 1));
    assert_eq!(records::<Mysql>(&fresh.pool).await, 1);
    assert!(start.elapsed() < Duration::from_secs(10));

    let store = fresh.store.clone();
    let erasure = tokio::spawn(async move { store.erase(&scope).await });
    sleep(Duration::from_secs(1)).await;
    holder.run("ROLLBACK").await.expect("ends");
    assert_eq!(erasure.await.expect("ends").expect("erases"), 1);
    assert_eq!(records::<Mysql>(&fresh.pool).await, 0);
    drop(holder);
    fresh.remove().await;
}

#[tokio::test]
async fn e4_erasure_alongside_a_writer_that_stays_is_unavailable_on_sqlite() {
    let fresh = Fresh::<Sqlite>::create().await;
    three_records::<Sqlite>(&fresh.pool).await;
    let mut holder = fresh.pool.acquire().await.expect("a connection");
    holder.run("BEGIN IMMEDIATE").await.expect("locks");
    let store = SqliteStore::new(impatient(&fresh.database, 300).await);
    let scope = ScopeDigest::new(Some("acme"));
    let error = store
        .erase(&scope)
        .await
        .expect_err("another session writes");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    holder.run("ROLLBACK").await.expect("ends");
    assert_eq!(records::<Sqlite>(&fresh.pool).await, 3);
    assert_eq!(store.erase(&scope).await.expect("erases"), 3);
    drop(holder);
    fresh.remove().await;
}

#[tokio::test]
async fn e4_erasure_that_a_trigger_suppresses_is_incomplete() {
    const KEEP: &str = "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER keep BEFORE DELETE ON idem.records FOR EACH ROW \
         WHEN (right(encode(OLD.identity, 'hex'), 1) = '2') EXECUTE FUNCTION keep()";
    async fn two_of_three<D: Database>(trigger: &str) {
        let fresh = Fresh::<D>::create().await;
        three_records::<D>(&fresh.pool).await;
        let mut connection = fresh.pool.acquire().await.expect("a connection");
        connection.run(trigger).await.expect("a trigger");
        drop(connection);
        let error = fresh.store.erase(&ScopeDigest::new(Some("acme"))).await;
        let error = error.expect_err("a record is left");
        assert!(
            matches!(error, StoreError::Incomplete { erased: 2, left: 1 }),
            "{error:?}"
        );
        fresh.remove().await;
    }
    two_of_three::<Postgres>(KEEP).await;
    two_of_three::<Sqlite>(
        "CREATE TRIGGER keep BEFORE DELETE ON idem_records WHEN hex(OLD.identity) LIKE '%2' \
         BEGIN SELECT RAISE(IGNORE); END",
    )
    .await;
}

/// Calls of the application's own progress handler, which the pool installs again after each attempt.
#[tokio::test]
async fn i6_progress_handler_of_the_application_comes_back_with_the_connection() {
    async fn watch(connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(100, || {
            CALLS.fetch_add(1, Ordering::Relaxed);
            true
        });
        Ok(())
    }
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    const LONG: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         SELECT count(*) FROM n";

    let fresh = Fresh::<Sqlite>::create().await;
    let options: SqliteConnectOptions = fresh.database.url().parse().expect("a URL of SQLite");
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| Box::pin(watch(connection)))
        .after_release(|connection, _| {
            Box::pin(async move { watch(connection).await.map(|()| true) })
        })
        .connect_with(options)
        .await
        .expect("the file can be opened");
    let store = SqliteStore::new(pool.clone());
    store.check().await.expect("is set up");
    for _ in 0..2 {
        let before = CALLS.load(Ordering::Relaxed);
        let mut connection = pool.acquire().await.expect("a connection");
        assert_eq!(connection.number(LONG).await.expect("a number"), 20000);
        assert!(CALLS.load(Ordering::Relaxed) > before + 100);
        drop(connection);
        let mut claim = store.begin(OPENING).await.expect("begins");
        let before = CALLS.load(Ordering::Relaxed);
        let counted = claim.connection().number(LONG).await;
        assert_eq!(counted.expect("a number"), 20000);
        assert_eq!(CALLS.load(Ordering::Relaxed), before);
        settle(&store, claim, true).await.expect("settles");
    }
    pool.close().await;
    fresh.remove().await;
}
