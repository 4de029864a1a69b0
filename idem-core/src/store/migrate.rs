//! Migrations, their bookkeeping, and the versions that a release can work with.
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code, reason = "each store uses a part of it")
)]

use std::borrow::Cow;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Database, Pool, SqlStr};

use super::StoreError;
use super::connection::CheckedConnection;

/// The number of the first migration that an older release can't work with.
///
/// Migrations with lower numbers only add. So a release that doesn't know them works on, and a release
/// that has migrated can be rolled back. A change that an older release can't work with gets this number,
/// in a release after the one that can work with both forms; the next such change gets the next thousand.
const BREAKING: i64 = 1000;

/// Refuses a version that a later release has made and this one can't work with. `known` is the last
/// version that this release knows.
pub(super) fn check_version(place: &str, version: i64, known: i64) -> Result<(), StoreError> {
    if version < BREAKING {
        return Ok(());
    }
    let text = format!(
        "{place} has version {version}, made by a later release; this one knows {known}, and can't work with \
         {BREAKING} or higher"
    );
    Err(StoreError::Misconfigured(text.into()))
}

/// The migrations of a store, and their bookkeeping.
#[derive(Debug)]
pub(super) struct Migrations {
    migrator: Migrator,
    table: String,
    /// What is migrated, for errors.
    place: String,
}

impl Migrations {
    pub(super) fn new(place: String, table: String, migrations: Vec<Migration>) -> Self {
        let mut migrator = Migrator::with_migrations(migrations);
        migrator.dangerous_set_table_name(table.clone());
        // Those of a later release.
        migrator.set_ignore_missing(true);
        // sqlx's own lock belongs to the session, or is missing.
        migrator.set_locking(false);
        Self {
            migrator,
            table,
            place,
        }
    }

    /// The same, in a schema that is created before.
    pub(super) fn in_schema(mut self, schema: String) -> Self {
        self.migrator.create_schema(schema);
        self
    }

    /// Runs the migrations in one transaction, whose `opening` takes a lock. `may_stop` is true for an
    /// error after which the migrations before it are enough; `is_refusal` as in [`migrate_error`].
    pub(super) async fn run<DB>(
        &self,
        pool: &Pool<DB>,
        opening: SqlStr,
        may_stop: impl FnOnce(&MigrateError) -> bool,
        is_refusal: impl FnOnce(&sqlx::Error) -> bool,
    ) -> Result<(), StoreError>
    where
        DB: Database,
        DB::Connection: Migrate,
    {
        let failed = |error: sqlx::Error| StoreError::Unavailable(error.into());
        let mut connection = CheckedConnection::acquire(pool).await.map_err(failed)?;
        connection.begin(opening).await.map_err(failed)?;
        self.run_on(&mut *connection, may_stop, is_refusal).await?;
        connection.commit().await.map_err(failed)?;
        connection.release();
        Ok(())
    }

    /// Runs the migrations in the caller's transaction, or under its lock.
    pub(super) async fn run_on(
        &self,
        connection: &mut impl Migrate,
        may_stop: impl FnOnce(&MigrateError) -> bool,
        is_refusal: impl FnOnce(&sqlx::Error) -> bool,
    ) -> Result<(), StoreError> {
        match self.migrator.run_direct(None, connection, false).await {
            Err(error) if !may_stop(&error) => return Err(migrate_error(error, is_refusal)),
            _ => {}
        }
        let applied = connection.list_applied_migrations(&self.table).await;
        let applied = applied.map_err(|error| migrate_error(error, |_| false))?;
        let last = applied.iter().map(|migration| migration.version).max();
        let known = self
            .migrator
            .iter()
            .map(|migration| migration.version)
            .max();
        check_version(&self.place, last.unwrap_or(0), known.unwrap_or(0))
    }
}

/// A migration whose script is the same in each place, except for the place's name.
pub(super) fn migration(version: i64, name: &'static str, sql: SqlStr, no_tx: bool) -> Migration {
    let (name, kind) = (Cow::Borrowed(name), MigrationType::Simple);
    Migration::new(version, name, kind, sql, no_tx)
}

/// A migration that fails by itself needs an operator. One whose connection was lost, or whose
/// database was in trouble, may succeed when it is tried again. `is_refusal` is true for an SQL error
/// of the first kind.
fn migrate_error(error: MigrateError, is_refusal: impl FnOnce(&sqlx::Error) -> bool) -> StoreError {
    let is_trouble = match &error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            !is_refusal(cause)
        }
        _ => false,
    };
    if is_trouble {
        StoreError::Unavailable(error.into())
    } else {
        StoreError::Misconfigured(error.into())
    }
}
