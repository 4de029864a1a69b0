//! Mistakes in an actix-web handler that do not depend on types.

use actix_web::web::{self, Json, ServiceConfig};
use idem_actix::{Attempt, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, SqliteConnection, SqlitePool};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[idempotent(scop = "tenant")]
async fn unknown_and_missing(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", scope = "tennant")]
async fn no_such_argument(_: &mut SqliteConnection, tenant: web::Path<String>) -> String {
    tenant.into_inner()
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_transaction(_: &Attempt, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_shared_transaction(_: &PgConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_pool(_: SqlitePool, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn an_owned_attempt(
    _: &mut SqliteConnection,
    attempt: Attempt,
    order: Json<Order>,
) -> String {
    drop(attempt);
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_borrowed_response<'a>(_: &mut SqliteConnection, attempt: &'a Attempt) -> &'a str {
    attempt.key().unwrap_or_default()
}

#[idempotent(ttl = "24h", unscoped)]
fn not_async(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

fn main() {
    let _ = |config: &mut ServiceConfig| {
        config
            .route("/unknown_and_missing", web::post().to(unknown_and_missing))
            .route("/no_such_argument", web::post().to(no_such_argument))
            .route("/no_transaction", web::post().to(no_transaction))
            .route("/a_shared_transaction", web::post().to(a_shared_transaction))
            .route("/a_pool", web::post().to(a_pool))
            .route("/an_owned_attempt", web::post().to(an_owned_attempt))
            .route("/a_borrowed_response", web::post().to(a_borrowed_response))
            .route("/not_async", web::post().to(not_async));
    };
}
