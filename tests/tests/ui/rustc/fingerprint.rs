//! The function that `fingerprint` names returns a value that a key can be bound to.

use axum::body::Bytes;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

struct Intent;

fn of_bytes(bytes: &Bytes) -> usize {
    bytes.len()
}

fn by_value(order: Json<Order>) -> String {
    order.0.item
}

fn not_serialize(_: &Json<Order>) -> Intent {
    Intent
}

#[idempotent(ttl = "24h", unscoped, fingerprint = Order::bound)]
async fn no_function(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = of_bytes)]
async fn of_something_else(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = by_value)]
async fn taking_the_body_away(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = not_serialize)]
async fn making_what_cannot_be_bound(
    tx: &mut SqliteConnection,
    Json(order): Json<Order>,
) -> String {
    let _ = tx;
    order.item
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/no_function", post(no_function))
            .route("/of_something_else", post(of_something_else))
            .route("/taking_the_body_away", post(taking_the_body_away))
            .route(
                "/making_what_cannot_be_bound",
                post(making_what_cannot_be_bound),
            )
            .with_state(app)
    };
}
