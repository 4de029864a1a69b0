//! The schema, and the facts about the database that a claim needs.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Executor as _, PgPool, Postgres, Row as _, SqlSafeStr as _};

use super::{code, is_refusal, store_error};
use crate::store::connection::CheckedConnection;
use crate::store::migrate::migrate;
use crate::store::{BoxError, StoreError};

/// After how long the server itself ends an attempt whose process is frozen or cut off, and which
/// would otherwise hold its key: `statement_timeout` and `idle_in_transaction_session_timeout`.
///
/// A stricter limit of the session stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeLimit {
    /// One second more than the endpoint's deadline, for each statement and for each pause between
    /// two: the default.
    Deadline,
    /// This long, for each.
    Fixed(Duration),
    /// The session's own limits.
    Session,
}

/// How much later than the engine's deadline the server's limit is.
const GRACE: Duration = Duration::from_secs(1);

/// The bookkeeping's last entries: the table, and the claim as a procedure.
const TABLE: i64 = 1;
const PROCEDURE: i64 = 2;

const RECORDS: &str = include_str!("../../../migrations/postgres/0001_records.sql");
const CLAIM: &str = include_str!("../../../migrations/postgres/0002_claim.sql");

/// The lock belongs to the transaction, so none stays in the session.
const MIGRATE: &str = "BEGIN READ WRITE; SELECT pg_catalog.pg_advisory_xact_lock(7593137320331)";

pub(super) async fn set_up(pool: &PgPool) -> Result<(), StoreError> {
    let migration = |version, name, sql: &'static str| {
        let (name, kind) = (Cow::Borrowed(name), MigrationType::Simple);
        Migration::new(version, name, kind, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(vec![
        migration(TABLE, "records", RECORDS),
        migration(PROCEDURE, "claim", CLAIM),
    ]);
    migrator.create_schema("idem");
    migrator.dangerous_set_table_name("idem.migrations");
    migrator.set_locking(false);
    let may_stop = |error: &MigrateError| match error {
        MigrateError::ExecuteMigration(error, PROCEDURE) if may_do_without(error) => {
            tracing::warn!(%error, "functions can't be created; claims take one more round trip");
            true
        }
        _ => false,
    };
    migrate(pool, &migrator, MIGRATE, may_stop, is_refusal).await
}

/// Whether functions are forbidden or unknown here, rather than wrong.
fn may_do_without(error: &sqlx::Error) -> bool {
    // Insufficient privilege, feature not supported, no such language.
    matches!(code(error).as_deref(), Some("42501" | "0A000" | "42704"))
}

/// The facts about a database, read before the first claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// Whether the claim is a procedure.
    pub(super) has_procedure: bool,
    session: Limits,
}

/// Milliseconds; `None` where the session's own limit stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) statement: Option<u64>,
    pub(super) idle: Option<u64>,
}

const LEARN: &str = "SELECT (SELECT max(version) FROM idem.migrations), \
     (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'), \
     (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'idle_in_transaction_session_timeout'), \
     (SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege('idem.records', needed)) \
     FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS needed)";

const TEST_LOCK: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks \
     WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() AND granted";

impl Setup {
    pub(super) async fn learn(
        connection: &mut CheckedConnection<Postgres>,
    ) -> Result<Self, StoreError> {
        let row = connection.fetch_one(LEARN).await.map_err(store_error)?;
        let version: Option<i64> = row.try_get(0).map_err(store_error)?;
        let version = version.unwrap_or(0);
        if version < TABLE {
            return Err(misconfigured("the schema `idem` is empty; run `migrate()`"));
        }
        if version > PROCEDURE {
            return Err(misconfigured(format!(
                "the schema `idem` has version {version}, made by a later release; this one knows {PROCEDURE}"
            )));
        }
        if !row.try_get::<bool, _>(3).map_err(store_error)? {
            return Err(misconfigured(
                "this role may not SELECT, INSERT and UPDATE in `idem.records`",
            ));
        }
        let limit_of = |column| {
            let milliseconds: i64 = row.try_get(column).map_err(store_error)?;
            let milliseconds = u64::try_from(milliseconds).unwrap_or(0);
            Ok::<_, StoreError>((milliseconds > 0).then_some(milliseconds))
        };
        let session = Limits {
            statement: limit_of(1)?,
            idle: limit_of(2)?,
        };
        let setup = Self {
            has_procedure: version == PROCEDURE,
            session,
        };
        setup.test_lock(connection).await?;
        Ok(setup)
    }

    /// Warns if the lock function locks nothing; the unique index still guarantees at most one effect.
    async fn test_lock(
        &self,
        connection: &mut CheckedConnection<Postgres>,
    ) -> Result<(), StoreError> {
        let try_lock = self.try_lock();
        // A lock of this session alone: many instances may test at once.
        let sql =
            format!("BEGIN; SELECT {try_lock}(pg_catalog.pg_backend_pid()); {TEST_LOCK}; ROLLBACK");
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        let rows = rows
            .fetch_all(&mut **connection)
            .await
            .map_err(store_error)?;
        let [locked, locks] = rows.as_slice() else {
            return Err(misconfigured(format!(
                "`{try_lock}` is not a function of one lock"
            )));
        };
        let locked: Option<bool> = locked.try_get(0).map_err(store_error)?;
        let locks: i64 = locks.try_get(0).map_err(store_error)?;
        match (locked, locks) {
            (Some(true), 1..) => {}
            (Some(true), _) => tracing::warn!(
                "`{try_lock}` locks nothing: duplicates on other instances run, and all but one are undone"
            ),
            _ => {
                let text = format!("`{try_lock}` refuses a lock that is free");
                return Err(misconfigured(text));
            }
        }
        Ok(())
    }

    /// The lock function.
    pub(super) fn try_lock(&self) -> &'static str {
        if self.has_procedure {
            "idem.try_lock"
        } else {
            "pg_catalog.pg_try_advisory_xact_lock"
        }
    }

    /// The limits to set for an attempt with this deadline.
    pub(super) fn limits(&self, limit: TimeLimit, deadline: Duration) -> Limits {
        let limit = match limit {
            TimeLimit::Deadline => deadline + GRACE,
            TimeLimit::Fixed(limit) => limit,
            TimeLimit::Session => {
                return Limits {
                    statement: None,
                    idle: None,
                };
            }
        };
        // PostgreSQL's largest limit is `i32::MAX`; its smallest is 1, as 0 means none.
        let most = u64::from(i32::MAX.unsigned_abs());
        let limit = u64::try_from(limit.as_millis())
            .unwrap_or(most)
            .clamp(1, most);
        let stricter = |session: Option<u64>| match session {
            Some(own) if own <= limit => None,
            _ => Some(limit),
        };
        Limits {
            statement: stricter(self.session.statement),
            idle: stricter(self.session.idle),
        }
    }
}

fn misconfigured(text: impl Into<BoxError>) -> StoreError {
    StoreError::Misconfigured(text.into())
}
