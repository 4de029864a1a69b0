//! The table, and the facts about a database that a claim needs.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Executor as _, MySql, MySqlPool, Row as _, SqlSafeStr as _};

use super::server::Server;
use super::sql::{Session, Sql};
use super::{is_refusal, number, store_error};
use crate::store::connection::CheckedConnection;
use crate::store::migrate::migrate_error;
use crate::store::{BoxError, StoreError};

/// The bookkeeping's last entry.
const VERSION: i64 = 1;

const RECORDS: &str = include_str!("../../../migrations/mysql/0001_records.sql");

/// The lock belongs to the session, which is closed afterwards. 1 if the session has the lock; 0 if
/// another one held it for ten seconds, NULL after an error.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('idem ', SHA2(DATABASE(), 224)), 10) = 1";

/// DDL commits by itself, so a migration that was cut short is marked. Ours can be run again.
const FORGET_FAILURES: &str = "DELETE FROM idem_migrations WHERE success = FALSE";

pub(super) async fn set_up(pool: &MySqlPool) -> Result<(), StoreError> {
    database(pool)?;
    let mut migrator = Migrator::with_migrations(vec![Migration::new(
        VERSION,
        Cow::Borrowed("records"),
        MigrationType::Simple,
        RECORDS.into_sql_str(),
        true,
    )]);
    migrator.dangerous_set_table_name("idem_migrations");
    migrator.set_locking(false);
    let mut connection = CheckedConnection::acquire(pool)
        .await
        .map_err(store_error)?;
    let locked = connection.fetch_one(LOCK).await;
    let locked = locked.and_then(|row| row.try_get::<Option<bool>, _>(0));
    if locked.map_err(store_error)? != Some(true) {
        let held = "another session holds the lock for migrations";
        return Err(StoreError::Unavailable(held.into()));
    }
    match connection.execute(FORGET_FAILURES).await {
        Err(error) if number(&error) != Some(super::NO_SUCH_TABLE) => {
            return Err(store_error(error));
        }
        _ => {}
    }
    let migrated = migrator.run_direct(None, &mut *connection, false).await;
    migrated.map_err(|error| migrate_error(error, is_refusal))
}

const LEARN: &str = "SELECT VERSION(), @@SESSION.wait_timeout, @@SESSION.innodb_lock_wait_timeout, \
     (SELECT MAX(version) FROM idem_migrations WHERE success), \
     @@SESSION.autocommit = 1 AND @@SESSION.completion_type = 'NO_CHAIN'";

/// Checks that this release knows the server and the table's version, and makes the statements for
/// them.
pub(super) async fn learn(pool: &MySqlPool) -> Result<Sql, StoreError> {
    let database = database(pool)?;
    let mut connection: CheckedConnection<MySql> = CheckedConnection::acquire(pool)
        .await
        .map_err(store_error)?;
    let row = connection.fetch_one(LEARN).await.map_err(store_error)?;
    let version: String = row.try_get(0).map_err(store_error)?;
    let server = Server::of(&version).map_err(misconfigured)?;
    let session = Session {
        idle: row.try_get(1).map_err(store_error)?,
        lock_wait: row.try_get(2).map_err(store_error)?,
    };
    let schema: Option<i64> = row.try_get(3).map_err(store_error)?;
    match schema.unwrap_or(0) {
        VERSION => {}
        0 => {
            return Err(misconfigured(
                "the table `idem_records` is missing; run `migrate()`",
            ));
        }
        later => {
            return Err(misconfigured(format!(
                "the table `idem_records` has version {later}, made by a later release; this one knows {VERSION}"
            )));
        }
    }
    if !row.try_get::<bool, _>(4).map_err(store_error)? {
        return Err(misconfigured(
            "the pool's sessions begin with `autocommit` off, or with a `completion_type` other than NO_CHAIN",
        ));
    }
    let sql = Sql::new(server, session, &database);
    let test = sqlx::raw_sql(AssertSqlSafe(sql.test()));
    test.execute(&mut *connection).await.map_err(store_error)?;
    connection.release();
    Ok(sql)
}

/// The database that the pool's connections name.
fn database(pool: &MySqlPool) -> Result<String, StoreError> {
    let options = pool.connect_options();
    let database = options.get_database().map(ToOwned::to_owned);
    database
        .ok_or_else(|| misconfigured("the pool's connections name no database to keep records in"))
}

fn misconfigured(text: impl Into<BoxError>) -> StoreError {
    StoreError::Misconfigured(text.into())
}
