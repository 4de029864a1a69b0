//! MariaDB and MySQL.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sqlx::{
    AssertSqlSafe, Either, Executor as _, MySql, MySqlConnection, MySqlPool, Row as _,
    SqlSafeStr as _,
};
use tokio::sync::OnceCell;

use self::sql::{Names, Sql};
use super::connection::CheckedConnection;
use super::erasure::{Erasure, erase_all};
use super::place::Place;
use super::rehearsal::{Rehearsal, settle_failure, store_failure};
use super::run_sql::{RunSql, SqlRunStore};
use super::{
    Claim, ClaimRequest, Claimed, Draft, Forgotten, Opening, Purged, SettleError, Settlement,
    Stats, Store, StoreError, Times,
};
use crate::config::ConfigError;
use crate::identity::{Identity, ScopeDigest};
use crate::record::{Found, Timestamp, Version};

mod server;
mod setup;
mod sql;

/// Records in the table `idem_records` of a MariaDB (from 10.6) or MySQL (from 8.0) database.
///
/// The claim is a row, inserted in BEGIN's message without waiting for others; the record takes its
/// place before COMMIT. If a handler commits by itself, the row becomes visible and records that the
/// key's effect may stand.
///
/// The pool's connections have to name the database. While an attempt runs, its session has
/// `autocommit` off and a `wait_timeout` of the endpoint's deadline and a second. Afterwards both
/// have the values again that they had when the store first connected.
#[derive(Debug, Clone)]
pub struct MySqlStore {
    pool: MySqlPool,
    names: Names,
    sql: Arc<OnceCell<Sql>>,
}

impl MySqlStore {
    /// A store in the database that `pool` connects to, which has the application's own tables.
    pub fn new(pool: MySqlPool) -> Self {
        Self {
            pool,
            names: Names::default(),
            sql: Arc::default(),
        }
    }

    /// Keeps records, migrations and locks in tables of their own, such as `billing_idem_records` for the
    /// prefix `billing_`: for two services in one database, which then share nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TablePrefix`] unless the prefix has 1 to 40 of `a-z`, `0-9` and `_`, and does not begin
    /// with a digit.
    pub fn try_with_table_prefix(self, prefix: &str) -> Result<Self, ConfigError> {
        let prefix = super::name::table_prefix(prefix)?;
        Ok(Self {
            names: Names::new(prefix),
            sql: Arc::default(),
            ..self
        })
    }

    /// Creates the table `idem_records`, or brings it up to date; then [checks](Self::check) it.
    ///
    /// Call it, or a deployment step that does, before the first request: without the table, requests
    /// are answered 500 `misconfigured`.
    ///
    /// The bookkeeping is in `idem_migrations`, apart from the application's own migrations. Many
    /// instances may call it at once. A later release may have migrated before, unless its migration is
    /// one that this release can't work with; then the error names both versions.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the database refuses, such as for a missing privilege;
    /// [`StoreError::Unavailable`] if it can't be reached, is in trouble, or if another instance holds
    /// the lock for migrations for half a minute.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        for pause in MIGRATION_PAUSES {
            match self.migrate_once().await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let cause: &dyn std::error::Error = &error;
                    tracing::warn!(error = cause, "the migration failed and is tried again");
                }
            }
            tokio::time::sleep(pause).await;
        }
        self.migrate_once().await
    }

    async fn migrate_once(&self) -> Result<(), StoreError> {
        setup::set_up(&self.pool, &self.names).await?;
        self.check().await
    }

    /// Checks that this release can work with the table and that this user has the rights to it. Then it
    /// claims an identity that nobody else has, writes the record, reads it, and rolls back: so triggers
    /// and constraints are found. The first request does the same; a call at the start of a service shows
    /// the error earlier.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] with the reason. A server that is read-only is
    /// [`StoreError::Unavailable`], as during a fail-over.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.sql().await.map(drop)
    }

    async fn sql(&self) -> Result<&Sql, StoreError> {
        let learn = || async {
            let mut connection = self.connection().await?;
            let sql = setup::learn(&self.pool, &mut connection, &self.names).await?;
            let rehearsed = rehearse(connection, &sql).await;
            rehearsed.map_err(|error| store_failure(error, is_lasting))?;
            Ok(sql)
        };
        self.sql.get_or_try_init(learn).await
    }

    async fn connection(&self) -> Result<CheckedConnection<MySql>, StoreError> {
        CheckedConnection::acquire(&self.pool)
            .await
            .map_err(store_error)
    }

    /// Runs a statement in a transaction of its own and returns the number of rows that it changed.
    async fn run(&self, sql: String) -> Result<u64, StoreError> {
        let mut connection = self.connection().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *connection)
            .await;
        let done = done.map_err(store_error)?;
        connection.release();
        Ok(done.rows_affected())
    }

    /// Runs a query in a transaction of its own and returns its first row.
    async fn fetch(&self, sql: String) -> Result<Option<MySqlRow>, StoreError> {
        let mut connection = self.connection().await?;
        let rows = fetch_with(&mut connection, sql)
            .await
            .map_err(store_error)?;
        connection.release();
        Ok(rows.into_iter().next())
    }
}

/// An open MariaDB or MySQL transaction that holds an identity.
#[derive(Debug)]
pub struct MySqlClaim {
    connection: CheckedConnection<MySql>,
    /// The version of the record that the claim's row replaced.
    replaces: Option<Version>,
}

impl Claim for MySqlClaim {
    type Connection = MySqlConnection;

    fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}

/// Tries of a claim that fails on a free identity. While a duplicate's INSERT fails on a neighbouring
/// key, `InnoDB` holds a gap lock that briefly blocks other inserts.
const TRIES: usize = 10;

/// Pauses between tries of a migration. The nodes of a cluster do not see each other's locks; a
/// migration that fails because of another node's finds it done a moment later.
const MIGRATION_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// The pauses before a record that is held counts as an attempt's: a duplicate that reads one holds it
/// for a moment.
const FORGET_PAUSES: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(300),
];

impl Store for MySqlStore {
    type Connection = MySqlConnection;
    type Claim = MySqlClaim;

    async fn begin(&self, opening: Opening) -> Result<MySqlClaim, StoreError> {
        let sql = self.sql().await?;
        let mut connection = self.connection().await?;
        let begin = AssertSqlSafe(sql.begin(opening)).into_sql_str();
        connection.begin(begin).await.map_err(store_error)?;
        Ok(MySqlClaim {
            connection,
            replaces: None,
        })
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<MySqlClaim>, StoreError> {
        let sql = self.sql().await?;
        let mut connection = self.connection().await?;
        if request.likely_taken {
            let read = sql.read(request.identity);
            if let Some(taken) = read_with(&mut connection, sql, read, request).await? {
                connection.release();
                return Ok(taken);
            }
        }
        claim_with(connection, sql, request).await
    }

    async fn settle(
        &self,
        claim: MySqlClaim,
        settlement: Settlement<'_>,
    ) -> Result<(), SettleError> {
        let sql = self
            .sql()
            .await
            .map_err(|error| SettleError::Refused(error.into()))?;
        let MySqlClaim {
            mut connection,
            replaces,
        } = claim;
        // A statement that the handler cancelled may have failed: that undoes nothing else, or the
        // savepoint is gone.
        let _ = connection.flush().await;
        if !settlement.keep_writes {
            undo(&mut connection).await?;
        }
        match settlement.record {
            // Without a record the claim's row is undone, too.
            None if !settlement.keep_writes => roll_back(&mut connection, sql).await?,
            None => commit(&mut connection, sql).await?,
            Some(draft) if draft.replaces != replaces => return Err(SettleError::Superseded),
            Some(draft) => {
                let times = write(&mut connection, sql, draft).await?;
                let _ = settlement.written.set(times);
                commit(&mut connection, sql).await?;
            }
        }
        connection.release();
        Ok(())
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        let row = self.fetch(self.sql().await?.find(identity)).await?;
        row.map(|row| found(&row, identity)).transpose()
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        let records = self.run(self.sql().await?.purge(limit)).await?;
        Ok(Purged {
            records,
            ..Purged::default()
        })
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        let sql = self.sql().await?;
        erase_all(async |until| {
            let erased = self.run(sql.erase(scope)).await?;
            let (left, now) = self.count(sql.count(scope, until)).await?;
            let until = until.unwrap_or(now);
            Ok(Erasure {
                erased,
                left,
                until,
            })
        })
        .await
    }

    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        let sql = self.sql().await?;
        let seen = self.fetch(sql.seen(identity, "")).await?;
        let seen = seen.as_ref().map(version).transpose()?;
        for pause in FORGET_PAUSES {
            if let Some(seen) = seen
                && self.run(sql.forget(identity, seen)).await? > 0
            {
                return Ok(Forgotten::Deleted);
            }
            match self.fetch(sql.seen(identity, sql.shared_lock())).await {
                Ok(None) => return Ok(Forgotten::Missing),
                // An attempt was in flight that has ended.
                Ok(Some(row)) if Some(version(&row)?) != seen => break,
                Ok(Some(_)) | Err(StoreError::Conflict(_)) => tokio::time::sleep(pause).await,
                Err(error) => return Err(error),
            }
        }
        Ok(Forgotten::InFlight)
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        let sql = self.sql().await?.tally(scope);
        let mut connection = self.connection().await?;
        let rows = fetch_with(&mut connection, sql).await;
        let rows = rows.map_err(store_error)?;
        connection.release();
        stats(&rows).map_err(store_error)
    }
}

fn version(row: &MySqlRow) -> Result<Version, StoreError> {
    Ok(Version {
        attempts: row.try_get(0).map_err(store_error)?,
        settled_at: Timestamp(row.try_get(1).map_err(store_error)?),
    })
}

impl SqlRunStore for MySqlStore {
    const CLAIM_WRITES: bool = true;

    fn run_sql(&self) -> RunSql {
        self.names.runs(self.pool.connect_options().get_database())
    }

    async fn check_records(&self) -> Result<(), StoreError> {
        self.check().await
    }

    async fn migrate_runs(&self) -> Result<(), StoreError> {
        self.migrate().await?;
        setup::set_up_runs(&self.pool, &self.names).await
    }
}

impl Place for MySqlStore {
    type Database = MySql;

    fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    fn table(&self, name: &str) -> String {
        let name = self.names.table(name);
        match self.pool.connect_options().get_database() {
            Some(database) => format!("`{}`.{name}", database.replace('`', "``")),
            None => name,
        }
    }

    async fn apply(&self, name: &'static str, scripts: &[&'static str]) -> Result<(), StoreError> {
        let bookkeeping = self.names.table(&format!("{name}_migrations"));
        setup::set_up_tables(&self.pool, &self.names, bookkeeping, name, scripts).await
    }

    fn error(error: sqlx::Error) -> StoreError {
        store_error(error)
    }
}

runs!(MySqlConnection, MySqlStore, store_error);

impl MySqlStore {
    /// A number of records, and the database's time.
    async fn count(&self, sql: String) -> Result<(u64, Timestamp), StoreError> {
        let mut connection = self.connection().await?;
        let rows = fetch_with(&mut connection, sql).await;
        let rows = rows.map_err(store_error)?;
        connection.release();
        let row = rows.first().ok_or(sqlx::Error::RowNotFound);
        let counted = row.and_then(|row| Ok((row.try_get::<i64, _>(0)?, row.try_get(1)?)));
        let (count, now) = counted.map_err(store_error)?;
        Ok((count.unsigned_abs(), Timestamp(now)))
    }
}

/// Claims and records in a transaction that is rolled back.
async fn rehearse(connection: CheckedConnection<MySql>, sql: &Sql) -> Result<(), StoreError> {
    let rehearsal = Rehearsal::new();
    let claimed = claim_with(connection, sql, rehearsal.claim(None)).await?;
    let Claimed::Won(MySqlClaim { mut connection, .. }) = claimed else {
        return Ok(());
    };
    let draft = rehearsal.draft(None);
    let written = write(&mut connection, sql, draft).await;
    written.map_err(|error| settle_failure(error, is_lasting))?;
    let read = AssertSqlSafe(sql.select(&rehearsal.identity));
    let row = sqlx::raw_sql(read).fetch_optional(&mut *connection).await;
    let row = row.map_err(store_error)?;
    let found = row.map(|row| found(&row, &rehearsal.identity));
    rehearsal.compare(found.transpose()?, &draft)?;
    connection.rollback().await.map_err(store_error)?;
    let restore = sqlx::raw_sql(AssertSqlSafe(Arc::clone(&sql.restore)));
    restore
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    connection.release();
    Ok(())
}

async fn claim_with(
    mut connection: CheckedConnection<MySql>,
    sql: &Sql,
    request: ClaimRequest<'_>,
) -> Result<Claimed<MySqlClaim>, StoreError> {
    let mut tries = 1;
    loop {
        let claim = AssertSqlSafe(sql.claim(request)).into_sql_str();
        let Err(error) = connection.begin(claim).await else {
            return Ok(Claimed::Won(MySqlClaim {
                connection,
                replaces: request.seen,
            }));
        };
        let taken = |number| is_conflict(number) || is_collision(number);
        if !number(&error).is_some_and(taken) {
            return Err(store_error(error));
        }
        let read = sql.restore_and_read(request.identity);
        if let Some(taken) = read_with(&mut connection, sql, read, request).await? {
            connection.release();
            return Ok(taken);
        }
        if tries == TRIES {
            connection.release();
            return Err(StoreError::Conflict(error.into()));
        }
        tries += 1;
    }
}

async fn fetch_with(
    connection: &mut CheckedConnection<MySql>,
    sql: String,
) -> sqlx::Result<Vec<MySqlRow>> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(&mut **connection)
        .await
}

/// The answer for an identity that is in flight or recorded; `None` if it can be claimed.
async fn read_with(
    connection: &mut CheckedConnection<MySql>,
    sql: &Sql,
    read: String,
    request: ClaimRequest<'_>,
) -> Result<Option<Claimed<MySqlClaim>>, StoreError> {
    let (rows, is_held) = match fetch_with(connection, read).await {
        // Another transaction holds the record: an attempt that replaces it, or an erasure.
        Err(error) if number(&error).is_some_and(is_conflict) => {
            let rows = fetch_with(connection, sql.find(request.identity)).await;
            (rows.map_err(store_error)?, true)
        }
        rows => (rows.map_err(store_error)?, false),
    };
    let found = rows.first().map(|row| found(row, request.identity));
    let found = found.transpose()?;
    if found.as_ref().map(|found| found.record.version()) != request.seen {
        return Ok(Some(Claimed::Changed(found)));
    }
    Ok(is_held.then_some(Claimed::InFlight))
}

/// Undoes the handler's writes.
async fn undo(connection: &mut CheckedConnection<MySql>) -> Result<(), SettleError> {
    let mut gone_before = false;
    let mut answers = sqlx::raw_sql(sql::UNDO).fetch(&mut **connection);
    loop {
        match answers.try_next().await {
            // The server itself undoes a whole transaction, such as a deadlock's victim. Then the
            // session's last statement failed so, or the rollback of a nested transaction did.
            // Otherwise the handler ended the transaction.
            Ok(Some(error)) => {
                let number = error.try_get::<u32, _>(1).map_err(settle_error)?;
                gone_before |= is_conflict(number) || number == NO_SAVEPOINT;
            }
            Ok(None) => return Ok(()),
            Err(error) if number(&error) == Some(NO_SAVEPOINT) && gone_before => {
                return Err(SettleError::Superseded);
            }
            Err(error) => return Err(settle_error(error)),
        }
    }
}

/// Writes the record in the place of the claim's row.
async fn write(
    connection: &mut CheckedConnection<MySql>,
    sql: &Sql,
    draft: Draft<'_>,
) -> Result<Times, SettleError> {
    let ttl = i64::try_from(draft.ttl.as_micros()).unwrap_or(i64::MAX);
    let query = sqlx::query(AssertSqlSafe(Arc::clone(&sql.update)))
        .bind(draft.state.code())
        .bind(draft.attempts)
        .bind(i16::try_from(draft.status.as_u16()).unwrap_or(i16::MAX))
        .bind(draft.response)
        .bind(ttl)
        .bind(draft.identity.as_bytes().as_slice());
    let written = match query.execute(&mut **connection).await {
        Ok(written) => written,
        // It may be another transaction than the claim's: a read-only one, or one with locked tables.
        Err(error) => {
            return Err(match settle_error(error) {
                SettleError::Refused(_) if has_ended(connection).await => SettleError::Ended,
                refused => refused,
            });
        }
    };
    if written.rows_affected() == 0 {
        // The claim's row is gone, and its transaction with it.
        return Err(SettleError::Ended);
    }
    let settled_at = i64::try_from(written.last_insert_id()).unwrap_or(i64::MAX);
    Ok(Times {
        settled_at: Timestamp(settled_at),
        expires_at: Timestamp(settled_at.saturating_add(ttl)),
    })
}

/// Whether the claim's own transaction has ended, although nothing undid it.
async fn has_ended(connection: &mut CheckedConnection<MySql>) -> bool {
    let released = connection.execute(sql::RELEASE).await;
    released.is_err_and(|error| number(&error) == Some(NO_SAVEPOINT))
}

/// Commits, if this is still the claim's own transaction.
async fn commit(connection: &mut CheckedConnection<MySql>, sql: &Sql) -> Result<(), SettleError> {
    connection.check_depth()?;
    let commit = sqlx::raw_sql(AssertSqlSafe(Arc::clone(&sql.commit)));
    let answers = commit.fetch_many(&mut **connection);
    let answers = answers.try_fold(0, async |count, answer| {
        Ok(count + usize::from(matches!(answer, Either::Left(_))))
    });
    match answers.await {
        Ok(Sql::COMMIT_ANSWERS) => {}
        // Replies to a statement of the handler came first.
        Ok(_) => {
            return Err(SettleError::Unknown(
                "an answer is not to this commit".into(),
            ));
        }
        Err(error) if number(&error) == Some(NO_SAVEPOINT) => return Err(SettleError::Ended),
        Err(error) if number(&error).is_some_and(is_conflict) => {
            return Err(SettleError::Superseded);
        }
        Err(error) => return Err(SettleError::Unknown(error.into())),
    }
    // sqlx still counts the transaction as open. Its ROLLBACK, of nothing, is sent with the next
    // message.
    connection.rollback_soon();
    Ok(())
}

/// Undoes the claim's own transaction. The caller has checked that it is this one.
async fn roll_back(
    connection: &mut CheckedConnection<MySql>,
    sql: &Sql,
) -> Result<(), SettleError> {
    connection.check_depth()?;
    let restore = sqlx::raw_sql(AssertSqlSafe(sql.restore.clone()));
    let restored = restore.execute(&mut **connection).await;
    restored.map_err(|error| SettleError::Refused(error.into()))?;
    connection.rollback_soon(); // See `commit`.
    Ok(())
}

fn stats(rows: &[MySqlRow]) -> sqlx::Result<Stats> {
    stats!(rows)
}

fn found(row: &MySqlRow, identity: &Identity) -> Result<Found, StoreError> {
    found!(row, identity)
}

const NO_SUCH_TABLE: u32 = 1146;
const NO_SAVEPOINT: u32 = 1305;

/// The number of an error that the server reported.
fn number(error: &sqlx::Error) -> Option<u32> {
    let error = error.as_database_error()?;
    let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number().into())
}

/// Whether an INSERT collided with a record (1062), or the record that was seen is missing (1048).
fn is_collision(number: u32) -> bool {
    matches!(number, 1048 | 1062)
}

/// Whether another transaction was in the way: a lock that is held (1205, 3572), a deadlock or a
/// cluster's other node (1213), a snapshot that is too old (1020), a group that refused (3101).
fn is_conflict(number: u32) -> bool {
    matches!(number, 1020 | 1205 | 1213 | 3101 | 3572)
}

/// Whether the server refused a migration as such, rather than for lack of resources (1037, 1038, 1040,
/// 1041, 1114), because it shuts down (1053), or because it was interrupted (1317).
fn is_refusal(error: &sqlx::Error) -> bool {
    let in_trouble = [1037, 1038, 1040, 1041, 1053, 1114, 1317];
    number(error).is_some_and(|number| !is_conflict(number) && !in_trouble.contains(&number))
}

/// Whether the server would refuse it every time: no such database, table or column (1049, 1054, 1146), no
/// right to use it (1044, 1142, 1143, 1227), a view or trigger whose definer lacks one (1356, 1449), or a
/// constraint that is not idem's own (1369, 3819, 4025).
///
/// Not for a server that is read-only (1290, 1836): during a fail-over that passes, and the claim is refused
/// before the handler runs.
fn is_permanent(number: u32) -> bool {
    let permanent = [
        1044,
        1049,
        1054,
        1142,
        1143,
        NO_SUCH_TABLE,
        1227,
        1356,
        1369,
        1449,
        3819,
        4025,
    ];
    permanent.contains(&number)
}

/// Whether an error of a rehearsed request would be that of each request.
fn is_lasting(error: &sqlx::Error) -> bool {
    is_refusal(error) && !number(error).is_some_and(|number| matches!(number, 1290 | 1836))
}

fn store_error(error: sqlx::Error) -> StoreError {
    match number(&error) {
        Some(number) if is_permanent(number) => StoreError::Misconfigured(error.into()),
        Some(number) if is_conflict(number) => StoreError::Conflict(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}

fn settle_error(error: sqlx::Error) -> SettleError {
    match number(&error) {
        Some(NO_SAVEPOINT) => SettleError::Ended,
        Some(number) if is_conflict(number) => SettleError::Superseded,
        Some(number) if is_permanent(number) => SettleError::Misconfigured(error.into()),
        _ => SettleError::Refused(error.into()),
    }
}
