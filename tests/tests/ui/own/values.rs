//! Words, names, types and paths after an argument's `=`.

use axum::Router;
use axum::routing::post;
use idem_axum::{Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;

#[idempotent(ttl = "24h", unscoped, replay = "finale", key = "maybe")]
async fn other_words(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, replay = "2xx", key = "Optional")]
async fn more_other_words(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, replay = all, key = true, operation = 'x')]
async fn words_without_quotes(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, operation = "")]
async fn an_empty_operation(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, operation = "create payment")]
async fn a_space_in_an_operation(_: &mut SqliteConnection) {}

#[idempotent(
    ttl = "24h",
    unscoped,
    operation = "0123456789.0123456789.0123456789.0123456789.0123456789.0123456789.0123456789.0123456789.0123456789.0123456789"
)]
async fn a_long_operation(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, store = "Billing", crate = "::idem_axum")]
async fn types_in_quotes(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, store = 1, crate = idem_axum::<Sqlite>)]
async fn no_types(_: &mut SqliteConnection) {}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/other_words", post(other_words))
            .route("/more_other_words", post(more_other_words))
            .route("/words_without_quotes", post(words_without_quotes))
            .route("/an_empty_operation", post(an_empty_operation))
            .route("/a_space_in_an_operation", post(a_space_in_an_operation))
            .route("/a_long_operation", post(a_long_operation))
            .route("/types_in_quotes", post(types_in_quotes))
            .route("/no_types", post(no_types))
            .with_state(app)
    };
}
