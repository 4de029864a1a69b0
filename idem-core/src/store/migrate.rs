//! Migrations in one transaction.

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{Database, Pool, SqlSafeStr as _};

use super::StoreError;
use super::connection::CheckedConnection;

/// Runs migrations in one transaction, whose `opening` takes a lock: sqlx's own belongs to the
/// session, or is missing. `may_stop` tells an error after which what is done already will do.
pub(super) async fn migrate<DB>(
    pool: &Pool<DB>,
    migrator: &Migrator,
    opening: &'static str,
    may_stop: impl FnOnce(&MigrateError) -> bool,
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
        Err(error) if !may_stop(&error) => return Err(StoreError::Misconfigured(error.into())),
        _ => {}
    }
    connection.commit().await.map_err(failed)?;
    connection.release();
    Ok(())
}
