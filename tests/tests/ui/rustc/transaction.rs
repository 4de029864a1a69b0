//! The argument taken by `&mut` is a transaction of a store.
#![allow(dead_code)] // on a router, axum would add that it is not a handler

use axum::Json;
use axum::http::StatusCode;
use idem_axum::idempotent;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

struct Ledger;

#[idempotent(ttl = "24h", unscoped)]
async fn of_no_database(tx: &mut Ledger, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn of_a_pool(pool: &mut PgPool, Json(order): Json<Order>) -> Result<String, StatusCode> {
    let inserted = sqlx::query("INSERT INTO orders VALUES ($1)")
        .bind(&order.item)
        .execute(&*pool)
        .await;
    inserted
        .map(|_| order.item)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[idempotent(ttl = "24h", unscoped)]
async fn of_anything<C>(tx: &mut C, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

fn main() {}
