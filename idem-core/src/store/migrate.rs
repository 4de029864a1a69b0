//! Migrations in one transaction.
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code, reason = "each store uses a part of it")
)]

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{Database, Pool, SqlSafeStr as _};

use super::StoreError;
use super::connection::CheckedConnection;

/// Runs migrations in one transaction, whose `opening` takes a lock: sqlx's own lock belongs to the
/// session, or is missing. `may_stop` is true for an error after which the migrations before it are
/// enough; `is_refusal` as in [`migrate_error`].
pub(super) async fn migrate<DB>(
    pool: &Pool<DB>,
    migrator: &Migrator,
    opening: &'static str,
    may_stop: impl FnOnce(&MigrateError) -> bool,
    is_refusal: impl FnOnce(&sqlx::Error) -> bool,
) -> Result<(), StoreError>
where
    DB: Database,
    DB::Connection: Migrate,
{
    let failed = |error: sqlx::Error| StoreError::Unavailable(error.into());
    let mut connection = CheckedConnection::acquire(pool).await.map_err(failed)?;
    let begun = connection.begin(opening.into_sql_str()).await;
    begun.map_err(failed)?;
    match migrator.run_direct(None, &mut *connection, false).await {
        Err(error) if !may_stop(&error) => return Err(migrate_error(error, is_refusal)),
        _ => {}
    }
    connection.commit().await.map_err(failed)?;
    connection.release();
    Ok(())
}

/// A migration that fails by itself needs an operator. One whose connection was lost, or whose
/// database was in trouble, may succeed when it is tried again. `is_refusal` is true for an SQL error
/// of the first kind.
pub(super) fn migrate_error(
    error: MigrateError,
    is_refusal: impl FnOnce(&sqlx::Error) -> bool,
) -> StoreError {
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
