//! A batch whose items have keys of their own.

use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: handler
#[idempotent(ttl = "24h", scope = "tenant")]
async fn credit(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Json(batch): Json<Vec<Credit>>,
) -> Result<Json<Vec<Outcome>>, Failed> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for item in &batch {
        outcomes.push(credit_once(tx, &tenant.0, item).await?);
    }
    Ok(Json(outcomes))
}

async fn credit_once(
    tx: &mut SqliteConnection,
    tenant: &str,
    item: &Credit,
) -> sqlx::Result<Outcome> {
    if item.cents < 1 {
        return Ok(Outcome::Refused);
    }
    let insert = sqlx::query(
        "INSERT INTO credits (tenant, item_key, account, cents) VALUES (?, ?, ?, ?) \
         ON CONFLICT (tenant, item_key) DO NOTHING",
    );
    let insert = insert
        .bind(tenant)
        .bind(&item.key)
        .bind(&item.account)
        .bind(item.cents);
    if insert.execute(&mut *tx).await?.rows_affected() == 1 {
        return Ok(Outcome::Credited);
    }
    let stands =
        sqlx::query_as("SELECT account, cents FROM credits WHERE tenant = ? AND item_key = ?");
    let stands: (String, i64) = stands.bind(tenant).bind(&item.key).fetch_one(tx).await?;
    let is_same = stands == (item.account.clone(), item.cents);
    Ok(if is_same {
        Outcome::Credited
    } else {
        Outcome::KeyReused
    })
}

#[derive(Serialize, Deserialize)]
struct Credit {
    key: String,
    account: String,
    cents: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Credited,
    Refused,
    KeyReused,
}
// recipe: end

/// The table of the handler.
pub const SCHEMA: &str = "
    CREATE TABLE credits (
        tenant   TEXT    NOT NULL,
        item_key TEXT    NOT NULL,
        account  TEXT    NOT NULL,
        cents    INTEGER NOT NULL,
        PRIMARY KEY (tenant, item_key)
    );
";

/// The endpoint.
pub fn router(engine: Engine<SqliteStore>) -> Router {
    Router::new()
        .route("/credits", post(credit))
        .with_state(engine)
}
