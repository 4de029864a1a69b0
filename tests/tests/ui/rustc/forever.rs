//! A transaction ends with its handler, also under another name.
#![allow(dead_code)] // on a router, axum would add that it is not a handler

use axum::Json;
use idem_axum::idempotent;
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, Transaction};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

type Tx = Transaction<'static, Sqlite>;

#[idempotent(ttl = "24h", unscoped)]
async fn for_ever(tx: &mut Tx, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

fn main() {}
