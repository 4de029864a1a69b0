//! The type that `store` names has an engine for the transaction's database.
#![allow(dead_code)] // on a router, axum would add that it is not a handler

use axum::Json;
use idem_axum::{Engine, PostgresStore, Provider, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[derive(Clone)]
struct Reports;

#[derive(Clone)]
struct Billing(Engine<PostgresStore>);

impl Provider for Billing {
    type Store = PostgresStore;

    fn engine(&self) -> &Engine<PostgresStore> {
        &self.0
    }
}

#[idempotent(ttl = "24h", unscoped, store = Reports)]
async fn without_an_engine(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped, store = Billing)]
async fn of_another_database(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

fn main() {}
