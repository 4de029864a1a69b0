//! The router's state has the engine.

use axum::Json;
use axum::extract::FromRef;
use axum::routing::{MethodRouter, post};
use idem_axum::{Engine, PostgresStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[derive(Clone)]
struct Empty;

#[derive(Clone)]
struct Other(Engine<PostgresStore>);

impl FromRef<Other> for Engine<PostgresStore> {
    fn from_ref(other: &Other) -> Self {
        other.0.clone()
    }
}

#[idempotent(ttl = "24h", unscoped)]
#[axum::debug_handler(state = Empty)]
async fn debugged(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn routed(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

fn main() {
    let _: MethodRouter<Empty> = post(debugged);
    let _: MethodRouter<Other> = post(routed);
}
