//! The body comes last, once, and not at all beside `body = "none"`.

use axum::Json;
use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[derive(Serialize)]
struct Unreadable {
    item: String,
}

#[derive(Clone)]
struct App(Engine<SqliteStore>);

/// An extractor for one state alone.
struct Tenant(String);

impl FromRequestParts<App> for Tenant {
    type Rejection = StatusCode;

    async fn from_request_parts(_: &mut Parts, app: &App) -> Result<Self, StatusCode> {
        let _ = &app.0;
        Err(StatusCode::UNAUTHORIZED)
    }
}

type Body = Json<Order>;

/// An extractor that reads the body.
struct Valid(String);

impl<S: Sync> FromRequest<S> for Valid {
    type Rejection = StatusCode;

    async fn from_request(_: Request, _: &S) -> Result<Self, StatusCode> {
        Err(StatusCode::NOT_IMPLEMENTED)
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn early_valid(tx: &mut SqliteConnection, valid: Valid, query: Query<String>) -> String {
    let _ = (tx, query);
    valid.0
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn unbound_valid(tx: &mut SqliteConnection, valid: Valid) -> String {
    let _ = tx;
    valid.0
}

#[idempotent(ttl = "24h", unscoped)]
async fn without_json(tx: &mut SqliteConnection, order: Order) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn early(tx: &mut SqliteConnection, order: Body, query: Query<String>) -> String {
    let _ = (tx, query);
    order.0.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn twice(tx: &mut SqliteConnection, order: Json<Order>, form: Form<Order>) -> String {
    let _ = (tx, form);
    order.0.item
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn unbound(tx: &mut SqliteConnection, order: Body) -> String {
    let _ = tx;
    order.0.item
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn unbound_generic<T: Send>(tx: &mut SqliteConnection, order: Option<Json<T>>) {
    let _ = (tx, order);
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn not_known_to_read_no_body(tx: &mut SqliteConnection, Tenant(tenant): Tenant) -> String {
    let _ = tx;
    tenant
}

#[idempotent(ttl = "24h", unscoped)]
async fn unreadable(tx: &mut SqliteConnection, order: Json<Unreadable>) -> String {
    let _ = tx;
    order.0.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn unreadable_query(
    tx: &mut SqliteConnection,
    query: Query<Unreadable>,
    order: Json<Order>,
) -> String {
    let _ = (tx, query);
    order.0.item
}

fn main() {}
