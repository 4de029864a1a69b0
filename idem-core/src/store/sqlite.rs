//! SQLite.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteRow;
use sqlx::{Executor as _, Row as _, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::CheckedConnection;
use super::migrate::migrate;
use super::{
    Claim, ClaimRequest, Claimed, Draft, Opening, SettleError, Settlement, Store, StoreError, Times,
};
use crate::identity::{Identity, ScopeDigest};
use crate::record::{Found, Timestamp};

/// Records in the table `idem_records` of an SQLite database.
///
/// SQLite has one writer. Within a process attempts queue for it fairly, before they take a
/// connection; other processes wait in `BEGIN IMMEDIATE`, for the pool's busy timeout at most, and
/// are then told that the database is unavailable. Replays only read.
///
/// The pool should be in WAL mode, with a busy timeout.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    writer: Arc<Semaphore>,
}

impl SqliteStore {
    /// Keeps records where `pool` connects to: the database of the application's own tables.
    pub fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            writer: Arc::new(Semaphore::new(1)),
        }
    }

    /// Creates the table `idem_records`, or brings it up to date.
    ///
    /// The bookkeeping is in `idem_migrations`, apart from the application's own migrations. Many
    /// instances may call it at once.
    ///
    /// # Errors
    ///
    /// Whatever the database reports.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = Migrator::with_migrations(vec![Migration::new(
            1,
            Cow::Borrowed("records"),
            MigrationType::Simple,
            include_str!("../../migrations/sqlite/0001_records.sql").into_sql_str(),
            false,
        )]);
        migrator.dangerous_set_table_name("idem_migrations");
        migrate(&self.pool, &migrator, "BEGIN IMMEDIATE", |_| false).await
    }

    async fn connection(&self) -> Result<CheckedConnection<Sqlite>, StoreError> {
        CheckedConnection::acquire(&self.pool)
            .await
            .map_err(store_error)
    }

    /// Waits for this process's turn to write, as long as for a connection.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let turn = Arc::clone(&self.writer).acquire_owned();
        let patience = self.pool.options().get_acquire_timeout();
        match tokio::time::timeout(patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(closed)) => Err(StoreError::Unavailable(closed.into())),
            Err(elapsed) => Err(StoreError::Unavailable(elapsed.into())),
        }
    }

    async fn begin_writing(&self) -> Result<SqliteClaim, StoreError> {
        let permit = self.turn().await?;
        let mut connection = self.connection().await?;
        let interrupt = Interrupt::install(&mut connection)
            .await
            .map_err(store_error)?;
        let begun = connection.begin(BEGIN.into_sql_str()).await;
        begun.map_err(store_error)?;
        Ok(SqliteClaim {
            connection,
            interrupt,
            _turn: permit,
        })
    }

    async fn write_once(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let _turn = self.turn().await?;
        let mut connection = self.connection().await?;
        let done = connection.execute(statement).await.map_err(store_error)?;
        connection.release();
        Ok(done.rows_affected())
    }
}

type Statement<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

/// An open SQLite transaction that holds an identity, and the right to write.
#[derive(Debug)]
pub struct SqliteClaim {
    connection: CheckedConnection<Sqlite>,
    interrupt: Interrupt,
    // Dropped after the connection, so that the next writer finds the lock free or nearly so.
    _turn: OwnedSemaphorePermit,
}

impl Claim for SqliteClaim {
    type Connection = SqliteConnection;

    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// Stops a statement that is still running when its claim is dropped: it would hold the one write
/// lock there is until it ends by itself.
#[derive(Debug)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// How many instructions of SQLite's machine pass between two looks.
    const EVERY: i32 = 10_000;

    async fn install(connection: &mut CheckedConnection<Sqlite>) -> sqlx::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        let looked_at = Arc::clone(&raised);
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(Self::EVERY, move || !looked_at.load(Ordering::Relaxed));
        Ok(Self(raised))
    }

    /// Leaves the connection as it was.
    async fn remove(self, connection: &mut CheckedConnection<Sqlite>) -> sqlx::Result<()> {
        connection.lock_handle().await?.remove_progress_handler();
        Ok(())
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The savepoint can only be released, or rolled back to, while the claim's own transaction lives:
/// that is how a handler that ended it is found out.
const BEGIN: &str = "BEGIN IMMEDIATE; SAVEPOINT idem_attempt";

const KEEP: &str = "RELEASE SAVEPOINT idem_attempt";

const UNDO: &str = "ROLLBACK TO SAVEPOINT idem_attempt";

macro_rules! now {
    () => {
        "CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000"
    };
}

const FIND: &str = concat!(
    "SELECT state, attempts, status, fingerprint, response, settled_at, expires_at, ",
    now!(),
    " FROM main.idem_records WHERE identity = $1"
);

const INSERT: &str = concat!(
    "INSERT INTO main.idem_records \
     (identity, operation, state, attempts, status, fingerprint, response, settled_at, expires_at) \
     SELECT $1, $2, $3, $4, $5, $6, $7, clock.now, clock.now + $8 \
     FROM (SELECT ",
    now!(),
    " AS now) AS clock RETURNING settled_at, expires_at"
);

const UPDATE: &str = concat!(
    "UPDATE main.idem_records \
     SET operation = $2, state = $3, attempts = $4, status = $5, fingerprint = $6, response = $7, \
     settled_at = clock.now, expires_at = clock.now + $8 \
     FROM (SELECT ",
    now!(),
    " AS now) AS clock WHERE identity = $1 AND attempts = $9 AND settled_at = $10 \
     RETURNING settled_at, expires_at"
);

const PURGE: &str = concat!(
    "DELETE FROM main.idem_records WHERE rowid IN ( \
     SELECT rowid FROM main.idem_records WHERE expires_at <= ",
    now!(),
    " ORDER BY expires_at LIMIT $1)"
);

const ERASE: &str = "DELETE FROM main.idem_records WHERE identity BETWEEN $1 AND $2";

impl Store for SqliteStore {
    type Connection = SqliteConnection;
    type Claim = SqliteClaim;

    async fn begin(&self, _: Opening) -> Result<SqliteClaim, StoreError> {
        self.begin_writing().await
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<SqliteClaim>, StoreError> {
        let is_seen = |found: &Option<Found>| {
            found.as_ref().map(|found| found.record.version()) == request.seen
        };
        let before = self.find(request.identity).await?;
        if !is_seen(&before) {
            return Ok(Claimed::Changed(before));
        }
        let mut claim = self.begin_writing().await?;
        let held = read(&mut claim.connection, request.identity).await?;
        if is_seen(&held) {
            return Ok(Claimed::Won(claim));
        }
        let SqliteClaim {
            mut connection,
            interrupt,
            _turn,
        } = claim;
        connection.commit().await.map_err(store_error)?;
        interrupt
            .remove(&mut connection)
            .await
            .map_err(store_error)?;
        connection.release();
        Ok(Claimed::Changed(held))
    }

    async fn settle(
        &self,
        claim: SqliteClaim,
        settlement: Settlement<'_>,
    ) -> Result<(), SettleError> {
        let SqliteClaim {
            mut connection,
            interrupt,
            _turn,
        } = claim;
        let end = if settlement.keep_writes { KEEP } else { UNDO };
        connection.execute(end).await.map_err(savepoint_error)?;
        if let Some(draft) = settlement.record {
            let times = write(&mut connection, draft).await?;
            let _ = settlement.written.set(times);
        }
        connection.commit_checked(is_answer).await?;
        if interrupt.remove(&mut connection).await.is_ok() {
            connection.release();
        }
        Ok(())
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        let mut connection = self.connection().await?;
        let found = read(&mut connection, identity).await?;
        connection.release();
        Ok(found)
    }

    async fn purge_expired(&self, limit: u32) -> Result<u64, StoreError> {
        let statement = sqlx::query(PURGE).bind(i64::from(limit));
        self.write_once(statement).await
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        let (first, last) = (scope.first(), scope.last());
        let statement = sqlx::query(ERASE).bind(&first[..]).bind(&last[..]);
        self.write_once(statement).await
    }
}

async fn read(
    connection: &mut CheckedConnection<Sqlite>,
    identity: &Identity,
) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query(FIND)
        .bind(identity.as_bytes().as_slice())
        .fetch_optional(&mut **connection)
        .await
        .map_err(store_error)?;
    row.map(|row| found(&row, identity)).transpose()
}

async fn write(
    connection: &mut CheckedConnection<Sqlite>,
    draft: Draft<'_>,
) -> Result<Times, SettleError> {
    let fingerprint = draft.fingerprint.to_bytes();
    let ttl = i64::try_from(draft.ttl.as_micros()).unwrap_or(i64::MAX);
    let statement = if draft.replaces.is_some() {
        UPDATE
    } else {
        INSERT
    };
    let mut query = sqlx::query(statement)
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
        .map_err(write_error)?
        .ok_or(SettleError::Superseded)?;
    Ok(Times {
        settled_at: Timestamp(row.try_get(0).map_err(write_error)?),
        expires_at: Timestamp(row.try_get(1).map_err(write_error)?),
    })
}

fn found(row: &SqliteRow, identity: &Identity) -> Result<Found, StoreError> {
    found!(row, identity)
}

/// SQLite's primary result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether SQLite said no, rather than failing to read or write its files.
fn is_answer(error: &sqlx::Error) -> bool {
    const IOERR: i32 = 10;
    code(error).is_some_and(|code| code != IOERR)
}

fn store_error(error: sqlx::Error) -> StoreError {
    let missing = |error: &dyn sqlx::error::DatabaseError| {
        error.message().contains("no such table") || error.message().contains("no such column")
    };
    match error.as_database_error() {
        // SQLite has one code for all errors of a statement.
        Some(database) if missing(database) => StoreError::Misconfigured(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}

fn savepoint_error(error: sqlx::Error) -> SettleError {
    const ERROR: i32 = 1;
    match code(&error) {
        // The only way in which this statement is wrong: there is no such savepoint.
        Some(ERROR) => SettleError::Ended,
        _ => SettleError::Refused(error.into()),
    }
}

fn write_error(error: sqlx::Error) -> SettleError {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => SettleError::Superseded,
        _ => SettleError::Refused(error.into()),
    }
}
