use std::time::Duration;

use idem_core::adapter::outbox::{CheckedConnection, Place};
use idem_core::{PostgresStore, StoreError};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, SqlSafeStr as _};

use crate::message::Stored;
use crate::sql::{Dialect, Sql};

const DIALECT: Dialect = Dialect {
    now: "(extract(epoch FROM pg_catalog.statement_timestamp()) \
          OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8",
    text: |hex| format!("pg_catalog.convert_from(E'\\\\x{hex}', 'UTF8')"),
    parameters: ["$1", "$2", "$3"],
    lock: " FOR UPDATE SKIP LOCKED",
};

async fn lease_due(
    connection: &mut PgConnection,
    sql: &Sql,
    limit: u32,
    lease: Duration,
) -> sqlx::Result<Vec<Stored>> {
    select(connection, sql.lease(limit, lease)).await
}

outbox_store! {
    PostgresStore, PgConnection,
    dialect: DIALECT,
    script: "../../migrations/postgres/0001_outbox.sql",
    begin: "BEGIN",
    lease: lease_due
}
