//! The argument that `key` names has a text.

use axum::extract::Path;
use axum::routing::post;
use axum::{Form, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    id: Vec<u8>,
    token: Option<Vec<u8>>,
}

#[idempotent(ttl = "24h", unscoped, key = "order")]
async fn no_text(tx: &mut SqliteConnection, order: Form<Order>) {
    let _ = (tx, order);
}

#[idempotent(ttl = "24h", unscoped, key = "order.id")]
async fn a_field_without_text(tx: &mut SqliteConnection, Form(order): Form<Order>) {
    let _ = (tx, order);
}

#[idempotent(ttl = "24h", unscoped, key = "order.token")]
async fn perhaps_a_field_without_text(tx: &mut SqliteConnection, Form(order): Form<Order>) {
    let _ = (tx, order);
}

#[idempotent(ttl = "24h", unscoped, key = "order.key")]
async fn no_such_field(tx: &mut SqliteConnection, Form(order): Form<Order>) {
    let _ = (tx, order);
}

#[idempotent(ttl = "24h", unscoped, key = "order", body = "none")]
async fn two_parameters(tx: &mut SqliteConnection, order: Path<(String, u32)>) {
    let _ = (tx, order);
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/no_text", post(no_text))
            .route("/a_field_without_text", post(a_field_without_text))
            .route("/perhaps_a_field_without_text", post(perhaps_a_field_without_text))
            .route("/no_such_field", post(no_such_field))
            .route("/two_parameters", post(two_parameters))
            .with_state(app)
    };
}
