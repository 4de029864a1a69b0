//! The table, and the facts about a database that a claim needs.

use sqlx::migrate::{MigrateError, Migration};
use sqlx::{AssertSqlSafe, MySql, MySqlPool, Row as _, SqlSafeStr as _};

use super::server::Server;
use super::sql::{Names, Session, Sql, forget_failures};
use super::{is_refusal, number, store_error};
use crate::store::StoreError;
use crate::store::connection::CheckedConnection;
use crate::store::migrate::{Migrations, check_version, migration};
use crate::store::rehearsal::misconfigured;

/// The bookkeeping's last entry.
const VERSION: i64 = 1;

const RECORDS: &str = include_str!("../../../migrations/mysql/0001_records.sql");
const RUNS: &str = include_str!("../../../migrations/mysql/steps_0001_runs.sql");

pub(super) async fn set_up(pool: &MySqlPool, names: &Names) -> Result<(), StoreError> {
    let script = AssertSqlSafe(names.script(RECORDS)).into_sql_str();
    let migrations = vec![migration(VERSION, "records", script, true)];
    run(pool, names, names.migrations(), migrations).await
}

/// Makes the tables of runs.
pub(super) async fn set_up_runs(pool: &MySqlPool, names: &Names) -> Result<(), StoreError> {
    set_up_tables(pool, names, names.run_migrations(), "runs", &[RUNS]).await
}

/// Makes other tables, with a bookkeeping of their own.
pub(super) async fn set_up_tables(
    pool: &MySqlPool,
    names: &Names,
    bookkeeping: String,
    name: &'static str,
    scripts: &[&str],
) -> Result<(), StoreError> {
    let script = |script| AssertSqlSafe(names.script(script)).into_sql_str();
    let migrations = scripts.iter().copied().map(script).zip(1..);
    let migrations = migrations.map(|(script, version)| migration(version, name, script, true));
    run(pool, names, bookkeeping, migrations.collect()).await
}

async fn run(
    pool: &MySqlPool,
    names: &Names,
    bookkeeping: String,
    migrations: Vec<Migration>,
) -> Result<(), StoreError> {
    database(pool)?;
    let forget = forget_failures(&bookkeeping);
    let migrations = Migrations::new(place(names), bookkeeping, migrations);
    let mut connection = CheckedConnection::acquire(pool)
        .await
        .map_err(store_error)?;
    let lock = sqlx::raw_sql(AssertSqlSafe(names.lock()));
    let locked = lock.fetch_one(&mut *connection).await;
    let locked = locked.and_then(|row| row.try_get::<Option<bool>, _>(0));
    if locked.map_err(store_error)? != Some(true) {
        let held = "another session holds the lock for migrations";
        return Err(StoreError::Unavailable(held.into()));
    }
    let forget = sqlx::raw_sql(AssertSqlSafe(forget));
    match forget.execute(&mut *connection).await {
        Err(error) if number(&error) != Some(super::NO_SUCH_TABLE) => {
            return Err(store_error(error));
        }
        _ => {}
    }
    let may_stop = |_: &MigrateError| false;
    migrations
        .run_on(&mut *connection, may_stop, is_refusal)
        .await
}

/// What is migrated, for errors.
fn place(names: &Names) -> String {
    format!("the table `{}`", names.records())
}

/// Checks that this release can work with the server and the table's version, and makes the statements
/// for them.
pub(super) async fn learn(
    pool: &MySqlPool,
    connection: &mut CheckedConnection<MySql>,
    names: &Names,
) -> Result<Sql, StoreError> {
    let database = database(pool)?;
    let learn = sqlx::raw_sql(AssertSqlSafe(names.learn()));
    let row = learn.fetch_one(&mut **connection).await;
    let row = row.map_err(store_error)?;
    let version: String = row.try_get(0).map_err(store_error)?;
    let server = Server::of(&version).map_err(misconfigured)?;
    let session = Session {
        idle: row.try_get(1).map_err(store_error)?,
        lock_wait: row.try_get(2).map_err(store_error)?,
    };
    let schema: Option<i64> = row.try_get(3).map_err(store_error)?;
    let version = schema.unwrap_or(0);
    if version < VERSION {
        let text = format!("{} is missing; run `migrate()`", place(names));
        return Err(misconfigured(text));
    }
    check_version(&place(names), version, VERSION)?;
    if !row.try_get::<bool, _>(4).map_err(store_error)? {
        return Err(misconfigured(
            "the pool's sessions begin with `autocommit` off, or with a `completion_type` other than NO_CHAIN",
        ));
    }
    let sql = Sql::new(server, session, &database, names);
    let test = sqlx::raw_sql(AssertSqlSafe(sql.test()));
    test.execute(&mut **connection).await.map_err(store_error)?;
    Ok(sql)
}

/// The database that the pool's connections name.
fn database(pool: &MySqlPool) -> Result<String, StoreError> {
    let options = pool.connect_options();
    let database = options.get_database().map(ToOwned::to_owned);
    database
        .ok_or_else(|| misconfigured("the pool's connections name no database to keep records in"))
}
