//! A pooler between the application and the server, as far as a check can see it.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, SqlSafeStr as _};

use super::{code, store_error};
use crate::store::StoreError;
use crate::store::connection::CheckedConnection;
use crate::store::rehearsal::misconfigured;

/// A pooler in session mode may have no server connection left for a second client.
const PATIENCE: Duration = Duration::from_secs(2);

const LOST: &str = "a pooler gives the prepared statements of one client to others, as PgBouncer does in \
     transaction mode before 1.21 or without `max_prepared_statements`; use `with_unnamed_statements()`";

/// The error of `PgBouncer` for it has the SQLSTATE 08P01.
const STATEMENT_MODE: &str = "a pooler refuses transactions, as PgBouncer does with `pool_mode = statement`; \
     idem needs its mode `transaction` or `session`";

/// Finds out whether transactions can have several messages.
pub(super) async fn check_transactions(
    connection: &mut CheckedConnection<Postgres>,
) -> Result<(), StoreError> {
    let begun = connection.begin("BEGIN".into_sql_str()).await;
    begun.map_err(|error| match code(&error).as_deref() {
        Some("08P01") => misconfigured(STATEMENT_MODE),
        _ => store_error(error),
    })?;
    connection.rollback().await.map_err(store_error)
}

/// Finds out whether named statements survive other clients: a pooler that does not keep track of them
/// gives two clients in turn the same session, in which both use the same names.
pub(super) async fn check_names(pool: &PgPool, first: &mut PgConnection) -> Result<(), StoreError> {
    prepare(first, "SELECT 1").await?;
    let second = async {
        let Ok(mut second) = pool.connect_options().connect().await else {
            // What it would have shown may show itself later, in a request.
            return Ok(());
        };
        prepare(&mut second, "SELECT 2").await?;
        second.close().await.map_err(store_error)
    };
    tokio::time::timeout(PATIENCE, second)
        .await
        .unwrap_or(Ok(()))
}

async fn prepare(connection: &mut PgConnection, sql: &'static str) -> Result<(), StoreError> {
    match sqlx::query(sql).execute(connection).await {
        // The name is in use, or its statement is gone.
        Err(error) if matches!(code(&error).as_deref(), Some("42P05" | "26000")) => {
            Err(misconfigured(LOST))
        }
        prepared => prepared.map(drop).map_err(store_error),
    }
}
