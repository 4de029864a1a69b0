//! A batch whose items have keys of their own.

use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::once::{Error, Failure, Key, Policy};
use idem_axum::{Engine, SqliteStore};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::tenant::Tenant;

// recipe: handler
static CREDIT: Policy = Policy::new("credit", Duration::from_hours(24));

async fn credit(
    State(engine): State<Engine<SqliteStore>>,
    tenant: Tenant,
    Json(batch): Json<Vec<Credit>>,
) -> Json<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for item in &batch {
        outcomes.push(credit_once(&engine, &tenant, item).await);
    }
    Json(outcomes)
}

async fn credit_once(engine: &Engine<SqliteStore>, tenant: &Tenant, item: &Credit) -> Outcome {
    let key = Key::new(tenant, &item.key);
    let credited = engine.once(&CREDIT, key, item, async |tx, _| {
        insert(tx, &tenant.0, item).await
    });
    match credited.await {
        Ok(once) => Outcome::Credited(once.into_inner()),
        Err(Error::Final(refusal)) => Outcome::Refused(refusal),
        Err(Error::KeyReused) => Outcome::KeyReused,
        Err(error) if error.is_retryable() => Outcome::TryAgain,
        Err(_) => Outcome::Failed,
    }
}

async fn insert(
    tx: &mut SqliteConnection,
    tenant: &str,
    item: &Credit,
) -> Result<i64, Failure<sqlx::Error, String>> {
    if item.cents < 1 {
        return Err(Failure::Final("nothing to credit".to_owned()));
    }
    let insert = sqlx::query("INSERT INTO credits (tenant, account, cents) VALUES (?, ?, ?)");
    let insert = insert.bind(tenant).bind(&item.account).bind(item.cents);
    Ok(insert.execute(tx).await?.last_insert_rowid())
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
    Credited(i64),
    Refused(String),
    KeyReused,
    TryAgain,
    Failed,
}
// recipe: end

/// The table of the handler.
pub const SCHEMA: &str = "
    CREATE TABLE credits (
        id      INTEGER PRIMARY KEY,
        tenant  TEXT    NOT NULL,
        account TEXT    NOT NULL,
        cents   INTEGER NOT NULL
    );
";

/// The endpoint.
pub fn router(engine: Engine<SqliteStore>) -> Router {
    Router::new()
        .route("/credits", post(credit))
        .with_state(engine)
}
