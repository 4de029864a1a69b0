use std::time::Duration;

use idem_core::adapter::outbox::{CheckedConnection, Place};
use idem_core::{MySqlStore, StoreError};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, Row as _, SqlSafeStr as _};

use crate::message::Stored;
use crate::sql::{Dialect, Sql};

const DIALECT: Dialect = Dialect {
    now: "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
    text: |hex| format!("CONVERT(x'{hex}' USING utf8mb4)"),
    parameters: ["?", "?", "?"],
    lock: " FOR UPDATE SKIP LOCKED",
};

/// Without locks of gaps, for which handlers would wait that push.
const BEGIN: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN";

/// No UPDATE returns its rows here, so the rows are locked before.
async fn lease_due(
    connection: &mut CheckedConnection<MySql>,
    sql: &Sql,
    limit: u32,
    lease: Duration,
) -> sqlx::Result<Vec<Stored>> {
    connection.begin(BEGIN.into_sql_str()).await?;
    let due = select(connection, sql.lock_due(limit, lease)).await?;
    if let Some(hold) = sql.hold(&due) {
        execute(connection, hold).await?;
    }
    connection.commit().await?;
    Ok(due)
}

outbox_store! {
    MySqlStore, MySqlConnection,
    dialect: DIALECT,
    script: "../../migrations/mysql/0001_outbox.sql",
    begin: "BEGIN",
    lease: lease_due
}
