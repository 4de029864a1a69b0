//! The router's state has the engine, and what the extractors take from it.

use axum::Json;
use axum::extract::{FromRef, State};
use axum::routing::{MethodRouter, post};
use idem_axum::{Engine, PostgresStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[derive(Clone)]
struct Other(Engine<PostgresStore>);

impl FromRef<Other> for Engine<PostgresStore> {
    fn from_ref(other: &Other) -> Self {
        other.0.clone()
    }
}

#[idempotent(ttl = "24h", unscoped, state = Other)]
async fn no_engine(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped, state = Other)]
async fn no_part(
    tx: &mut sqlx::PgConnection,
    State(cents): State<u8>,
    Json(order): Json<Order>,
) -> String {
    let _ = (tx, cents);
    order.item
}

#[idempotent(ttl = "24h", unscoped, state = Other)]
async fn no_extractor(tx: &mut sqlx::PgConnection, cents: u8, Json(order): Json<Order>) -> String {
    let _ = (tx, cents);
    order.item
}

#[idempotent(ttl = "24h", unscoped, state = Other, fingerprint = "raw")]
async fn no_last_extractor(tx: &mut sqlx::PgConnection, cents: u8) -> String {
    let _ = tx;
    cents.to_string()
}

#[idempotent(ttl = "24h", unscoped)]
async fn routed(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

fn main() {
    let _: MethodRouter<Other> = post(routed);
}
