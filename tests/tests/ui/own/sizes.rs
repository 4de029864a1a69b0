//! The form of sizes, and their limit.

use axum::Router;
use axum::routing::post;
use idem_axum::{Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;

#[idempotent(unscoped, ttl = "24h", response_limit = "4MB")]
async fn unknown(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = "24h", response_limit = "1.5MiB")]
async fn whole(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = "24h", response_limit = "1025MiB")]
async fn large(_: &mut SqliteConnection) {}

#[idempotent(unscoped, ttl = "24h", response_limit = 4_194_304)]
async fn bare(_: &mut SqliteConnection) {}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/unknown", post(unknown))
            .route("/whole", post(whole))
            .route("/large", post(large))
            .route("/bare", post(bare))
            .with_state(app)
    };
}
