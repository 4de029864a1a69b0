//! PostgreSQL.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgRow};
use sqlx::{
    AssertSqlSafe, Either, Executor as _, PgConnection, PgPool, Postgres, Row as _,
    SqlSafeStr as _, TypeInfo as _, ValueRef as _,
};
use tokio::sync::OnceCell;

use self::setup::Setup;
use self::sql::{Schema, Sql};
use super::connection::CheckedConnection;
use super::erasure::{Erasure, erase_all};
use super::place::Place;
use super::rehearsal::{HIDDEN, Rehearsal, misconfigured, settle_failure, store_failure};
use super::run_sql::{RunSql, SqlRunStore};
use super::{
    Claim, ClaimRequest, Claimed, Draft, Forgotten, Opening, Purged, SettleError, Settlement,
    Stats, Store, StoreError, Times,
};
use crate::config::ConfigError;
use crate::identity::{Identity, ScopeDigest};
use crate::record::{Found, Timestamp, Unreadable, Version};

mod pooler;
mod setup;
mod sql;

pub use self::setup::TimeLimit;

/// Records in the schema `idem` of a PostgreSQL database.
///
/// The claim is part of BEGIN's message; the record is a bound INSERT before COMMIT. Locks and
/// settings belong to the transaction, so a pooler in transaction mode is fine.
///
/// A clone shares the pool. The `with_*` methods change the store on which they are called, at any
/// time, and never its clones.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    settings: Settings,
    /// What the database is, and nothing of the settings: clones share it.
    setup: Arc<OnceCell<Setup>>,
}

/// What the application has chosen; a clone of a store has settings of its own.
#[derive(Debug, Clone)]
struct Settings {
    sql: Sql,
    record_in_commit: bool,
    named_statements: bool,
    begin_alone: bool,
    limit: TimeLimit,
}

impl PostgresStore {
    /// A store in the database that `pool` connects to, which has the application's own tables.
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            settings: Settings {
                sql: Sql::new(Schema::default(), true),
                record_in_commit: false,
                named_statements: true,
                begin_alone: false,
                limit: TimeLimit::Deadline,
            },
            setup: Arc::default(),
        }
    }

    /// Keeps records, migrations and locks in a schema of their own, in place of `idem`: for two services
    /// in one database, which then share nothing. [`migrate`](Self::migrate) creates it. The schema should
    /// hold nothing else.
    ///
    /// ```
    /// # use idem_core::{ConfigError, PostgresStore};
    /// # use sqlx::PgPool;
    /// fn store(pool: PgPool) -> Result<PostgresStore, ConfigError> {
    ///     PostgresStore::new(pool).try_with_schema("billing_idem")
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Schema`] unless the name has 1 to 40 of `a-z`, `0-9` and `_`, does not begin with a
    /// digit, and is neither `public` nor a schema of the server.
    pub fn try_with_schema(mut self, name: &str) -> Result<Self, ConfigError> {
        let schema = Schema::new(super::name::schema(name)?);
        self.settings.sql = self.settings.sql.in_schema(schema);
        self.setup = Arc::default();
        Ok(self)
    }

    /// Sends a first attempt's record in COMMIT's message, so that it costs no round trip beyond
    /// BEGIN and COMMIT.
    ///
    /// The response's body is then part of a statement's text, as hex: a server that logs slow or
    /// failing statements logs it, and sqlx logs a slow one. So leave this off, or encrypt the secrets
    /// in a body. If the reply to such a message is lost, the engine finds out that the commit
    /// happened, but `after_commit` does not run and the answer is marked as a replay.
    #[must_use]
    pub fn with_record_in_commit(mut self) -> Self {
        self.settings.record_in_commit = true;
        // The check tries the record's procedure, too.
        self.setup = Arc::default();
        self
    }

    /// Leaves no prepared statement on the server: for poolers in transaction mode that don't keep
    /// track of them, such as `PgBouncer` before 1.21. It costs one more round trip for each record,
    /// unless the record is [in COMMIT's message](Self::with_record_in_commit).
    #[must_use]
    pub fn with_unnamed_statements(mut self) -> Self {
        self.settings.named_statements = false;
        self
    }

    /// Sends BEGIN as a message of its own, which costs a round trip more: for a pooler that sends an
    /// attempt's statements to different servers unless it sees a BEGIN alone, such as pgpool-II with load
    /// balancing.
    #[must_use]
    pub fn with_begin_alone(mut self) -> Self {
        self.settings.begin_alone = true;
        self
    }

    /// How long the server lets a frozen attempt hold its key; [`TimeLimit::Deadline`] by default.
    #[must_use]
    pub fn with_time_limit(mut self, limit: TimeLimit) -> Self {
        self.settings.limit = limit;
        self
    }

    /// Commits with the session's own `synchronous_commit`. By default a weaker one than `on` is
    /// raised to `on`: otherwise a server that crashes may lose acknowledged requests, record and
    /// effect together.
    #[must_use]
    pub fn with_session_durability(mut self) -> Self {
        self.settings.sql = self.settings.sql.with_session_durability();
        self
    }

    /// Makes sessions read-only by default, so that the server refuses writes outside of a `READ WRITE`
    /// transaction, which idem's are. A handler that has lost its transaction then fails with SQLSTATE
    /// 25006 instead of writing outside of it.
    ///
    /// For direct connections, as this is a setting of the session. Other users of the pool have to
    /// begin with `BEGIN READ WRITE` too.
    ///
    /// ```
    /// # use sqlx::postgres::PgConnectOptions;
    /// # use idem_core::PostgresStore;
    /// let options = PostgresStore::guard(PgConnectOptions::new());
    /// ```
    #[must_use]
    pub fn guard(options: PgConnectOptions) -> PgConnectOptions {
        options.options([("default_transaction_read_only", "on")])
    }

    /// Creates the schema, its table and its procedures, or brings them up to date; then
    /// [checks](Self::check) them.
    ///
    /// Call it, or a deployment step that does, before the first request: without the table, requests
    /// are answered 500 `misconfigured`.
    ///
    /// The bookkeeping is in `idem.migrations`, apart from the application's own migrations. Many
    /// instances may call it at once. If the role must not create functions the procedure is left
    /// out, and claims take one more round trip.
    ///
    /// A later release may have migrated before, unless its migration is one that this release can't work
    /// with; then the error names both versions.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the database refuses, such as for a missing privilege;
    /// [`StoreError::Unavailable`] if it can't be reached or is in trouble.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        setup::set_up(&self.pool, &self.settings.sql).await?;
        self.check().await
    }

    /// Checks that this release can work with the schema and that its locks work. Then it claims an
    /// identity that nobody else has, writes a record, replaces it, reads it, and rolls back: so missing
    /// rights, row level security, triggers and rules are found. It also finds out whether
    /// a pooler keeps transactions together and, with a second connection, prepared statements. The first request does the same; a call at the start of a
    /// service shows the error earlier.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] with the reason. A server that is read-only is
    /// [`StoreError::Unavailable`], as during a fail-over.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.setup().await.map(drop)
    }

    async fn setup(&self) -> Result<&Setup, StoreError> {
        let learn = || async {
            let mut connection = self.connection().await?;
            let known = Setup::learn(&mut connection, &self.settings.sql).await?;
            pooler::check_transactions(&mut connection).await?;
            if self.settings.named_statements {
                pooler::check_names(&self.pool, &mut connection).await?;
            }
            let rehearsed = self.rehearse(connection, &known).await;
            rehearsed.map_err(|error| store_failure(error, is_lasting))?;
            Ok(known)
        };
        self.setup.get_or_try_init(learn).await
    }

    /// Claims and records in a transaction that is rolled back.
    async fn rehearse(
        &self,
        connection: CheckedConnection<Postgres>,
        setup: &Setup,
    ) -> Result<(), StoreError> {
        let sql = &self.settings.sql;
        let rehearsal = Rehearsal::new();
        let claimed = self.claim_with(connection, rehearsal.claim(None), setup);
        let Claimed::Won(PostgresClaim { mut connection }) = claimed.await? else {
            // The lock function has one lock for many identities, and another attempt holds it.
            return Ok(());
        };
        let seen = self.record(&mut connection, &rehearsal, None).await?;
        let again = if setup.has_procedures {
            sql.call_claim(rehearsal.claim(seen))
        } else {
            sql.hold_record(&rehearsal.identity)
        };
        let again = sqlx::raw_sql(AssertSqlSafe(again));
        let again = again.execute(&mut *connection).await;
        again.map_err(|error| match code(&error).as_deref() {
            Some("ID002") => misconfigured(HIDDEN),
            _ => store_error(error),
        })?;
        self.record(&mut connection, &rehearsal, seen).await?;
        if self.settings.record_in_commit && setup.has_procedures {
            let record = sql.call_record(&Rehearsal::new().draft(None));
            let written = sqlx::raw_sql(AssertSqlSafe(record))
                .fetch_one(&mut *connection)
                .await;
            let written = written.map_err(|error| write_error(error, &sql.schema, settle_error));
            written.map_err(|error| settle_failure(error, is_refusal))?;
        }
        connection.rollback().await.map_err(store_error)?;
        connection.release();
        Ok(())
    }

    /// Writes a rehearsed record and reads it.
    async fn record(
        &self,
        connection: &mut CheckedConnection<Postgres>,
        rehearsal: &Rehearsal,
        replaces: Option<Version>,
    ) -> Result<Option<Version>, StoreError> {
        let draft = rehearsal.draft(replaces);
        let written = self.write(connection, draft).await;
        let written = written.map_err(|error| settle_failure(error, is_refusal))?;
        let read = self.settings.sql.find(&rehearsal.identity);
        let found = find_with(connection, read, &rehearsal.identity).await?;
        rehearsal.compare(found, &draft)?;
        Ok(Some(Version {
            attempts: draft.attempts,
            settled_at: written.settled_at,
        }))
    }

    /// Opens a transaction, with the claim where there is a procedure for it.
    async fn open(
        &self,
        connection: &mut CheckedConnection<Postgres>,
        opening: Opening,
        setup: &Setup,
        claim: Option<ClaimRequest<'_>>,
    ) -> sqlx::Result<()> {
        let Settings { sql, limit, .. } = &self.settings;
        let limits = setup.limits(*limit, opening.deadline);
        let mut begin = sql.begin(opening.isolation, limits, claim);
        let rest = self
            .settings
            .begin_alone
            .then(|| sql::split_off_rest(&mut begin));
        let begin = AssertSqlSafe(begin).into_sql_str();
        connection.begin(begin).await?;
        if let Some(rest) = rest {
            let rest = sqlx::raw_sql(AssertSqlSafe(rest));
            rest.execute(&mut **connection).await?;
        }
        Ok(())
    }

    /// Whether the record and the commit can be one message.
    fn may_fuse(&self) -> bool {
        let has_procedures = self.setup.get().is_some_and(|known| known.has_procedures);
        self.settings.record_in_commit && has_procedures
    }

    async fn connection(&self) -> Result<CheckedConnection<Postgres>, StoreError> {
        CheckedConnection::acquire(&self.pool)
            .await
            .map_err(store_error)
    }
}

/// An open PostgreSQL transaction that holds an identity.
#[derive(Debug)]
pub struct PostgresClaim {
    connection: CheckedConnection<Postgres>,
}

impl Claim for PostgresClaim {
    type Connection = PgConnection;

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Store for PostgresStore {
    type Connection = PgConnection;
    type Claim = PostgresClaim;

    async fn begin(&self, opening: Opening) -> Result<PostgresClaim, StoreError> {
        let known = self.setup().await?;
        let mut connection = self.connection().await?;
        let opened = self.open(&mut connection, opening, known, None).await;
        opened.map_err(store_error)?;
        Ok(PostgresClaim { connection })
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<PostgresClaim>, StoreError> {
        let known = self.setup().await?;
        let mut connection = self.connection().await?;
        if request.likely_taken {
            // Raises no SQL error for an identity that is in flight or recorded.
            let taken = if self.settings.named_statements {
                let look = self.settings.sql.look(known);
                let lock_id = self.settings.sql.lock_id(request.identity);
                look_with(&mut connection, look, lock_id, request).await?
            } else {
                let read = self.settings.sql.read(request.identity, known);
                read_with(&mut connection, read, request).await?
            };
            if let Some(taken) = taken {
                connection.release();
                return Ok(taken);
            }
        }
        self.claim_with(connection, request, known).await
    }

    async fn settle(
        &self,
        claim: PostgresClaim,
        settlement: Settlement<'_>,
    ) -> Result<(), SettleError> {
        let mut connection = claim.connection;
        // If the handler has cancelled a statement that then failed, its error is reported here.
        let flushed = connection.flush().await;
        if !settlement.keep_writes || flushed.is_err() {
            let undo = if self.settings.begin_alone {
                sql::UNDO_AND_SELECT
            } else {
                sql::UNDO
            };
            connection.execute(undo).await.map_err(settle_error)?;
        }
        if settlement.keep_writes {
            flushed.map_err(|error| SettleError::Aborted(error.into()))?;
        }
        match settlement.record {
            Some(draft) if draft.replaces.is_none() && self.may_fuse() => {
                let times = self.write_and_commit(&mut connection, draft).await?;
                let _ = settlement.written.set(times);
            }
            Some(draft) => {
                let times = self.write(&mut connection, draft).await?;
                let _ = settlement.written.set(times);
                connection.commit_checked(is_answer).await?;
            }
            None if self.in_transaction(&mut connection).await? => {
                connection.commit_checked(is_answer).await?;
            }
            None => return Err(SettleError::Ended),
        }
        connection.release();
        Ok(())
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        let mut connection = self.connection().await?;
        let found = find_with(&mut connection, self.settings.sql.find(identity), identity).await?;
        connection.release();
        Ok(found)
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        let records = self.delete(self.settings.sql.purge(limit)).await?;
        Ok(Purged {
            records,
            ..Purged::default()
        })
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        erase_all(|until| self.erase_once(scope, until)).await
    }

    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        let setup = self.setup().await?;
        let rows = self
            .fetch(self.settings.sql.forget(identity, setup))
            .await?;
        if let [_, _, _] = &rows[..] {
            return Ok(Forgotten::Deleted);
        }
        let in_flight = rows.iter().map(|row| row.try_get::<bool, _>(0));
        let in_flight: Vec<bool> = in_flight
            .collect::<sqlx::Result<_>>()
            .map_err(store_error)?;
        Ok(if in_flight.contains(&true) {
            Forgotten::InFlight
        } else {
            Forgotten::Missing
        })
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        let rows = self.fetch(self.settings.sql.tally(scope)).await?;
        stats(&rows).map_err(store_error)
    }
}

impl SqlRunStore for PostgresStore {
    fn run_sql(&self) -> RunSql {
        let sql = self.settings.sql.runs();
        sql.with_names(self.settings.named_statements)
    }

    async fn check_records(&self) -> Result<(), StoreError> {
        self.check().await
    }

    async fn migrate_runs(&self) -> Result<(), StoreError> {
        self.migrate().await?;
        setup::set_up_runs(&self.pool, &self.settings.sql).await
    }
}

impl Place for PostgresStore {
    type Database = Postgres;

    fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.settings.sql.schema)
    }

    fn has_names(&self) -> bool {
        self.settings.named_statements
    }

    async fn apply(&self, name: &'static str, scripts: &[&'static str]) -> Result<(), StoreError> {
        let bookkeeping = format!("{name}_migrations");
        setup::set_up_tables(&self.pool, &self.settings.sql, &bookkeeping, name, scripts).await
    }

    fn error(error: sqlx::Error) -> StoreError {
        store_error(error)
    }
}

runs!(PgConnection, PostgresStore, store_error);

impl PostgresStore {
    async fn claim_with(
        &self,
        mut connection: CheckedConnection<Postgres>,
        request: ClaimRequest<'_>,
        setup: &Setup,
    ) -> Result<Claimed<PostgresClaim>, StoreError> {
        if !setup.has_procedures {
            return self.claim_plainly(connection, request, setup).await;
        }
        let opened = self.open(&mut connection, request.opening, setup, Some(request));
        let Err(error) = opened.await else {
            return Ok(Claimed::Won(PostgresClaim { connection }));
        };
        let is_held = match code(&error).as_deref() {
            Some("ID001") => true,
            Some("ID002") => false,
            _ => return Err(store_error(error)),
        };
        let sql = &self.settings.sql;
        let read = if self.settings.begin_alone {
            connection.rollback().await.map_err(store_error)?;
            sql.find(request.identity)
        } else {
            sql.rollback_and_find(request.identity)
        };
        let found = find_with(&mut connection, read, request.identity).await?;
        // The lock may be held by a short read of a settled record, whose answer is the record.
        let claimed = if is_held && is_seen(found.as_ref(), request) {
            Claimed::InFlight
        } else {
            Claimed::Changed(found)
        };
        connection.release();
        Ok(claimed)
    }

    /// The claim where there is no procedure for it.
    async fn claim_plainly(
        &self,
        mut connection: CheckedConnection<Postgres>,
        request: ClaimRequest<'_>,
        setup: &Setup,
    ) -> Result<Claimed<PostgresClaim>, StoreError> {
        let opened = self.open(&mut connection, request.opening, setup, None);
        opened.await.map_err(store_error)?;
        let sql = &self.settings.sql;
        let read = sql.claim_plainly(request, setup);
        let mut taken = read_with(&mut connection, read, request).await?;
        if taken.is_none() && request.seen.is_some() {
            let read = sql.hold_record(request.identity);
            taken = read_with(&mut connection, read, request).await?;
        }
        Ok(match taken {
            None => Claimed::Won(PostgresClaim { connection }),
            Some(taken) => {
                connection.rollback().await.map_err(store_error)?;
                connection.release();
                taken
            }
        })
    }

    /// Writes the record, and thereby checks that the transaction is still the claim's and healthy.
    async fn write(
        &self,
        connection: &mut CheckedConnection<Postgres>,
        draft: Draft<'_>,
    ) -> Result<Times, SettleError> {
        let Settings { sql, .. } = &self.settings;
        let statement = match draft.replaces {
            None => &sql.insert,
            Some(_) => &sql.update,
        };
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(statement)))
            .persistent(self.settings.named_statements)
            .bind(draft.identity.as_bytes().as_slice())
            .bind(draft.operation.as_str())
            .bind(draft.state.code())
            .bind(draft.attempts)
            .bind(i16::try_from(draft.status.as_u16()).unwrap_or(i16::MAX))
            .bind(draft.fingerprint.to_bytes())
            .bind(draft.response)
            .bind(i64::try_from(draft.ttl.as_micros()).unwrap_or(i64::MAX));
        if let Some(Version {
            attempts,
            settled_at,
        }) = draft.replaces
        {
            query = query.bind(attempts).bind(settled_at.0);
        }
        let written = query.fetch_optional(&mut **connection).await;
        match written.map_err(|error| write_error(error, &sql.schema, settle_error))? {
            Some(row) => binary_times(&row).map_err(settle_error),
            None if !self.in_transaction(connection).await? => Err(SettleError::Ended),
            // The UPDATE found no row: the record was replaced.
            None if draft.replaces.is_some() => Err(SettleError::Superseded),
            None => Err(SettleError::Misconfigured(SUPPRESSED.into())),
        }
    }

    /// Writes a first record and commits, in one message.
    async fn write_and_commit(
        &self,
        connection: &mut CheckedConnection<Postgres>,
        draft: Draft<'_>,
    ) -> Result<Times, SettleError> {
        connection.check_depth()?;
        let sql = &self.settings.sql;
        let row = sqlx::raw_sql(AssertSqlSafe(sql.insert_and_commit(&draft)))
            .fetch_one(&mut **connection)
            .await;
        let commit_error = |error| super::connection::commit_error(error, is_answer);
        let row = row.map_err(|error| write_error(error, &sql.schema, commit_error))?;
        // sqlx believes that the transaction goes on, so one does: `COMMIT AND CHAIN`.
        connection.rollback_soon();
        times(&row).map_err(|error| SettleError::Unknown(error.into()))
    }

    async fn in_transaction(
        &self,
        connection: &mut CheckedConnection<Postgres>,
    ) -> Result<bool, SettleError> {
        let check = AssertSqlSafe(Arc::clone(&self.settings.sql.check));
        let row = sqlx::raw_sql(check).fetch_one(&mut **connection).await;
        let claimed: sqlx::Result<Option<bool>> = row.and_then(|row| row.try_get(0));
        Ok(claimed.map_err(settle_error)? == Some(true))
    }

    async fn erase_once(
        &self,
        scope: &ScopeDigest,
        until: Option<Timestamp>,
    ) -> Result<Erasure, StoreError> {
        let mut connection = self.connection().await?;
        let erase = AssertSqlSafe(self.settings.sql.erase(scope, until));
        let answers = sqlx::raw_sql(erase).fetch_many(&mut *connection);
        let answers: Vec<_> = answers.try_collect().await.map_err(store_error)?;
        connection.release();
        // The answers to BEGIN and DELETE, then the row.
        let [_, Either::Left(deleted), Either::Right(row), ..] = &answers[..] else {
            let error = "the answers are not those to an erasure";
            return Err(StoreError::Unavailable(error.into()));
        };
        let left: i64 = row.try_get(0).map_err(store_error)?;
        Ok(Erasure {
            erased: deleted.rows_affected(),
            left: left.unsigned_abs(),
            until: Timestamp(row.try_get(1).map_err(store_error)?),
        })
    }

    /// Runs statements that end their transaction, and returns all rows.
    async fn fetch(&self, sql: String) -> Result<Vec<PgRow>, StoreError> {
        let mut connection = self.connection().await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection);
        let rows = rows.await.map_err(store_error)?;
        connection.release();
        Ok(rows)
    }

    async fn delete(&self, sql: String) -> Result<u64, StoreError> {
        let mut connection = self.connection().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *connection)
            .await;
        let done = done.map_err(store_error)?;
        connection.release();
        Ok(done.rows_affected())
    }
}

/// Of an INSERT that succeeds without a row.
const SUPPRESSED: &str = "a trigger or a rule on the table suppresses the record";

/// Whether the record has the version that the claim has seen.
fn is_seen(found: Option<&Found>, request: ClaimRequest<'_>) -> bool {
    found.map(|found| found.record.version()) == request.seen
}

/// The answer for an identity that is in flight or recorded; `None` if it can be claimed.
async fn read_with(
    connection: &mut CheckedConnection<Postgres>,
    sql: String,
    request: ClaimRequest<'_>,
) -> Result<Option<Claimed<PostgresClaim>>, StoreError> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(&mut **connection)
        .await;
    let rows = rows.map_err(read_error)?;
    let Some((lock, records)) = rows.split_first() else {
        return Ok(None);
    };
    let is_locked: bool = lock.try_get(0).map_err(store_error)?;
    let found = records.first().map(|row| found(row, request.identity));
    Ok(taken(found.transpose()?, !is_locked, request))
}

/// The answer from a record, if it is not the one that the claim has seen, or from a lock that another has.
fn taken(
    found: Option<Found>,
    is_held: bool,
    request: ClaimRequest<'_>,
) -> Option<Claimed<PostgresClaim>> {
    if !is_seen(found.as_ref(), request) {
        return Some(Claimed::Changed(found));
    }
    is_held.then_some(Claimed::InFlight)
}

/// The same before a claim, by a prepared statement.
async fn look_with(
    connection: &mut CheckedConnection<Postgres>,
    look: &Arc<str>,
    lock_id: i64,
    request: ClaimRequest<'_>,
) -> Result<Option<Claimed<PostgresClaim>>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(look)))
        .bind(request.identity.as_bytes().as_slice())
        .bind(lock_id)
        .bind(request.seen.is_some())
        .fetch_one(&mut **connection)
        .await
        .map_err(store_error)?;
    let is_locked: Option<bool> = row.try_get(8).map_err(store_error)?;
    let is_recorded: bool = row.try_get(9).map_err(store_error)?;
    let found = is_recorded.then(|| found_by_look(&row, request.identity));
    Ok(taken(found.transpose()?, is_locked == Some(false), request))
}

async fn find_with(
    connection: &mut CheckedConnection<Postgres>,
    sql: String,
    identity: &Identity,
) -> Result<Option<Found>, StoreError> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(&mut **connection)
        .await;
    let rows = rows.map_err(read_error)?;
    // The first row belongs to the setting.
    rows.get(1).map(|row| found(row, identity)).transpose()
}

fn stats(rows: &[PgRow]) -> sqlx::Result<Stats> {
    stats!(rows)
}

fn found(row: &PgRow, identity: &Identity) -> Result<Found, StoreError> {
    found!(row, identity)
}

fn found_by_look(row: &PgRow, identity: &Identity) -> Result<Found, StoreError> {
    found!(row, identity, binary_time)
}

fn times(row: &PgRow) -> sqlx::Result<Times> {
    Ok(Times {
        settled_at: Timestamp(row.try_get(0)?),
        expires_at: Timestamp(row.try_get(1)?),
    })
}

/// The times of a bound statement.
fn binary_times(row: &PgRow) -> sqlx::Result<Times> {
    Ok(Times {
        settled_at: Timestamp(binary_time(row, 0)?),
        expires_at: Timestamp(binary_time(row, 1)?),
    })
}

/// Microseconds since 1970, from a time of a bound statement. sqlx receives such a time in PostgreSQL's binary form,
/// microseconds since 2000, and has no type for it without another dependency.
fn binary_time(row: &PgRow, column: usize) -> sqlx::Result<i64> {
    const SINCE_1970: i64 = 946_684_800_000_000;
    let value = row.try_get_raw(column)?;
    if value.type_info().name() != "TIMESTAMPTZ" {
        return Err(sqlx::Error::Decode("it is not a timestamptz".into()));
    }
    let bytes = value
        .as_bytes()
        .and_then(|bytes| Ok(<[u8; 8]>::try_from(bytes)?));
    match i64::from_be_bytes(bytes.map_err(sqlx::Error::Decode)?) {
        i64::MIN | i64::MAX => Err(sqlx::Error::Decode("it is infinite".into())),
        since_2000 => Ok(since_2000.saturating_add(SINCE_1970)),
    }
}

/// The SQLSTATE of an error that the server reported.
fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// Whether the error proves that the commit did not happen: not if the server shut down (57), was in
/// trouble (58, XX), could not be reached (08) or does not know (40003).
fn is_answer(error: &sqlx::Error) -> bool {
    let unsure = ["08", "40003", "57", "58", "XX"];
    code(error).is_some_and(|code| !unsure.iter().any(|class| code.starts_with(class)))
}

/// Whether the server refused a migration as such, rather than for lack of resources (53) or because
/// of another transaction (40, 55P03).
fn is_refusal(error: &sqlx::Error) -> bool {
    let busy = ["40", "53", "55P03"];
    let is_busy = |code: &str| busy.iter().any(|class| code.starts_with(class));
    is_answer(error) && !code(error).as_deref().is_some_and(is_busy)
}

/// An error of a statement that reads a record. A value that can't be converted (22), such as an
/// infinite time (0A000), is the record's.
fn read_error(error: sqlx::Error) -> StoreError {
    match code(&error).as_deref() {
        Some(code) if code.starts_with("22") || code == "0A000" => {
            tracing::warn!(%error, "a column of a record can't be read");
            Unreadable("a time").into()
        }
        _ => store_error(error),
    }
}

/// Whether the server would refuse it every time: no such schema, function, table or column; or no right
/// to use it, which row level security can also be the reason for.
///
/// Not for a server that is read-only (25006, and 0A000 for BEGIN on a standby): during a fail-over that
/// passes, and it is refused before the handler runs.
fn is_permanent(code: &str) -> bool {
    matches!(code, "3F000" | "42883" | "42P01" | "42703" | "42501")
}

/// Whether an error of a rehearsed request would be that of each request.
fn is_lasting(error: &sqlx::Error) -> bool {
    is_refusal(error) && !matches!(code(error).as_deref(), Some("25006" | "0A000"))
}

fn store_error(error: sqlx::Error) -> StoreError {
    match code(&error).as_deref() {
        Some(code) if is_permanent(code) => StoreError::Misconfigured(error.into()),
        Some("40001" | "40P01" | "55P03") => StoreError::Conflict(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}

fn settle_error(error: sqlx::Error) -> SettleError {
    match code(&error).as_deref() {
        Some("25P02") => SettleError::Aborted(error.into()),
        // No such savepoint, or no transaction at all.
        Some("3B001" | "25P01") => SettleError::Ended,
        _ => SettleError::Refused(error.into()),
    }
}

/// An error of the message that writes a record. `otherwise` is for errors that the record does not
/// explain.
fn write_error(
    error: sqlx::Error,
    schema: &Schema,
    otherwise: impl FnOnce(sqlx::Error) -> SettleError,
) -> SettleError {
    let database = error.as_database_error();
    let database = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    let records = database.is_some_and(|error| error.schema() == Some(&*schema.name));
    match code(&error).as_deref() {
        Some("23505") if records => SettleError::Superseded,
        // Under the stricter isolations this is the error for a record that the snapshot misses.
        Some("40001") => SettleError::Superseded,
        // The state is null: the claim's setting is gone, and its transaction with it.
        Some("23502") if records => SettleError::Ended,
        // The error of a guarded session outside of a transaction that writes.
        Some("25006") => SettleError::Ended,
        Some("25P02" | "25P01") => settle_error(error),
        Some("ID003") => SettleError::Misconfigured(SUPPRESSED.into()),
        // 0A000 is that of a rule without RETURNING.
        Some(code) if is_permanent(code) || code == "0A000" => {
            SettleError::Misconfigured(error.into())
        }
        // A constraint, a column or a trigger that is not idem's own.
        Some(code) if records && code.starts_with("23") => SettleError::Misconfigured(error.into()),
        _ => otherwise(error),
    }
}
