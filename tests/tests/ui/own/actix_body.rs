//! The argument that is the body of an actix-web handler.

use actix_web::web::{self, Json, Path, ServiceConfig};
use idem_actix::idempotent;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

fn intent(order: &Json<Order>) -> &str {
    &order.item
}

#[idempotent(ttl = "24h", unscoped, body = "oder")]
async fn misspelled(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn generic<T: Serialize>(_: &mut SqliteConnection, order: Json<T>) -> Json<T> {
    order
}

#[idempotent(ttl = "24h", unscoped, fingerprint = intent)]
async fn generic_beside_its_body<T>(
    _: &mut SqliteConnection,
    order: Json<Order>,
    _: Path<T>,
) -> Json<Order> {
    order
}

#[idempotent(ttl = "24h", unscoped, fingerprint = intent)]
async fn bodiless(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, body = "none", fingerprint = "raw")]
async fn both(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

fn main() {
    let _ = |config: &mut ServiceConfig| {
        config
            .route("/misspelled", web::post().to(misspelled))
            .route("/generic", web::post().to(generic::<String>))
            .route("/beside", web::post().to(generic_beside_its_body::<String>))
            .route("/bodiless", web::post().to(bodiless))
            .route("/both", web::post().to(both));
    };
}
