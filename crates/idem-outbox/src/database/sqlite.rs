use std::time::Duration;

use idem_core::adapter::outbox::{CheckedConnection, Place};
use idem_core::{SqliteStore, StoreError};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _, SqliteConnection};

use crate::message::Stored;
use crate::sql::{Dialect, Sql};

const DIALECT: Dialect = Dialect {
    now: "CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000",
    text: |hex| format!("CAST(x'{hex}' AS TEXT)"),
    parameters: ["$1", "$2", "$3"],
    // There is one writer.
    lock: "",
};

/// An UPDATE waits for the right to write even if it changes nothing, so a relay reads first.
async fn lease_due(
    connection: &mut SqliteConnection,
    sql: &Sql,
    limit: u32,
    lease: Duration,
) -> sqlx::Result<Vec<Stored>> {
    let is_due = sqlx::raw_sql(AssertSqlSafe(sql.is_due()));
    let due: i64 = is_due.fetch_one(&mut *connection).await?.try_get(0)?;
    if due == 0 {
        return Ok(Vec::new());
    }
    select(connection, sql.lease(limit, lease)).await
}

outbox_store! {
    SqliteStore, SqliteConnection,
    dialect: DIALECT,
    script: "../../migrations/sqlite/0001_outbox.sql",
    begin: "BEGIN IMMEDIATE",
    lease: lease_due
}
