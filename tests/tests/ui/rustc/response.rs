//! A handler returns a response.

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_response(tx: &mut SqliteConnection, Json(order): Json<Order>) -> Order {
    let _ = tx;
    order
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_error(
    tx: &mut SqliteConnection,
    Json(order): Json<Order>,
) -> Result<String, sqlx::Error> {
    sqlx::query("INSERT INTO orders VALUES (?)")
        .bind(&order.item)
        .execute(tx)
        .await?;
    Ok(order.item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn in_a_tuple(tx: &mut SqliteConnection, Json(order): Json<Order>) -> (StatusCode, Order) {
    let _ = tx;
    (StatusCode::CREATED, order)
}

#[idempotent(ttl = "24h", unscoped)]
async fn of_some_kind(tx: &mut SqliteConnection, Json(order): Json<Order>) -> impl Serialize {
    let _ = tx;
    order
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/no_response", post(no_response))
            .route("/no_error", post(no_error))
            .route("/in_a_tuple", post(in_a_tuple))
            .route("/of_some_kind", post(of_some_kind))
            .with_state(app)
    };
}
