//! Where the key is, what it is bound to, and who may stand above.

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    id: String,
}

#[idempotent(ttl = "24h", unscoped, key = "ordre.id")]
async fn another_name(_: &mut SqliteConnection, Form(order): Form<Order>) -> String {
    order.id
}

#[idempotent(ttl = "24h", unscoped, key = "optionl")]
async fn another_word(_: &mut SqliteConnection, Form(order): Form<Order>) -> String {
    order.id
}

#[idempotent(ttl = "24h", unscoped, key = "tx")]
async fn the_transaction(tx: &mut SqliteConnection, Form(order): Form<Order>) -> String {
    let _ = tx;
    order.id
}

#[idempotent(ttl = "24h", unscoped, key = order.id)]
async fn no_quotes(_: &mut SqliteConnection, Form(order): Form<Order>) -> String {
    order.id
}

#[idempotent(ttl = "24h", unscoped, key = "x-github-delivery")]
async fn a_header_as_a_word(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, key = header("webhook id"), bind = header("Größe"))]
async fn names_of_no_header(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, key = header(), bind = "if-match")]
async fn no_headers(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, key = headers("webhook-id"), query = without("page"))]
async fn other_functions(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, fingerprint = "none", query = "sorted")]
async fn a_contradiction(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped)]
async fn protected_above(
    _auth_details_2: Path<String>,
    tx: &mut SqliteConnection,
    Json(order): Json<Order>,
) -> Result<String, axum::response::ErrorResponse> {
    if _auth_details_2.0 == "admin" {
        let f = || async move {
            let _ = tx;
            order.id
        };
        Ok(f().await)
    } else {
        Err(axum::http::StatusCode::FORBIDDEN.into())
    }
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/another_name", post(another_name))
            .route("/another_word", post(another_word))
            .route("/the_transaction", post(the_transaction))
            .route("/no_quotes", post(no_quotes))
            .route("/a_header_as_a_word", post(a_header_as_a_word))
            .route("/names_of_no_header", post(names_of_no_header))
            .route("/no_headers", post(no_headers))
            .route("/other_functions", post(other_functions))
            .route("/a_contradiction", get(a_contradiction))
            .route("/protected_above", post(protected_above))
            .with_state(app)
    };
}
