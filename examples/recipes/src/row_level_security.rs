//! Row level security on PostgreSQL.

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, PostgresStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: migration
/// The migration, which the owner of the tables runs, after that of idem. The role of the service is `shop`.
pub const MIGRATION: &str = "
CREATE TABLE orders (
    tenant text NOT NULL,
    item   text NOT NULL
);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON orders USING (tenant = current_setting('app.tenant', true));

-- `shop` is the role of the service. It owns nothing, and has no BYPASSRLS.
GRANT SELECT, INSERT ON orders TO shop;
GRANT USAGE ON SCHEMA idem TO shop;
GRANT SELECT ON idem.migrations TO shop;
GRANT SELECT, INSERT, UPDATE, DELETE ON idem.records TO shop;
";
// recipe: end

// recipe: handler
/// `pool` is of the role `shop`.
pub fn engine(pool: PgPool) -> Engine<PostgresStore> {
    let engine = Engine::new(PostgresStore::new(pool));
    idem_axum::before_handler(engine, |tx, attempt, _extensions| {
        let tenant = attempt.scope().unwrap_or_default().to_owned();
        Box::pin(async move {
            // `true`: for this transaction only.
            let set = sqlx::query("SELECT set_config('app.tenant', $1, true)");
            set.bind(tenant).execute(tx).await?;
            Ok(())
        })
    })
}

#[idempotent(ttl = "24h", scope = "tenant", state = Engine<PostgresStore>)]
async fn create_order(
    tx: &mut PgConnection,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Vec<String>>), Failed> {
    let insert = sqlx::query("INSERT INTO orders (tenant, item) VALUES ($1, $2)");
    insert
        .bind(&tenant.0)
        .bind(&order.item)
        .execute(&mut *tx)
        .await?;
    // No WHERE: the tenant's rows are all that there are.
    let items = sqlx::query_scalar("SELECT item FROM orders")
        .fetch_all(tx)
        .await?;
    Ok((StatusCode::CREATED, Json(items)))
}
// recipe: end

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
    tenant: Option<String>,
}

/// A handler with a fault: it lets the client say whose order it is.
#[idempotent(ttl = "24h", scope = "tenant", state = Engine<PostgresStore>)]
async fn create_for_anyone(
    tx: &mut PgConnection,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<StatusCode, Failed> {
    let insert = sqlx::query("INSERT INTO orders (tenant, item) VALUES ($1, $2)");
    let owner = order.tenant.as_ref().unwrap_or(&tenant.0);
    insert.bind(owner).bind(&order.item).execute(tx).await?;
    Ok(StatusCode::CREATED)
}

/// The endpoints.
pub fn router(engine: Engine<PostgresStore>) -> Router {
    Router::new()
        .route("/orders", post(create_order))
        .route("/orders-for-anyone", post(create_for_anyone))
        .with_state(engine)
}
