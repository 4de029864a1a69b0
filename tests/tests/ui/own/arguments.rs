//! The arguments of the attribute, and the form in which they are written.

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

#[idempotent]
async fn none_at_all(tx: &mut SqliteConnection, Json(order): Json<Order>) -> StatusCode {
    sqlx::query("INSERT INTO orders VALUES (?)")
        .bind(order.item)
        .execute(tx)
        .await
        .unwrap();
    StatusCode::CREATED
}

#[idempotent(tll = "24h", scop = "tenant")]
async fn misspelled(_: &mut SqliteConnection, _: Json<Order>) {}

#[idempotent(ttl = "24h", unscoped, expires = Duration::<A, B>::hours(1, 2))]
async fn made_up(_: &mut SqliteConnection, _: Json<Order>) {}

#[idempotent(ttl = "24h", unscoped, ttl = "not even read", unscoped)]
async fn given_twice(_: &mut SqliteConnection, _: Json<Order>) {}

#[idempotent(ttl, scope = , wait("2s"), deadline: "1s", key)]
async fn without_values(_: &mut SqliteConnection, _: Json<Order>) {}

#[idempotent(ttl = "24h", unscoped = true, "2s", , wait = "2s")]
async fn out_of_form(_: &mut SqliteConnection, _: Json<Order>) {}

#[idempotent(unscoped ttl = "24h" wait = "2s" + "3s")]
async fn without_commas(_: &mut SqliteConnection, _: Json<Order>) {}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/none_at_all", post(none_at_all))
            .route("/misspelled", post(misspelled))
            .route("/made_up", post(made_up))
            .route("/given_twice", post(given_twice))
            .route("/without_values", post(without_values))
            .route("/out_of_form", post(out_of_form))
            .route("/without_commas", post(without_commas))
            .with_state(app)
    };
}
