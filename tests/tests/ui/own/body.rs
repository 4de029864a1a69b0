//! The argument that is the body, and the part of it that the key is bound to.

use axum::extract::Path;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

impl Order {
    fn intent(&self) -> &str {
        &self.item
    }
}

#[idempotent(ttl = "24h", unscoped, body = "oder")]
async fn misspelled(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, body = "tenant")]
async fn not_the_last(
    _: &mut SqliteConnection,
    Path(tenant): Path<String>,
    Json(order): Json<Order>,
) -> String {
    tenant + &order.item
}

#[idempotent(ttl = "24h", unscoped, body = order)]
async fn without_quotes(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, body = "none", fingerprint = "raw")]
async fn none_and_its_bytes(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = Order::intent)]
async fn a_function_of_nothing(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, fingerprint = "Order::intent")]
async fn a_function_in_quotes(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.intent().to_owned()
}

#[idempotent(ttl = "24h", unscoped, fingerprint = |order| order.item)]
async fn a_closure(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = raw)]
async fn a_word_without_quotes(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "rwa")]
async fn a_misspelled_word(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "path and body")]
async fn no_word_at_all(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/misspelled", post(misspelled))
            .route("/not_the_last/{tenant}", post(not_the_last))
            .route("/without_quotes", post(without_quotes))
            .route("/none_and_its_bytes", post(none_and_its_bytes))
            .route("/a_function_of_nothing", post(a_function_of_nothing))
            .route("/a_function_in_quotes", post(a_function_in_quotes))
            .route("/a_closure", post(a_closure))
            .route("/a_word_without_quotes", post(a_word_without_quotes))
            .route("/a_misspelled_word", post(a_misspelled_word))
            .route("/no_word_at_all", post(no_word_at_all))
            .with_state(app)
    };
}
