//! SQLite.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Instant;

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Executor as _, Row as _, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool,
};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use self::sql::{Ending, Sql};
use self::watch::{IOERR, Watch};
use super::connection::CheckedConnection;
use super::migrate::{Migrations, check_version, migration};
use super::place::Place;
use super::rehearsal::{Rehearsal, misconfigured, settle_failure, store_failure};
use super::run_sql::{RunSql, SqlRunStore};
use super::{
    Claim, ClaimRequest, Claimed, Draft, Forgotten, Opening, Purged, SettleError, Settlement,
    Stats, Store, StoreError, Times,
};
use crate::config::ConfigError;
use crate::identity::{Identity, ScopeDigest};
use crate::record::{Found, Timestamp, Version};

mod sql;
mod watch;

/// The bookkeeping's last entry.
const VERSION: i64 = 1;

const RECORDS: &str = include_str!("../../migrations/sqlite/0001_records.sql");

const RUNS: &str = include_str!("../../migrations/sqlite/steps_0001_runs.sql");

/// Records in the table `idem_records` of an SQLite database.
///
/// SQLite has one writer. Within a process attempts queue for it fairly, before they take a
/// connection. Other processes wait in `BEGIN IMMEDIATE`, for the pool's busy timeout at most; after
/// that their requests are answered that the database is unavailable. Replays only read.
///
/// The pool should be in WAL mode, with a busy timeout. While an attempt runs, the store needs the
/// connection's progress handler, commit hook and rollback hook; afterwards none is installed.
/// [Operating](crate::_documentation::operating#sqlite) shows how a pool installs those of the
/// application again.
///
/// A database in memory (`sqlite::memory:`) is gone when its last connection is closed, and the store
/// closes a connection whose attempt broke. For tests there is [`in_memory`](Self::in_memory). A pool
/// of your own needs `max_connections(1)`, `min_connections(1)`, `idle_timeout(None)` and
/// `max_lifetime(None)`, and still loses the database after a handler's panic.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    sql: Sql,
    checked: Arc<OnceCell<()>>,
    writer: Arc<Semaphore>,
    /// Another connection to a database in memory, which keeps it while `pool` opens a new one.
    _keeper: Option<SqlitePool>,
}

impl SqliteStore {
    /// A store in the database that `pool` connects to, which has the application's own tables.
    pub fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            sql: Sql::new(""),
            checked: Arc::default(),
            writer: Arc::new(Semaphore::new(1)),
            _keeper: None,
        }
    }

    /// Keeps records and migrations in tables of their own, such as `billing_idem_records` for the prefix
    /// `billing_`: for two services in one database, which then share nothing but SQLite's one writer. In
    /// one process, make the second store from a clone of the first, so that they queue for the writer
    /// together.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TablePrefix`] unless the prefix has 1 to 40 of `a-z`, `0-9` and `_`, and does not begin
    /// with a digit.
    pub fn try_with_table_prefix(self, prefix: &str) -> Result<Self, ConfigError> {
        let prefix = super::name::table_prefix(prefix)?;
        Ok(Self {
            sql: Sql::new(prefix),
            checked: Arc::default(),
            ..self
        })
    }

    /// A store in a new database in memory, for tests. It is migrated.
    ///
    /// Each call makes a database of its own. It lives as long as the store or a clone of it, also if
    /// a handler panics. The application's own tables go into it, by [`pool`](Self::pool):
    ///
    /// ```
    /// # use idem_core::{Engine, SqliteStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = SqliteStore::in_memory().await?;
    /// sqlx::query("CREATE TABLE orders (item TEXT)").execute(store.pool()).await?;
    /// let engine = Engine::new(store);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The pool has one connection. A handler has it while it runs, so a second use of the pool waits
    /// for the handler, and one inside of the handler fails after the pool's timeout.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if SQLite can't open a database in memory.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str("sqlite::memory:").map_err(store_error)?;
        let one = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        let keeper = one.clone().connect_with(options.clone()).await;
        let keeper = keeper.map_err(store_error)?;
        let pool = one.connect_with(options).await.map_err(store_error)?;
        let store = Self {
            _keeper: Some(keeper),
            ..Self::new(pool)
        };
        store.migrate().await?;
        Ok(store)
    }

    /// The pool.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Creates the table `idem_records`, or brings it up to date; then [checks](Self::check) it.
    ///
    /// Call it before the first request: without the table, requests are answered 500 `misconfigured`.
    /// The bookkeeping is in `idem_migrations`, apart from the application's own migrations. Many
    /// instances may call it at once. A later release may have migrated before, unless its migration is
    /// one that this release can't work with; then the error names both versions.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the database refuses; [`StoreError::Unavailable`] if it can't be
    /// opened or written, or if another process writes for longer than the busy timeout.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.run_scripts(self.sql.migrations(), "records", &[RECORDS])
            .await?;
        self.check().await
    }

    /// Runs the scripts that the bookkeeping does not have.
    async fn run_scripts(
        &self,
        bookkeeping: String,
        name: &'static str,
        scripts: &[&str],
    ) -> Result<(), StoreError> {
        let script = |script| AssertSqlSafe(self.sql.script(script)).into_sql_str();
        let scripts = scripts.iter().copied().map(script);
        let migrations = scripts.zip(1..);
        let migrations =
            migrations.map(|(script, version)| migration(version, name, script, false));
        let migrations = migrations.collect();
        let migrations = Migrations::new(self.place(), bookkeeping, migrations);
        let opening = "BEGIN IMMEDIATE".into_sql_str();
        let may_stop = |_: &MigrateError| false;
        migrations
            .run(&self.pool, opening, may_stop, is_refusal)
            .await
    }

    /// Checks that this release can work with the table. Then it claims an identity that nobody else has,
    /// writes a record, replaces it, reads it, and rolls back: so a file that is read-only, triggers and
    /// constraints are found. The first request does the same; a call at the start of a service shows the
    /// error earlier.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] with the reason; [`StoreError::Unavailable`] as for
    /// [`migrate`](Self::migrate).
    pub async fn check(&self) -> Result<(), StoreError> {
        let rehearse = || async {
            let rehearsed = self.rehearse().await;
            rehearsed.map_err(|error| store_failure(error, is_refusal))
        };
        self.checked.get_or_try_init(rehearse).await.copied()
    }

    /// Claims and records in a transaction that is rolled back.
    async fn rehearse(&self) -> Result<(), StoreError> {
        let mut claim = self.begin_writing().await?;
        let connection = &mut claim.connection;
        let version = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.version)));
        let version = version.persistent(false).fetch_one(&mut **connection).await;
        let version = version.and_then(|row| row.try_get::<Option<i64>, _>(0));
        let version = version.map_err(store_error)?.unwrap_or(0);
        if version < VERSION {
            let text = format!("{} is missing; run `migrate()`", self.place());
            return Err(misconfigured(text));
        }
        check_version(&self.place(), version, VERSION)?;
        let rehearsal = Rehearsal::new();
        let mut replaces = None;
        // The first leaves the savepoint for the second.
        for ending in [&self.sql.undone, &self.sql.kept] {
            let draft = rehearsal.draft(replaces);
            let written = write(connection, ending, draft).await;
            let written = written.map_err(|error| settle_failure(error, is_refusal))?;
            let found = read(connection, &self.sql, &rehearsal.identity).await?;
            rehearsal.compare(found, &draft)?;
            replaces = Some(Version {
                attempts: draft.attempts,
                settled_at: written.settled_at,
            });
        }
        connection.rollback().await.map_err(store_error)?;
        claim.release().await;
        Ok(())
    }

    /// What is migrated, for errors.
    fn place(&self) -> String {
        format!("the table `{}`", self.sql.records())
    }

    async fn connection(&self) -> Result<CheckedConnection<Sqlite>, StoreError> {
        CheckedConnection::acquire(&self.pool)
            .await
            .map_err(store_error)
    }

    /// Waits until no other attempt of this process writes, for as long as for a connection.
    async fn writer_permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let permit = Arc::clone(&self.writer).acquire_owned();
        let limit = self.pool.options().get_acquire_timeout();
        match tokio::time::timeout(limit, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(closed)) => Err(StoreError::Unavailable(closed.into())),
            Err(elapsed) => Err(StoreError::Unavailable(elapsed.into())),
        }
    }

    async fn begin_writing(&self) -> Result<SqliteClaim, StoreError> {
        let permit = self.writer_permit().await?;
        let mut connection = self.connection().await?;
        let watch = Watch::install(&mut connection).await.map_err(store_error)?;
        let mut claim = SqliteClaim {
            connection,
            watch,
            permit: Some(permit),
        };
        let begun = claim.connection.begin(sql::BEGIN.into_sql_str()).await;
        begun.map_err(store_error)?;
        Ok(claim)
    }

    async fn has_expired(&self) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let query = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.sql.expired)));
        let has_expired = query.fetch_one(&mut *connection).await;
        let has_expired = has_expired.map_err(store_error)?;
        connection.release();
        Ok(has_expired)
    }
}

/// An open SQLite transaction that holds an identity, and the right to write.
#[derive(Debug)]
pub struct SqliteClaim {
    connection: CheckedConnection<Sqlite>,
    watch: Watch,
    permit: Option<OwnedSemaphorePermit>,
}

impl Claim for SqliteClaim {
    type Connection = SqliteConnection;

    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl SqlRunStore for SqliteStore {
    const HAS_ONE_WRITER: bool = true;

    fn run_sql(&self) -> RunSql {
        self.sql.runs()
    }

    async fn check_records(&self) -> Result<(), StoreError> {
        self.check().await
    }

    async fn migrate_runs(&self) -> Result<(), StoreError> {
        self.migrate().await?;
        self.run_scripts(self.sql.run_migrations(), "runs", &[RUNS])
            .await
    }
}

impl Place for SqliteStore {
    type Database = Sqlite;

    fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    fn table(&self, name: &str) -> String {
        format!("main.{}", self.sql.table(name))
    }

    async fn apply(&self, name: &'static str, scripts: &[&'static str]) -> Result<(), StoreError> {
        let bookkeeping = self.sql.table(&format!("{name}_migrations"));
        self.run_scripts(bookkeeping, name, scripts).await
    }

    fn error(error: sqlx::Error) -> StoreError {
        store_error(error)
    }
}

runs!(SqliteConnection, SqliteStore, store_error);

impl SqliteClaim {
    /// Ends the transaction, and leaves the connection open.
    async fn end(&mut self, sql: &Sql, settlement: Settlement<'_>) -> Result<(), SettleError> {
        let connection = &mut self.connection;
        if let Some(error) = self.watch.undone_by(connection).await {
            return Err(if settlement.keep_writes {
                SettleError::Aborted(error.into())
            } else {
                SettleError::Refused(error.into())
            });
        }
        let ending = if settlement.keep_writes {
            &sql.kept
        } else {
            &sql.undone
        };
        if let Some(draft) = settlement.record {
            let times = write(connection, ending, draft).await?;
            let _ = settlement.written.set(times);
        } else {
            let ended = connection.execute(ending.alone).await;
            ended.map_err(settle_error)?;
        }
        connection.commit_checked(is_answer).await
    }

    /// Returns the connection to its pool, after its transaction has ended. The next writer need not wait for that.
    async fn release(mut self) {
        self.permit = None;
        if self.watch.remove(&mut self.connection).await.is_ok() {
            self.connection.release();
        }
    }
}

impl Drop for SqliteClaim {
    /// Lets the next writer in when the connection is closed: only then is the write lock free.
    fn drop(&mut self) {
        self.watch.interrupt();
        if let Ok(runtime) = Handle::try_current()
            && let Some(closing) = self.connection.close()
        {
            let permit = self.permit.take();
            runtime.spawn(async move {
                closing.await;
                drop(permit);
            });
        }
    }
}

impl Store for SqliteStore {
    type Connection = SqliteConnection;
    type Claim = SqliteClaim;

    async fn begin(&self, _: Opening) -> Result<SqliteClaim, StoreError> {
        self.check().await?;
        self.begin_writing().await
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<SqliteClaim>, StoreError> {
        let is_seen = |found: &Option<Found>| {
            found.as_ref().map(|found| found.record.version()) == request.seen
        };
        self.check().await?;
        let before = self.find(request.identity).await?;
        if !is_seen(&before) {
            return Ok(Claimed::Changed(before));
        }
        let mut claim = self.begin_writing().await?;
        let held = read(&mut claim.connection, &self.sql, request.identity).await?;
        if is_seen(&held) {
            return Ok(Claimed::Won(claim));
        }
        claim.connection.commit().await.map_err(store_error)?;
        claim.release().await;
        Ok(Claimed::Changed(held))
    }

    async fn settle(
        &self,
        mut claim: SqliteClaim,
        settlement: Settlement<'_>,
    ) -> Result<(), SettleError> {
        claim.end(&self.sql, settlement).await?;
        claim.release().await;
        Ok(())
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        let mut connection = self.connection().await?;
        let found = read(&mut connection, &self.sql, identity).await?;
        connection.release();
        Ok(found)
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        if !self.has_expired().await? {
            return Ok(Purged::default());
        }
        let _permit = self.writer_permit().await?;
        let mut connection = self.connection().await?;
        let opening = "BEGIN IMMEDIATE".into_sql_str();
        connection.begin(opening).await.map_err(store_error)?;
        // From here on others wait. COMMIT can include a checkpoint, which takes most of the time.
        let start = Instant::now();
        let purge = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.purge))).bind(i64::from(limit));
        let done = connection.execute(purge).await.map_err(store_error)?;
        connection.commit().await.map_err(store_error)?;
        let held = start.elapsed();
        connection.release();
        Ok(Purged {
            records: done.rows_affected(),
            held,
        })
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        let (first, last) = (scope.first(), scope.last());
        let of_scope = |statement: &Arc<str>| {
            let statement = sqlx::query(AssertSqlSafe(Arc::clone(statement)));
            statement.bind(&first[..]).bind(&last[..])
        };
        let mut claim = self.begin_writing().await?;
        let connection = &mut *claim.connection;
        let erased = of_scope(&self.sql.erase).execute(&mut *connection).await;
        let erased = erased.map_err(store_error)?.rows_affected();
        // A trigger can keep records.
        let left = of_scope(&self.sql.count).fetch_one(connection).await;
        let left: i64 = left.and_then(|row| row.try_get(0)).map_err(store_error)?;
        claim.connection.commit().await.map_err(store_error)?;
        claim.release().await;
        match left.unsigned_abs() {
            0 => Ok(erased),
            left => Err(StoreError::Incomplete { erased, left }),
        }
    }

    /// An attempt in flight is the one writer, whatever its key. So a record that has changed until there
    /// is no writer is that of an attempt which was in flight.
    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        let mut connection = self.connection().await?;
        let before = seen(&mut connection, &self.sql, identity).await?;
        connection.release();
        let mut claim = self.begin_writing().await?;
        let now = seen(&mut claim.connection, &self.sql, identity).await?;
        let forgotten = match now {
            None => Forgotten::Missing,
            Some(_) if now != before => Forgotten::InFlight,
            Some(_) => {
                let forget = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql.forget)))
                    .bind(identity.as_bytes().as_slice());
                let done = forget.execute(&mut *claim.connection).await;
                done.map_err(store_error)?;
                Forgotten::Deleted
            }
        };
        claim.connection.commit().await.map_err(store_error)?;
        claim.release().await;
        Ok(forgotten)
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        let range = scope.map(|scope| (scope.first(), scope.last()));
        let statement = if range.is_some() {
            &self.sql.tally_scope
        } else {
            &self.sql.tally
        };
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(statement)));
        if let Some((first, last)) = &range {
            query = query.bind(&first[..]).bind(&last[..]);
        }
        let mut connection = self.connection().await?;
        let rows = query.fetch_all(&mut *connection).await;
        let rows = rows.map_err(store_error)?;
        connection.release();
        stats(&rows).map_err(store_error)
    }
}

/// The version of a record, also of one that can't be read.
async fn seen(
    connection: &mut CheckedConnection<Sqlite>,
    sql: &Sql,
    identity: &Identity,
) -> Result<Option<Version>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.seen)))
        .bind(identity.as_bytes().as_slice())
        .fetch_optional(&mut **connection)
        .await;
    let version = |row: SqliteRow| {
        Ok(Version {
            attempts: row.try_get(0)?,
            settled_at: Timestamp(row.try_get(1)?),
        })
    };
    row.and_then(|row| row.map(version).transpose())
        .map_err(store_error)
}

async fn read(
    connection: &mut CheckedConnection<Sqlite>,
    sql: &Sql,
    identity: &Identity,
) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.find)))
        .bind(identity.as_bytes().as_slice())
        .fetch_optional(&mut **connection)
        .await
        .map_err(store_error)?;
    row.map(|row| found(&row, identity)).transpose()
}

/// Keeps or undoes the handler's writes, and writes the record.
async fn write(
    connection: &mut CheckedConnection<Sqlite>,
    ending: &Ending,
    draft: Draft<'_>,
) -> Result<Times, SettleError> {
    let fingerprint = draft.fingerprint.to_bytes();
    let ttl = i64::try_from(draft.ttl.as_micros()).unwrap_or(i64::MAX);
    let statement = match draft.replaces {
        None => &ending.insert,
        Some(_) => &ending.update,
    };
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(statement)))
        .bind(draft.identity.as_bytes().as_slice())
        .bind(draft.operation.as_str())
        .bind(draft.state.code())
        .bind(draft.attempts)
        .bind(i32::from(draft.status.as_u16()))
        .bind(&fingerprint[..])
        .bind(draft.response)
        .bind(ttl);
    if let Some(replaced) = draft.replaces {
        query = query.bind(replaced.attempts).bind(replaced.settled_at.0);
    }
    let row = query
        .fetch_optional(&mut **connection)
        .await
        .map_err(settle_error)?
        .ok_or_else(|| match draft.replaces {
            Some(_) => SettleError::Superseded,
            None => {
                SettleError::Misconfigured("a trigger on the table suppresses the record".into())
            }
        })?;
    Ok(Times {
        settled_at: Timestamp(row.try_get(0).map_err(settle_error)?),
        expires_at: Timestamp(row.try_get(1).map_err(settle_error)?),
    })
}

fn stats(rows: &[SqliteRow]) -> sqlx::Result<Stats> {
    stats!(rows)
}

fn found(row: &SqliteRow, identity: &Identity) -> Result<Found, StoreError> {
    found!(row, identity)
}

/// The file can't be written, as no fail-over will change.
const READONLY: i32 = 8;

const CONSTRAINT: i32 = 19;

/// An error in a statement.
const ERROR: i32 = 1;

/// SQLite's primary result code.
fn code(error: &dyn DatabaseError) -> Option<i32> {
    let extended: i32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether the error proves that the commit did not happen: not if SQLite failed to read or write its
/// files.
fn is_answer(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(code);
    code.is_some_and(|code| code != IOERR)
}

/// Whether SQLite refused a migration's SQL as such, rather than for a lack of locks, memory or disk.
fn is_refusal(error: &sqlx::Error) -> bool {
    // Busy, locked, out of memory, interrupted, an I/O error, full, and a file that can't be opened.
    let in_trouble = [5, 6, 7, 9, IOERR, 13, 14];
    let code = error.as_database_error().and_then(code);
    code.is_some_and(|code| !in_trouble.contains(&code))
}

fn store_error(error: sqlx::Error) -> StoreError {
    let missing = |error: &dyn sqlx::error::DatabaseError| {
        error.message().contains("no such table") || error.message().contains("no such column")
    };
    match error.as_database_error() {
        // SQLite has one code for all errors of a statement.
        Some(database) if missing(database) => {
            let hint = "a database in memory is gone with its last connection";
            StoreError::Misconfigured(format!("{error}; {hint}").into())
        }
        Some(database) if code(database) == Some(READONLY) => {
            StoreError::Misconfigured(error.into())
        }
        _ => StoreError::Unavailable(error.into()),
    }
}

fn settle_error(error: sqlx::Error) -> SettleError {
    match error.as_database_error() {
        // The text of a trigger's own error has another code.
        Some(database)
            if code(database) == Some(ERROR)
                && database.message().starts_with("no such savepoint") =>
        {
            SettleError::Ended
        }
        Some(database) if database.is_unique_violation() => SettleError::Superseded,
        // A file that is read-only, or a constraint or trigger that is not idem's own.
        Some(database) if matches!(code(database), Some(READONLY | CONSTRAINT)) => {
            SettleError::Misconfigured(error.into())
        }
        _ => SettleError::Refused(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn o12_a_database_in_memory_outlives_a_broken_attempt() {
        let store = SqliteStore::in_memory().await.unwrap();
        let create = sqlx::query("CREATE TABLE orders (item TEXT)");
        create.execute(store.pool()).await.unwrap();

        let opening = Opening {
            isolation: None,
            deadline: Duration::from_secs(1),
            lease: None,
        };
        let mut claim = store.begin(opening).await.unwrap();
        let insert = sqlx::query("INSERT INTO orders VALUES ('book')");
        insert.execute(claim.connection()).await.unwrap();
        drop(claim);

        let count = sqlx::query_scalar("SELECT count(*) FROM orders");
        let orders: i64 = count.fetch_one(store.pool()).await.unwrap();
        assert_eq!(orders, 0);
        let records = sqlx::query("SELECT * FROM idem_records");
        assert!(records.fetch_all(store.pool()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn r6_databases_in_memory_are_separate() {
        let (one, other) = (SqliteStore::in_memory(), SqliteStore::in_memory());
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        let create = sqlx::query("CREATE TABLE orders (item TEXT)");
        create.execute(one.pool()).await.unwrap();
        let create = sqlx::query("CREATE TABLE orders (item TEXT)");
        create.execute(other.pool()).await.unwrap();
    }
}
