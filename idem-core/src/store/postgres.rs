//! PostgreSQL.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgRow;
use sqlx::{
    AssertSqlSafe, Executor as _, PgConnection, PgPool, Postgres, Row as _, SqlSafeStr as _,
};

use super::lease::{Lease, migrate};
use super::{
    Claim, ClaimRequest, Claimed, Draft, SettleError, Settlement, Store, StoreError, Times,
};
use crate::call::{Identity, ScopeDigest, hex};
use crate::record::{Found, Timestamp, Version};

macro_rules! select_record {
    ($identity:literal) => {
        concat!(
            "SELECT state, attempts, status, fingerprint, response, \
             (extract(epoch FROM settled_at) * 1000000)::bigint, \
             (extract(epoch FROM expires_at) * 1000000)::bigint, \
             (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
             FROM idem.records WHERE identity = ",
            $identity
        )
    };
}

/// sqlx reads bytes in this form only, when a query is sent as text.
macro_rules! hex_output {
    () => {
        "pg_catalog.set_config('bytea_output', 'hex', true)"
    };
}

/// Records in the schema `idem` of a PostgreSQL database.
///
/// The claim travels in BEGIN's message, as a call of the function `idem.claim`; the record is a
/// bound INSERT before COMMIT. Locks are advisory and belong to the transaction, so a pooler in
/// transaction mode is fine.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Keeps records where `pool` connects to: the database of the application's own tables.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Creates the schema `idem`, its table and functions, or brings them up to date.
    ///
    /// The bookkeeping is in `idem.migrations`, apart from the application's own migrations. Many
    /// instances may call it at once.
    ///
    /// # Errors
    ///
    /// Whatever the database reports, such as a missing privilege.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = Migrator::with_migrations(vec![Migration::new(
            1,
            Cow::Borrowed("records"),
            MigrationType::Simple,
            include_str!("../../migrations/postgres/0001_records.sql").into_sql_str(),
            false,
        )]);
        migrator.create_schema("idem");
        migrator.dangerous_set_table_name("idem.migrations");
        migrate(&self.pool, &migrator, None).await
    }

    async fn lease(&self) -> Result<Lease<Postgres>, StoreError> {
        Lease::acquire(&self.pool).await.map_err(store_error)
    }

    /// Looks without raising, for an identity that is likely taken: in flight, recorded, or free.
    async fn look(
        &self,
        lease: &mut Lease<Postgres>,
        request: ClaimRequest<'_>,
    ) -> Result<Option<Claimed<PostgresClaim>>, StoreError> {
        let literals = Literals::of(request);
        let sql = format!(
            concat!(
                "SELECT idem.try_lock({}), ",
                hex_output!(),
                "; ",
                select_record!("pg_catalog.decode('{}', 'hex')")
            ),
            literals.lock_id, literals.identity
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&mut **lease)
            .await
            .map_err(store_error)?;
        let Some((free, record)) = rows.split_first() else {
            return Ok(None);
        };
        if !free.try_get::<bool, _>(0).map_err(store_error)? {
            return Ok(Some(Claimed::InFlight));
        }
        let found = record.first().map(|row| found(row, request.identity));
        let found = found.transpose()?;
        let version = found.as_ref().map(|found| found.record.version());
        Ok((version != request.seen).then_some(Claimed::Changed(found)))
    }
}

/// An open PostgreSQL transaction that holds an identity.
#[derive(Debug)]
pub struct PostgresClaim {
    lease: Lease<Postgres>,
}

impl Claim for PostgresClaim {
    type Connection = PgConnection;

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.lease
    }
}

/// Behind the claim, so that undoing what the handler wrote keeps the lock.
const SAVEPOINT: &str = "SAVEPOINT idem_attempt";

const BEGIN: &str = "BEGIN; SELECT pg_catalog.set_config('idem.transaction', 'claimed', true); \
     SAVEPOINT idem_attempt";

const UNDO: &str = "ROLLBACK TO SAVEPOINT idem_attempt";

const IN_TRANSACTION: &str =
    "SELECT pg_catalog.current_setting('idem.transaction', true) OPERATOR(pg_catalog.=) 'claimed'";

const INSERT: &str = "INSERT INTO idem.records \
     (identity, operation, state, attempts, status, fingerprint, response, settled_at, expires_at) \
     SELECT $1, $2, $3, $4, $5, $6, $7, clock.now, \
     clock.now OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => $8) \
     FROM (SELECT pg_catalog.clock_timestamp() AS now OFFSET 0) AS clock \
     WHERE pg_catalog.current_setting('idem.transaction', true) OPERATOR(pg_catalog.=) 'claimed' \
     RETURNING (extract(epoch FROM settled_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, \
     (extract(epoch FROM expires_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8";

const UPDATE: &str = "UPDATE idem.records AS record \
     SET operation = $2, state = $3, attempts = $4, status = $5, fingerprint = $6, response = $7, \
     settled_at = clock.now, \
     expires_at = clock.now OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => $8) \
     FROM (SELECT pg_catalog.clock_timestamp() AS now OFFSET 0) AS clock \
     WHERE record.identity OPERATOR(pg_catalog.=) $1 \
     AND record.attempts OPERATOR(pg_catalog.=) $9 \
     AND (extract(epoch FROM record.settled_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 \
     OPERATOR(pg_catalog.=) $10 \
     AND pg_catalog.current_setting('idem.transaction', true) OPERATOR(pg_catalog.=) 'claimed' \
     RETURNING (extract(epoch FROM record.settled_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, \
     (extract(epoch FROM record.expires_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8";

const PURGE: &str = "DELETE FROM idem.records WHERE ctid = ANY (ARRAY( \
     SELECT ctid FROM idem.records WHERE expires_at <= statement_timestamp() \
     ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))";

const ERASE: &str = "DELETE FROM idem.records WHERE identity BETWEEN $1 AND $2";

impl Store for PostgresStore {
    type Connection = PgConnection;
    type Claim = PostgresClaim;

    async fn begin(&self) -> Result<PostgresClaim, StoreError> {
        let mut lease = self.lease().await?;
        let begun = lease.begin(BEGIN.into_sql_str()).await;
        begun.map_err(store_error)?;
        Ok(PostgresClaim { lease })
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<PostgresClaim>, StoreError> {
        let mut lease = self.lease().await?;
        if request.likely_taken
            && let Some(claimed) = self.look(&mut lease, request).await?
        {
            lease.release();
            return Ok(claimed);
        }
        let literals = Literals::of(request);
        let begin = format!(
            "BEGIN; SELECT idem.claim(pg_catalog.decode('{}', 'hex'), {}, {}, {}); {SAVEPOINT}",
            literals.identity, literals.lock_id, literals.attempts, literals.settled_at,
        );
        let Err(error) = lease.begin(AssertSqlSafe(begin).into_sql_str()).await else {
            return Ok(Claimed::Won(PostgresClaim { lease }));
        };
        let claimed = match code(&error).as_deref() {
            Some("ID001") => {
                lease.execute("ROLLBACK").await.map_err(store_error)?;
                Claimed::InFlight
            }
            Some("ID002") => {
                let sql = format!(
                    concat!(
                        "ROLLBACK; SELECT ",
                        hex_output!(),
                        "; ",
                        select_record!("pg_catalog.decode('{}', 'hex')")
                    ),
                    literals.identity
                );
                let rows = sqlx::raw_sql(AssertSqlSafe(sql))
                    .fetch_all(&mut *lease)
                    .await
                    .map_err(store_error)?;
                let found = rows.get(1).map(|row| found(row, request.identity));
                Claimed::Changed(found.transpose()?)
            }
            _ => return Err(store_error(error)),
        };
        lease.release();
        Ok(claimed)
    }

    async fn settle(
        &self,
        claim: PostgresClaim,
        settlement: Settlement<'_>,
    ) -> Result<(), SettleError> {
        let mut lease = claim.lease;
        // The error of a statement whose future the handler has dropped is reported by the next one.
        let drained = lease.drain().await;
        if !settlement.keep_writes || drained.is_err() {
            lease.execute(UNDO).await.map_err(settle_error)?;
        }
        if settlement.keep_writes {
            drained.map_err(|error| SettleError::Aborted(error.into()))?;
        }
        match settlement.record {
            Some(draft) => {
                let times = write(&mut lease, draft).await?;
                let _ = settlement.written.set(times);
            }
            None if in_transaction(&mut lease).await? => {}
            None => return Err(SettleError::Ended),
        }
        lease.settle(is_answer).await?;
        lease.release();
        Ok(())
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        let mut lease = self.lease().await?;
        let row = sqlx::query(select_record!("$1"))
            .bind(identity.as_bytes().as_slice())
            .fetch_optional(&mut *lease)
            .await
            .map_err(store_error)?;
        lease.release();
        row.map(|row| found(&row, identity)).transpose()
    }

    async fn purge_expired(&self, limit: u32) -> Result<u64, StoreError> {
        let mut lease = self.lease().await?;
        let done = sqlx::query(PURGE)
            .bind(i64::from(limit))
            .execute(&mut *lease)
            .await
            .map_err(store_error)?;
        lease.release();
        Ok(done.rows_affected())
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        let mut lease = self.lease().await?;
        let done = sqlx::query(ERASE)
            .bind(scope.first().as_slice())
            .bind(scope.last().as_slice())
            .execute(&mut *lease)
            .await
            .map_err(store_error)?;
        lease.release();
        Ok(done.rows_affected())
    }
}

/// What is formatted into SQL: hex and integers, and only here.
struct Literals {
    identity: String,
    lock_id: i64,
    attempts: String,
    settled_at: String,
}

impl Literals {
    fn of(request: ClaimRequest<'_>) -> Self {
        let literal = |number: Option<i64>| number.map_or("NULL".to_owned(), |n| n.to_string());
        Self {
            identity: hex(request.identity.as_bytes()),
            lock_id: request.identity.lock_id(),
            attempts: literal(request.seen.map(|seen| i64::from(seen.attempts))),
            settled_at: literal(request.seen.map(|seen| seen.settled_at.0)),
        }
    }
}

/// Writes the record, and thereby checks that the transaction is still the claim's and healthy.
async fn write(lease: &mut Lease<Postgres>, draft: Draft<'_>) -> Result<Times, SettleError> {
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
        .bind(status(draft))
        .bind(draft.fingerprint.to_bytes())
        .bind(draft.response)
        .bind(draft.ttl.as_secs_f64());
    if let Some(Version {
        attempts,
        settled_at,
    }) = draft.replaces
    {
        query = query.bind(attempts).bind(settled_at.0);
    }
    let written = query.fetch_optional(&mut **lease).await;
    match written.map_err(write_error)? {
        Some(row) => times(&row).map_err(settle_error),
        // An UPDATE of nothing: the transaction is gone, or the record was replaced.
        None if in_transaction(lease).await? => Err(SettleError::Superseded),
        None => Err(SettleError::Ended),
    }
}

async fn in_transaction(lease: &mut Lease<Postgres>) -> Result<bool, SettleError> {
    let row = lease
        .fetch_one(IN_TRANSACTION)
        .await
        .map_err(settle_error)?;
    let claimed: Option<bool> = row.try_get(0).map_err(settle_error)?;
    Ok(claimed == Some(true))
}

fn status(draft: Draft<'_>) -> i16 {
    // A status has three digits.
    i16::try_from(draft.status.as_u16()).unwrap_or(i16::MAX)
}

fn times(row: &PgRow) -> sqlx::Result<Times> {
    Ok(Times {
        settled_at: Timestamp(row.try_get(0)?),
        expires_at: Timestamp(row.try_get(1)?),
    })
}

fn found(row: &PgRow, identity: &Identity) -> Result<Found, StoreError> {
    found!(row, identity)
}

/// The SQLSTATE of an error that the server reported.
fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// Whether the server itself said no, rather than going away: shut down (57), in trouble (58, XX),
/// out of reach (08), or not sure itself (40003).
fn is_answer(error: &sqlx::Error) -> bool {
    let unsure = ["08", "40003", "57", "58", "XX"];
    code(error).is_some_and(|code| !unsure.iter().any(|class| code.starts_with(class)))
}

fn store_error(error: sqlx::Error) -> StoreError {
    match code(&error).as_deref() {
        // No such schema, function, table or column.
        Some("3F000" | "42883" | "42P01" | "42703") => StoreError::Misconfigured(error.into()),
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

fn write_error(error: sqlx::Error) -> SettleError {
    match code(&error).as_deref() {
        Some("23505") => SettleError::Superseded,
        _ => settle_error(error),
    }
}
