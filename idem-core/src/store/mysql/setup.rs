//! The table, and what is learned of a database before the first claim.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Executor as _, MySql, MySqlPool, Row as _, SqlSafeStr as _};

use super::server::Server;
use super::sql::{Session, Sql};
use super::{number, store_error};
use crate::store::connection::CheckedConnection;
use crate::store::{BoxError, StoreError};

/// The bookkeeping's last entry.
const VERSION: i64 = 1;

const RECORDS: &str = include_str!("../../../migrations/mysql/0001_records.sql");

/// The lock belongs to the session, which is closed afterwards.
const LOCK: &str = "DO GET_LOCK(CONCAT('idem ', SHA2(DATABASE(), 224)), 60)";

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
    connection.execute(LOCK).await.map_err(store_error)?;
    match connection.execute(FORGET_FAILURES).await {
        Err(error) if number(&error) != Some(super::NO_SUCH_TABLE) => {
            return Err(store_error(error));
        }
        _ => {}
    }
    let migrated = migrator.run_direct(None, &mut *connection, false).await;
    migrated.map_err(|error| StoreError::Misconfigured(error.into()))
}

const LEARN: &str = "SELECT VERSION(), @@SESSION.wait_timeout, @@SESSION.innodb_lock_wait_timeout, \
     (SELECT MAX(version) FROM idem_migrations WHERE success), \
     @@SESSION.autocommit = 1 AND @@SESSION.completion_type = 'NO_CHAIN'";

/// Looks whether the table is there, in a version that this release knows, on a server that it
/// knows; and makes the statements for it.
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
