//! The form of durations, and their limits.

use axum::Router;
use axum::routing::post;
use idem_axum::{Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;

#[idempotent(unscoped, ttl = "", wait = "24", deadline = "h")]
async fn incomplete(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = "24 h", wait = "1.5h", deadline = "1_000s")]
async fn no_whole_number(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = "2w", wait = "500ms", deadline = "1h, 2m")]
async fn no_unit_of_ours(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = "366d", wait = "1h 2h", deadline = "1h 30")]
async fn no_sum(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = "0s", wait = "0s", deadline = "0h 0m")]
async fn zero(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = 24, wait = 2 * SECOND, deadline = Duration::from_secs(30))]
async fn no_string(_: &mut SqliteConnection) {}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/incomplete", post(incomplete))
            .route("/no_whole_number", post(no_whole_number))
            .route("/no_unit_of_ours", post(no_unit_of_ours))
            .route("/no_sum", post(no_sum))
            .route("/zero", post(zero))
            .route("/no_string", post(no_string))
            .with_state(app)
    };
}
