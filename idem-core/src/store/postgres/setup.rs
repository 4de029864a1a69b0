//! The schema, and the facts about the database that a claim needs.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, SqlSafeStr as _};

use super::sql::Sql;
use super::{code, is_refusal, store_error};
use crate::store::StoreError;
use crate::store::connection::CheckedConnection;
use crate::store::migrate::{Migrations, check_version, migration};
use crate::store::rehearsal::misconfigured;

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

/// The migration that makes the table.
const TABLE: i64 = 1;

/// The migration that makes the first procedures.
const CLAIMS: i64 = 2;

const RECORDS: &str = include_str!("../../../migrations/postgres/0001_records.sql");
const CLAIM: &str = include_str!("../../../migrations/postgres/0002_claim.sql");
const RUNS: &str = include_str!("../../../migrations/postgres/steps_0001_runs.sql");
const FIRST: &str = include_str!("../../../migrations/postgres/0003_first.sql");

pub(super) async fn set_up(pool: &PgPool, sql: &Sql) -> Result<(), StoreError> {
    let script = |script| AssertSqlSafe(sql.script(script)).into_sql_str();
    let schema = &sql.schema;
    let migrations = vec![
        migration(TABLE, "records", script(RECORDS), false),
        migration(CLAIMS, "claim", script(CLAIM), false),
        migration(Setup::PROCEDURES, "first", script(FIRST), false),
    ];
    let place = format!("the schema `{}`", schema.name);
    let migrations = Migrations::new(place, format!("{schema}.migrations"), migrations)
        .in_schema(schema.to_string());
    let may_stop = |error: &MigrateError| match error {
        MigrateError::ExecuteMigration(error, CLAIMS | Setup::PROCEDURES)
            if may_do_without(error) =>
        {
            tracing::warn!(%error, "functions can't be created; claims take one more round trip");
            true
        }
        _ => false,
    };
    let opening = AssertSqlSafe(sql.begin_migration()).into_sql_str();
    migrations.run(pool, opening, may_stop, is_refusal).await
}

/// Makes the tables of runs.
pub(super) async fn set_up_runs(pool: &PgPool, sql: &Sql) -> Result<(), StoreError> {
    set_up_tables(pool, sql, "step_migrations", "runs", &[RUNS]).await
}

/// Makes other tables, with a bookkeeping of their own.
pub(super) async fn set_up_tables(
    pool: &PgPool,
    sql: &Sql,
    bookkeeping: &str,
    name: &'static str,
    scripts: &[&str],
) -> Result<(), StoreError> {
    let schema = &sql.schema;
    let script = |script| AssertSqlSafe(sql.script(script)).into_sql_str();
    let migrations = scripts.iter().copied().map(script).zip(1..);
    let migrations = migrations.map(|(script, version)| migration(version, name, script, false));
    let place = format!("the {name} in the schema `{}`", schema.name);
    let bookkeeping = format!("{schema}.{bookkeeping}");
    let migrations = Migrations::new(place, bookkeeping, migrations.collect());
    let migrations = migrations.in_schema(schema.to_string());
    let opening = AssertSqlSafe(sql.begin_migration()).into_sql_str();
    let may_stop = |_: &MigrateError| false;
    migrations.run(pool, opening, may_stop, is_refusal).await
}

/// Whether functions are forbidden or unknown here, rather than wrong.
fn may_do_without(error: &sqlx::Error) -> bool {
    // Insufficient privilege, feature not supported, no such language.
    matches!(code(error).as_deref(), Some("42501" | "0A000" | "42704"))
}

/// The facts about a database, read before the first claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// Whether there are the procedures.
    pub(super) has_procedures: bool,
    session: Limits,
}

/// Milliseconds; `None` where the session's own limit stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) statement: Option<u64>,
    pub(super) idle: Option<u64>,
}

impl Setup {
    /// The migration that makes the last of the procedures.
    pub(super) const PROCEDURES: i64 = 3;

    pub(super) async fn learn(
        connection: &mut CheckedConnection<Postgres>,
        sql: &Sql,
    ) -> Result<Self, StoreError> {
        let schema = &sql.schema.name;
        let learn = sqlx::raw_sql(AssertSqlSafe(sql.learn()));
        let row = learn.fetch_one(&mut **connection).await;
        let row = row.map_err(store_error)?;
        let version: Option<i64> = row.try_get(0).map_err(store_error)?;
        let version = version.unwrap_or(0);
        if version < TABLE {
            let text = format!("the schema `{schema}` is empty; run `migrate()`");
            return Err(misconfigured(text));
        }
        check_version(&format!("the schema `{schema}`"), version, Self::PROCEDURES)?;
        let is_true = |column| row.try_get::<bool, _>(column).map_err(store_error);
        let has_procedures = is_true(1)?;
        if version >= CLAIMS && !has_procedures {
            tracing::warn!(
                "the schema `{schema}` is of an earlier release; until `migrate()` runs, claims take one more round trip"
            );
        }
        if !is_true(4)? {
            return Err(misconfigured(format!(
                "this role may not SELECT, INSERT and UPDATE in `{schema}.records`"
            )));
        }
        if !is_true(5)? {
            tracing::warn!(
                "this role may not DELETE in `{schema}.records`: it can't purge or erase"
            );
        }
        if is_true(6)? {
            tracing::warn!(
                "the table `{schema}.records` is UNLOGGED: after a crash all requests may run again"
            );
        }
        let limit_of = |column| {
            let milliseconds: i64 = row.try_get(column).map_err(store_error)?;
            let milliseconds = u64::try_from(milliseconds).unwrap_or(0);
            Ok::<_, StoreError>((milliseconds > 0).then_some(milliseconds))
        };
        let session = Limits {
            statement: limit_of(2)?,
            idle: limit_of(3)?,
        };
        let setup = Self {
            has_procedures,
            session,
        };
        setup.test_lock(connection, sql).await?;
        Ok(setup)
    }

    /// Warns if the lock function locks nothing; the unique index still guarantees at most one effect.
    async fn test_lock(
        &self,
        connection: &mut CheckedConnection<Postgres>,
        sql: &Sql,
    ) -> Result<(), StoreError> {
        let try_lock = sql.try_lock(self);
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.test_lock(self)));
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
