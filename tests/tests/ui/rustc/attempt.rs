//! The argument taken by `&` is the attempt.

use axum::http::HeaderMap;
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
async fn an_extractor(
    tx: &mut SqliteConnection,
    headers: &HeaderMap,
    Json(order): Json<Order>,
) -> String {
    let _ = (tx, headers);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn the_body(tx: &mut SqliteConnection, order: &Json<Order>) -> String {
    let _ = tx;
    order.item.clone()
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_slice(tx: &mut SqliteConnection, name: &str, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item + name
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/an_extractor", post(an_extractor))
            .route("/the_body", post(the_body))
            .route("/a_slice", post(a_slice))
            .with_state(app)
    };
}
