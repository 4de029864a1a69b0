//! One argument of an actix-web handler is its body, and can be bound to the key.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::{self, Bytes, Json, Path, ServiceConfig};
use actix_web::{Error, FromRequest, HttpRequest};
use idem_actix::idempotent;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Deserialize)]
struct Order {
    item: String,
}

#[derive(Serialize, Deserialize)]
struct Payment {
    cents: u32,
}

struct Tenant(String);

impl FromRequest for Tenant {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(String::new())))
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn without_serialize(tx: &mut SqliteConnection, order: Json<Order>) -> String {
    let _ = tx;
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn without_serialize_beside_a_path(
    tx: &mut SqliteConnection,
    order: Option<Json<Order>>,
    path: Path<String>,
) -> String {
    let _ = (tx, order);
    path.into_inner()
}

#[idempotent(ttl = "24h", unscoped)]
async fn perhaps_a_part(tx: &mut SqliteConnection, tenant: Tenant) -> String {
    let _ = tx;
    tenant.0
}

#[idempotent(ttl = "24h", unscoped)]
async fn without_serialize_beside_perhaps_a_part(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    order: Json<Order>,
) -> String {
    let _ = (tx, order);
    tenant.0
}

#[idempotent(ttl = "24h", unscoped)]
async fn two(tx: &mut SqliteConnection, payment: Json<Payment>, raw: Bytes) -> String {
    let _ = (tx, raw);
    payment.cents.to_string()
}

#[idempotent(ttl = "24h", unscoped, body = "tenant")]
async fn named(tx: &mut SqliteConnection, tenant: Tenant, payment: Json<Payment>) -> String {
    let _ = (tx, payment);
    tenant.0
}

#[idempotent(ttl = "24h", unscoped, body = "order")]
async fn generic<T: 'static>(tx: &mut SqliteConnection, order: Json<T>) -> String {
    let _ = (tx, order);
    String::new()
}

#[derive(Serialize)]
struct Unreadable {
    cents: u32,
}

#[idempotent(ttl = "24h", unscoped)]
async fn unreadable(tx: &mut SqliteConnection, payment: Json<Unreadable>) -> String {
    let _ = tx;
    payment.cents.to_string()
}

type Body = Json<Payment>;

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn unbound(tx: &mut SqliteConnection, payment: Body) -> String {
    let _ = tx;
    payment.cents.to_string()
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn unbound_generic<T: for<'de> Deserialize<'de> + 'static>(
    tx: &mut SqliteConnection,
    order: Option<Json<T>>,
) -> String {
    let _ = (tx, order);
    String::new()
}

fn main() {
    let _ = |config: &mut ServiceConfig| {
        config
            .route("/without_serialize", web::post().to(without_serialize))
            .route("/beside", web::post().to(without_serialize_beside_a_path))
            .route("/perhaps", web::post().to(perhaps_a_part))
            .route("/two", web::post().to(two));
    };
}
