//! A place of one's own in a database, and its versions.

use std::error::Error as _;
use std::time::Duration;

use idem_core::store::{
    ClaimRequest, Claimed, Draft, Fingerprint, Identity, Opening, ScopeDigest, Settlement, State,
};
use idem_core::{
    ConfigError, IdempotencyKey, MySqlStore, Operation, PostgresStore, SqliteStore, Store,
    StoreError,
};
use idem_tests::{Database, Domain as _, Driver, Mysql, Postgres, Sqlite};
use sqlx::Pool;
use tokio::time::timeout;

use super::Fresh;

/// A store that can be put elsewhere.
pub(super) trait Placed: Database {
    /// The tables of a store in the place `billing`.
    const ELSEWHERE: [&'static str; 2];

    /// The bookkeeping of the default place.
    const MIGRATIONS: &'static str;

    /// Takes the lock for migrations of the default place, until the session ends.
    const LOCK: &'static str;

    fn new(pool: Pool<Driver<Self>>) -> Self::Store;

    fn elsewhere(store: Self::Store) -> Self::Store;

    async fn migrate(store: &Self::Store) -> Result<(), StoreError>;

    async fn check(store: &Self::Store) -> Result<(), StoreError>;
}

macro_rules! placed {
    ($store:ident, $elsewhere:ident, $place:literal) => {
        fn new(pool: Pool<Driver<Self>>) -> $store {
            $store::new(pool)
        }

        fn elsewhere(store: $store) -> $store {
            store.$elsewhere($place).expect("a name")
        }

        async fn migrate(store: &$store) -> Result<(), StoreError> {
            store.migrate().await
        }

        async fn check(store: &$store) -> Result<(), StoreError> {
            store.check().await
        }
    };
}

impl Placed for Postgres {
    const ELSEWHERE: [&'static str; 2] = ["\"billing\".records", "\"billing\".migrations"];
    const MIGRATIONS: &'static str = "idem.migrations";
    const LOCK: &'static str = "SELECT pg_advisory_lock(7593137320331)";
    placed!(PostgresStore, try_with_schema, "billing");
}

impl Placed for Mysql {
    const ELSEWHERE: [&'static str; 2] = ["billing_idem_records", "billing_idem_migrations"];
    const MIGRATIONS: &'static str = "idem_migrations";
    const LOCK: &'static str = "DO GET_LOCK(CONCAT('idem ', SHA2(DATABASE(), 224)), 0)";
    placed!(MySqlStore, try_with_table_prefix, "billing_");
}

impl Placed for Sqlite {
    const ELSEWHERE: [&'static str; 2] = ["billing_idem_records", "billing_idem_migrations"];
    const MIGRATIONS: &'static str = "idem_migrations";
    const LOCK: &'static str = "SELECT 1";
    placed!(SqliteStore, try_with_table_prefix, "billing_");
}

const OPENING: Opening = Opening {
    isolation: None,
    deadline: Duration::from_secs(30),
    lease: None,
};

async fn claim<S: Store>(store: &S, identity: &Identity, likely_taken: bool) -> Claimed<S::Claim> {
    let request = ClaimRequest {
        identity,
        operation: &Operation::named("o"),
        fingerprint: &fingerprint(),
        attempt: 1,
        ttl: Duration::from_hours(1),
        opening: OPENING,
        seen: None,
        likely_taken,
    };
    let claimed = timeout(Duration::from_secs(20), store.claim(request)).await;
    claimed
        .expect("it does not wait")
        .expect("the store answers")
}

fn fingerprint() -> Fingerprint {
    Fingerprint::from_bytes(&[1; 65]).expect("a fingerprint")
}

async fn record<S: Store>(store: &S, identity: &Identity, claimed: Claimed<S::Claim>) {
    let Claimed::Won(claim) = claimed else {
        panic!("the identity is not free");
    };
    let draft = Draft {
        identity,
        operation: &Operation::named("o"),
        state: State::FailedRetriable,
        attempts: 1,
        status: http::StatusCode::OK,
        fingerprint: &fingerprint(),
        response: None,
        ttl: Duration::from_hours(1),
        replaces: None,
    };
    let settlement = Settlement {
        keep_writes: true,
        record: Some(draft),
        written: &std::sync::OnceLock::new(),
    };
    store.settle(claim, settlement).await.expect("settles");
}

fn identity(key: &str) -> Identity {
    let key = IdempotencyKey::parse(key.as_bytes()).expect("a key");
    Identity::new(Some("acme"), &Operation::named("o"), &key)
}

async fn two_places_share_nothing<D: Placed>() {
    let fresh = Fresh::<D>::create().await;
    let one = &fresh.store;
    let other = D::elsewhere(D::new(fresh.pool.clone()));
    let missing = D::check(&other).await.expect_err("it is not migrated");
    assert!(
        matches!(missing, StoreError::Misconfigured(_)),
        "{missing:?}"
    );
    let mut holder = fresh.pool.acquire().await.expect("a connection");
    holder.run(D::LOCK).await.expect("locks");
    let migrated = timeout(Duration::from_secs(5), D::migrate(&other)).await;
    migrated.expect("another lock").expect("migrates");
    drop(holder);

    for (key, likely_taken) in [("k", false), ("l", true)] {
        let identity = identity(key);
        let mine = claim(one, &identity, likely_taken).await;
        if D::ONE_WRITER {
            record(one, &identity, mine).await;
            let theirs = claim(&other, &identity, likely_taken).await;
            record(&other, &identity, theirs).await;
        } else {
            let theirs = claim(&other, &identity, likely_taken).await;
            record(&other, &identity, theirs).await;
            record(one, &identity, mine).await;
        }
    }
    let [records, migrations] = D::ELSEWHERE;
    let mut connection = fresh.pool.acquire().await.expect("a connection");
    let mut count = async |table: &str| {
        let count = format!("SELECT count(*) FROM {table}");
        connection.number(&count).await.expect("a number")
    };
    assert_eq!((count(D::RECORDS).await, count(records).await), (2, 2));
    assert!(count(migrations).await > 0);
    let scope = ScopeDigest::new(Some("acme"));
    assert_eq!(other.erase(&scope).await.expect("erases"), 2);
    assert_eq!((count(D::RECORDS).await, count(records).await), (2, 0));
    assert!(one.find(&identity("k")).await.expect("reads").is_some());
    assert!(other.find(&identity("k")).await.expect("reads").is_none());
    drop(connection);
    fresh.remove().await;
}

#[tokio::test]
async fn s6_two_schemas_of_postgresql_share_nothing() {
    two_places_share_nothing::<Postgres>().await;
}

#[tokio::test]
async fn s6_two_prefixes_of_mysql_share_nothing() {
    two_places_share_nothing::<Mysql>().await;
}

#[tokio::test]
async fn s6_two_prefixes_of_sqlite_share_nothing() {
    two_places_share_nothing::<Sqlite>().await;
}

/// The names in the migrations' scripts are all of the place: without the default one, they work too.
#[tokio::test]
async fn s6_schema_needs_no_other() {
    let database = <Postgres>::create().await;
    let pool = database.connect(idem_tests::Wires::default()).await;
    let store = PostgresStore::new(pool.clone()).with_record_in_commit();
    let store = store.try_with_schema("user").expect("a name");
    store.migrate().await.expect("migrates");
    let mut connection = pool.acquire().await.expect("a connection");
    let others = "SELECT count(*) FROM pg_namespace WHERE nspname = 'idem'";
    assert_eq!(connection.number(others).await.expect("a number"), 0);
    let routines = "SELECT count(*) FROM pg_proc WHERE pronamespace = '\"user\"'::regnamespace";
    assert_eq!(connection.number(routines).await.expect("a number"), 5);
    let claimed = claim(&store, &identity("k"), false).await;
    record(&store, &identity("k"), claimed).await;
    drop(connection);
    pool.close().await;
    database.remove().await;
}

/// The messages of a release that knows two migrations, beside this one.
#[tokio::test]
async fn r9_claims_of_two_releases_exclude_each_other_on_postgresql() {
    let fresh = Fresh::<Postgres>::create().await;
    let mut earlier = fresh.pool.acquire().await.expect("a connection");
    let (first, second) = (identity("first"), identity("second"));
    let hex = |identity: &Identity| format!("'\\x{identity:?}'::bytea");
    let held = "SELECT classid::int8 << 32 | objid::int8 FROM pg_locks \
         WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let lock_of = async |identity: &Identity, earlier: &mut sqlx::PgConnection| {
        let claimed = claim(&fresh.store, identity, false).await;
        (earlier.number(held).await.expect("one lock"), claimed)
    };
    let call = |identity: &Identity, lock: i64| {
        let claim = format!("CALL idem.claim({}, {lock}, NULL, NULL)", hex(identity));
        let begin = "BEGIN READ WRITE; SET LOCAL idem.transaction = 'claimed'";
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{begin}; {claim}")))
    };
    let code = |error: sqlx::Error| {
        error
            .as_database_error()
            .and_then(|error| Some(error.code()?.into_owned()))
    };

    // The earlier release meets a claim and a record of this one.
    let (lock, claimed) = lock_of(&first, &mut earlier).await;
    let refused = call(&first, lock).execute(&mut *earlier).await;
    assert_eq!(
        code(refused.expect_err("it is held")).as_deref(),
        Some("ID001")
    );
    earlier.run("ROLLBACK").await.expect("rolls back");
    record(&fresh.store, &first, claimed).await;
    let refused = call(&first, lock).execute(&mut *earlier).await;
    assert_eq!(
        code(refused.expect_err("it is recorded")).as_deref(),
        Some("ID002")
    );
    earlier.run("ROLLBACK").await.expect("rolls back");

    // This release meets those of the earlier one.
    let (lock, claimed) = lock_of(&second, &mut earlier).await;
    let Claimed::Won(claimed) = claimed else {
        panic!("it is free");
    };
    let undone = Settlement {
        keep_writes: false,
        record: None,
        written: &std::sync::OnceLock::new(),
    };
    fresh.store.settle(claimed, undone).await.expect("undoes");
    let won = call(&second, lock).execute(&mut *earlier).await;
    won.expect("it is free");
    for likely_taken in [false, true] {
        let claimed = claim(&fresh.store, &second, likely_taken).await;
        assert!(matches!(claimed, Claimed::InFlight));
    }
    let record = format!(
        "CALL idem.record({}, 'o', 3::int2, 1, 500::int2, {}, NULL, 3600000000, true, NULL, NULL); COMMIT",
        hex(&second),
        format_args!("decode('{}', 'hex')", "01".repeat(65)),
    );
    let recorded = sqlx::raw_sql(sqlx::AssertSqlSafe(record));
    recorded.execute(&mut *earlier).await.expect("records");
    for likely_taken in [false, true] {
        let claimed = claim(&fresh.store, &second, likely_taken).await;
        assert!(matches!(claimed, Claimed::Changed(Some(_))));
    }
    drop(earlier);
    fresh.remove().await;
}

#[tokio::test]
async fn s6_name_that_needs_quotes_is_refused() {
    let pool = SqliteStore::in_memory()
        .await
        .expect("opens")
        .pool()
        .clone();
    let refused = SqliteStore::new(pool).try_with_table_prefix("Billing ");
    let refused = refused.expect_err("it needs quotes");
    assert_eq!(refused, ConfigError::TablePrefix("Billing ".to_owned()));
    assert!(refused.to_string().contains("a-z"), "{refused}");
}

/// The whole chain of causes, as a log shows it.
pub(super) fn text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Migrations of later releases: one that only adds, and one that this release can't work with.
async fn release_can_be_rolled_back<D: Placed>() {
    let fresh = Fresh::<D>::create().await;
    let mut connection = fresh.pool.acquire().await.expect("a connection");
    let migrations = D::MIGRATIONS;
    let add = format!(
        "INSERT INTO {migrations} (version, description, installed_on, success, checksum, execution_time) \
         SELECT 999, 'later', installed_on, success, checksum, execution_time FROM {migrations} \
         WHERE version = 1"
    );
    connection.run(&add).await.expect("inserts");
    let older = D::new(fresh.pool.clone());
    D::migrate(&older).await.expect("works with what is added");
    let older = D::new(fresh.pool.clone());
    D::check(&older).await.expect("works with what is added");
    let claimed = claim(&older, &identity("k"), false).await;
    record(&older, &identity("k"), claimed).await;

    let breaks = format!("UPDATE {migrations} SET version = 1000 WHERE version = 999");
    connection.run(&breaks).await.expect("updates");
    drop(connection);
    let older = D::new(fresh.pool.clone());
    let refused = [D::check(&older).await, D::migrate(&older).await];
    for refused in refused {
        let error = refused.expect_err("it can't work with this");
        assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
        let text = text(&error);
        for part in ["has version 1000", "later release", "this one knows"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
    // A request is the first check of a release that makes none.
    let begun = older.begin(OPENING).await.err().expect("it is refused");
    assert!(matches!(begun, StoreError::Misconfigured(_)), "{begun:?}");
    fresh.remove().await;
}

#[tokio::test]
async fn r9_release_can_be_rolled_back_on_postgresql() {
    release_can_be_rolled_back::<Postgres>().await;
}

#[tokio::test]
async fn r9_release_can_be_rolled_back_on_mysql() {
    release_can_be_rolled_back::<Mysql>().await;
}

#[tokio::test]
async fn r9_release_can_be_rolled_back_on_sqlite() {
    release_can_be_rolled_back::<Sqlite>().await;
}
