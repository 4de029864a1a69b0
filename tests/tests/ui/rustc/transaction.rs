//! The argument taken by `&mut` is a transaction of a store.
#![allow(dead_code)] // on a router, axum would add that it is not a handler

use axum::Json;
use idem_axum::idempotent;
use serde::{Deserialize, Serialize};

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
async fn of_anything<C>(tx: &mut C, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

fn main() {}
