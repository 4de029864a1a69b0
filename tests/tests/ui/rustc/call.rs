//! Only a framework calls a handler.
#![allow(dead_code)] // on a router, axum would add that it is not a handler

use axum::Json;
use idem_axum::idempotent;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[idempotent(ttl = "24h", unscoped)]
async fn create_order(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

async fn create_orders(tx: &mut SqliteConnection, orders: Vec<Order>) {
    for order in orders {
        create_order(tx, Json(order)).await;
    }
}

fn main() {}
