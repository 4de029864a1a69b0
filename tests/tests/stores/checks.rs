//! The check of a store tries a claim and a record.

use idem_core::{Engine, MySqlStore, PostgresStore, SqliteStore, StepStore, StoreError};
use idem_tests::{Database, Domain as _, Driver, Mysql, Postgres, Sqlite, Wires};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{MySqlPool, PgPool};

use super::Fresh;
use super::places::{Placed, text};

#[track_caller]
pub(crate) fn assert_misconfigured(result: Result<(), StoreError>, word: &str) {
    let error = result.expect_err("the check fails");
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    let text = text(&error);
    assert!(text.contains(word), "{word:?} is not in {text:?}");
}

async fn run<D: Placed>(pool: &sqlx::Pool<Driver<D>>, sql: &str) {
    let mut connection = pool.acquire().await.expect("a connection");
    let done = connection.run(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The check of a new store: what another one has learned does not count.
async fn check<D: Placed>(pool: &sqlx::Pool<Driver<D>>) -> Result<(), StoreError> {
    D::check(&D::new(pool.clone())).await
}

/// Sessions of a role without rights: a built-in one, so that the test leaves no role in the cluster.
async fn role(fresh: &Fresh<Postgres>) -> PgPool {
    let all = "GRANT USAGE ON SCHEMA idem TO pg_signal_backend; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA idem TO pg_signal_backend";
    run::<Postgres>(&fresh.pool, all).await;
    let wires = Wires {
        session: |options| options.options([("role", "pg_signal_backend")]),
        ..Wires::default()
    };
    fresh.database.connect(wires).await
}

#[tokio::test]
async fn p5_row_level_security_on_the_records_is_found() {
    let fresh = Fresh::<Postgres>::create().await;
    let theirs = role(&fresh).await;
    check::<Postgres>(&theirs).await.expect("is set up");
    let secured = "ALTER TABLE idem.records ENABLE ROW LEVEL SECURITY";
    run::<Postgres>(&fresh.pool, secured).await;
    assert_misconfigured(check::<Postgres>(&theirs).await, "row-level security");
    let policies = [
        // A record that can be written, and not read again.
        "CREATE POLICY one ON idem.records FOR INSERT WITH CHECK (true)",
        // A record that can be read, and not replaced.
        "CREATE POLICY two ON idem.records FOR SELECT USING (true)",
    ];
    for policy in policies {
        run::<Postgres>(&fresh.pool, policy).await;
        let refused = check::<Postgres>(&theirs).await;
        let error = refused.expect_err("the check fails");
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    }
    let all = "CREATE POLICY three ON idem.records USING (true)";
    run::<Postgres>(&fresh.pool, all).await;
    check::<Postgres>(&theirs)
        .await
        .expect("all rows may be used");
    theirs.close().await;
    fresh.remove().await;
}

#[tokio::test]
async fn p5_routine_that_may_not_be_executed_is_found() {
    let fresh = Fresh::<Postgres>::create().await;
    let theirs = role(&fresh).await;
    let revoke = async |routine: &str| {
        let revoke = format!("REVOKE EXECUTE ON {routine} FROM PUBLIC");
        run::<Postgres>(&fresh.pool, &revoke).await;
    };
    revoke("PROCEDURE idem.record_first").await;
    check::<Postgres>(&theirs).await.expect("it is not used");
    let fused = PostgresStore::new(theirs.clone()).with_record_in_commit();
    assert_misconfigured(fused.check().await, "procedure record_first");
    // Also if the store has been checked before.
    let later = PostgresStore::new(theirs.clone());
    later.check().await.expect("it is not used");
    let later = later.with_record_in_commit();
    assert_misconfigured(later.check().await, "procedure record_first");
    revoke("PROCEDURE idem.claim_first").await;
    assert_misconfigured(check::<Postgres>(&theirs).await, "procedure claim_first");
    theirs.close().await;
    fresh.remove().await;
}

#[tokio::test]
async fn p5_trigger_that_suppresses_or_changes_records_is_found_on_postgresql() {
    let fresh = Fresh::<Postgres>::create().await;
    let triggers = [
        ("INSERT", "RETURN NULL", "suppresses"),
        ("UPDATE", "RETURN NULL", "replaced"),
        (
            "INSERT",
            "NEW.fingerprint = '\\x00'; RETURN NEW",
            "fingerprint",
        ),
        ("UPDATE", "NEW.status = 418; RETURN NEW", "checksum"),
        ("UPDATE", "NEW.attempts = 7; RETURN NEW", "other values"),
        ("INSERT", "RAISE 'never'; RETURN NULL", "never"),
    ];
    for (event, body, word) in triggers {
        let create = format!(
            "CREATE FUNCTION meddles() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {}; END'; \
             CREATE TRIGGER meddles BEFORE {event} ON idem.records FOR EACH ROW EXECUTE FUNCTION meddles()",
            body.replace('\'', "''")
        );
        run::<Postgres>(&fresh.pool, &create).await;
        assert_misconfigured(check::<Postgres>(&fresh.pool).await, word);
        run::<Postgres>(&fresh.pool, "DROP FUNCTION meddles CASCADE").await;
    }
    let ruled = "CREATE RULE ruled AS ON INSERT TO idem.records DO INSTEAD NOTHING";
    run::<Postgres>(&fresh.pool, ruled).await;
    assert_misconfigured(check::<Postgres>(&fresh.pool).await, "RETURNING");
    run::<Postgres>(&fresh.pool, "DROP RULE ruled ON idem.records").await;
    check::<Postgres>(&fresh.pool).await.expect("is set up");
    assert_eq!(records::<Postgres>(&fresh.pool).await, 0);
    fresh.remove().await;
}

async fn records<D: Placed>(pool: &sqlx::Pool<Driver<D>>) -> i64 {
    let mut connection = pool.acquire().await.expect("a connection");
    let count = format!("SELECT count(*) FROM {}", D::RECORDS);
    connection.number(&count).await.expect("a number")
}

#[tokio::test]
async fn p5_trigger_that_suppresses_records_is_found_on_sqlite() {
    let fresh = Fresh::<Sqlite>::create().await;
    for (name, event, action, word) in [
        ("one", "INSERT", "RAISE(IGNORE)", "suppresses"),
        ("two", "UPDATE", "RAISE(IGNORE)", "replaced"),
        ("three", "INSERT", "RAISE(ABORT, 'never')", "never"),
    ] {
        let create = format!(
            "CREATE TRIGGER {name} BEFORE {event} ON idem_records BEGIN SELECT {action}; END"
        );
        run::<Sqlite>(&fresh.pool, &create).await;
        assert_misconfigured(check::<Sqlite>(&fresh.pool).await, word);
        run::<Sqlite>(&fresh.pool, &format!("DROP TRIGGER {name}")).await;
    }
    check::<Sqlite>(&fresh.pool).await.expect("is set up");
    assert_eq!(records::<Sqlite>(&fresh.pool).await, 0);
    fresh.remove().await;
}

#[tokio::test]
async fn p5_missing_table_and_read_only_file_are_found_on_sqlite() {
    let fresh = Fresh::<Sqlite>::create().await;
    let options: SqliteConnectOptions = fresh.database.url().parse().expect("a URL of SQLite");
    let pool = SqlitePoolOptions::new()
        .connect_with(options.read_only(true))
        .await;
    let pool = pool.expect("the file can be opened");
    assert_misconfigured(check::<Sqlite>(&pool).await, "readonly");
    let error = SqliteStore::new(pool.clone()).migrate().await;
    error.expect_err("the file can't be written");
    pool.close().await;
    run::<Sqlite>(&fresh.pool, "DROP TABLE idem_records").await;
    assert_misconfigured(check::<Sqlite>(&fresh.pool).await, "no such table");
    run::<Sqlite>(&fresh.pool, "DELETE FROM idem_migrations").await;
    assert_misconfigured(check::<Sqlite>(&fresh.pool).await, "migrate()");
    fresh.remove().await;
}

#[tokio::test]
async fn p5_trigger_that_changes_or_refuses_records_is_found_on_mysql() {
    let fresh = Fresh::<Mysql>::create().await;
    for (event, action, word) in [
        ("INSERT", "SET NEW.state = 3", "written"),
        ("UPDATE", "SET NEW.attempts = 7", "other values"),
        (
            "UPDATE",
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'never'",
            "never",
        ),
    ] {
        let create =
            format!("CREATE TRIGGER meddles BEFORE {event} ON idem_records FOR EACH ROW {action}");
        run::<Mysql>(&fresh.pool, &create).await;
        assert_misconfigured(check::<Mysql>(&fresh.pool).await, word);
        run::<Mysql>(&fresh.pool, "DROP TRIGGER meddles").await;
    }
    check::<Mysql>(&fresh.pool).await.expect("is set up");
    assert_eq!(records::<Mysql>(&fresh.pool).await, 0);
    let settings = "SELECT CAST(@@SESSION.autocommit + @@SESSION.wait_timeout AS SIGNED)";
    let mut connection = fresh.pool.acquire().await.expect("a connection");
    assert_eq!(connection.number(settings).await.expect("a number"), 28801);
    drop(connection);
    fresh.remove().await;
}

/// Sessions of a user without the right to write on a server that is read-only.
async fn user(fresh: &Fresh<Mysql>, user: &str) -> MySqlPool {
    let database = fresh.database.name();
    let create = format!(
        "CREATE USER '{user}'@'%'; GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO '{user}'@'%'"
    );
    run::<Mysql>(&fresh.pool, &create).await;
    let options: MySqlConnectOptions = fresh.database.url().parse().expect("a URL");
    MySqlPoolOptions::new().connect_lazy_with(options.username(user))
}

/// A replica during a fail-over is read-only too, so a retry may succeed. All other tests here use a user
/// who may write all the same.
#[tokio::test]
async fn p5_read_only_server_is_found_and_unavailable_on_mysql() {
    let fresh = Fresh::<Mysql>::create().await;
    let name = format!("idem_read_only_{}", std::process::id());
    let theirs = user(&fresh, &name).await;
    let migrated = MySqlStore::new(theirs.clone());
    check::<Mysql>(&theirs).await.expect("is set up");
    run::<Mysql>(&fresh.pool, "SET GLOBAL read_only = ON").await;
    let refused = check::<Mysql>(&theirs).await;
    run::<Mysql>(&fresh.pool, "SET GLOBAL read_only = OFF").await;
    let again = migrated.check().await;
    theirs.close().await;
    run::<Mysql>(&fresh.pool, &format!("DROP USER '{name}'@'%'")).await;
    let error = refused.expect_err("the server is read-only");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(text(&error).contains("read-only"), "{}", text(&error));
    again.expect("the server is the primary now");
    fresh.remove().await;
}

async fn p5_steps<D: Database>() {
    let fresh = Fresh::<D>::create().await;
    let steps = StepStore::<D::Connection>::new(fresh.store.clone());
    assert_misconfigured(steps.check().await, "steps");
    steps.migrate().await.expect("migrates");
    steps.check().await.expect("a whole setup");
    let runs = Engine::new(steps.clone())
        .unfinished_runs(10)
        .await
        .expect("the runs");
    assert!(runs.is_empty(), "{runs:?}");
    let mut connection = fresh.pool.acquire().await.expect("a connection");
    let table = D::RECORDS.replace("records", "steps");
    let dropped = connection.run(&format!("DROP TABLE {table}")).await;
    dropped.expect("drops");
    drop(connection);
    assert_misconfigured(steps.check().await, "steps");
    fresh.remove().await;
}

#[tokio::test]
async fn p5_check_of_steps_finds_missing_tables() {
    p5_steps::<Sqlite>().await;
    p5_steps::<Postgres>().await;
    p5_steps::<Mysql>().await;
}
