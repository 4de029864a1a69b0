//! The last argument can be bound to the key.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::Deserialize;
use sqlx::SqliteConnection;

#[derive(Deserialize)]
struct Order {
    item: String,
}

struct Bytes(Vec<u8>);

impl<S: Sync> FromRequest<S> for Bytes {
    type Rejection = StatusCode;

    async fn from_request(_: Request, _: &S) -> Result<Self, StatusCode> {
        Err(StatusCode::NOT_IMPLEMENTED)
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn without_serialize(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn optional(tx: &mut SqliteConnection, order: Option<Json<Order>>) -> String {
    let _ = tx;
    order.map(|order| order.0.item).unwrap_or_default()
}

#[idempotent(ttl = "24h", unscoped)]
async fn of_ones_own(tx: &mut SqliteConnection, Bytes(bytes): Bytes) -> Vec<u8> {
    let _ = tx;
    bytes
}

#[idempotent(ttl = "24h", unscoped)]
async fn generic<T: Send>(tx: &mut SqliteConnection, Json(order): Json<T>) {
    let _ = (tx, order);
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/without_serialize", post(without_serialize))
            .route("/optional", post(optional))
            .route("/of_ones_own", post(of_ones_own))
            .route("/generic", post(generic::<String>))
            .with_state(app)
    };
}
