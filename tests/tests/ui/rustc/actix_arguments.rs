//! Scopes, transactions, attempts, extractors and responses of actix-web handlers.
#![allow(dead_code)] // on a route, actix-web would add that it is not a handler

use actix_web::http::StatusCode;
use actix_web::web::{Json, Path, ReqData};
use idem_actix::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Clone)]
struct Tenant {
    id: f64,
}

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn no_scope(tx: &mut SqliteConnection, tenant: ReqData<Tenant>) -> String {
    let _ = tx;
    tenant.id.to_string()
}

#[idempotent(ttl = "24h", scope = "tenant.id")]
async fn a_field_that_is_none(tx: &mut SqliteConnection, tenant: ReqData<Tenant>) -> String {
    let _ = tx;
    tenant.id.to_string()
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn nobodys(tx: &mut SqliteConnection, tenant: Option<ReqData<String>>) -> String {
    let _ = tx;
    tenant.map(ReqData::into_inner).unwrap_or_default()
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_transaction(tx: &mut Tenant, order: Json<Order>) -> String {
    let _ = tx;
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_attempt(tx: &mut SqliteConnection, attempt: &Tenant, order: Json<Order>) -> String {
    let _ = (tx, attempt);
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_extractor(tx: &mut SqliteConnection, order: Order, path: Path<String>) -> String {
    let _ = (tx, path);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_response(tx: &mut SqliteConnection, order: Json<Order>) -> Order {
    let _ = tx;
    order.into_inner()
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_error(tx: &mut SqliteConnection, order: Json<Order>) -> Result<String, sqlx::Error> {
    let _ = tx;
    Ok(order.into_inner().item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn axums_order(tx: &mut SqliteConnection, order: Json<Order>) -> (StatusCode, String) {
    let _ = tx;
    (StatusCode::CREATED, order.into_inner().item)
}

#[idempotent(ttl = "24h", unscoped, store = Engine<SqliteStore>)]
async fn another_store(tx: &mut sqlx::PgConnection, order: Json<Order>) -> String {
    let _ = tx;
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped, store = SqliteStore)]
async fn a_store_without_an_engine(tx: &mut SqliteConnection, order: Json<Order>) -> String {
    let _ = tx;
    order.into_inner().item
}

async fn calls_a_handler(tx: &mut SqliteConnection, order: Json<Order>) {
    no_response(tx, order).await;
}

fn main() {}
