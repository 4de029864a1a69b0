//! The argument that `scope` names is a `Scope`.

use std::net::IpAddr;

use axum::routing::post;
use axum::{Extension, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;

#[derive(Clone)]
struct Tenant {
    id: f64,
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn no_scope(tx: &mut SqliteConnection, Extension(tenant): Extension<Tenant>) -> String {
    let _ = tx;
    tenant.id.to_string()
}

#[idempotent(ttl = "24h", scope = "tenant.id")]
async fn a_field_that_is_none(
    tx: &mut SqliteConnection,
    Extension(tenant): Extension<Tenant>,
) -> String {
    let _ = tx;
    tenant.id.to_string()
}

#[idempotent(ttl = "24h", scope = "tenant.name")]
async fn no_such_field(tx: &mut SqliteConnection, Extension(tenant): Extension<Tenant>) -> String {
    let _ = tx;
    tenant.id.to_string()
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn nobodys(
    tx: &mut SqliteConnection,
    Extension(tenant): Extension<Option<String>>,
) -> String {
    let _ = tx;
    tenant.unwrap_or_default()
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn perhaps_extracted(
    tx: &mut SqliteConnection,
    tenant: Option<Extension<String>>,
) -> String {
    let _ = tx;
    tenant.map(|tenant| tenant.0).unwrap_or_default()
}

#[idempotent(ttl = "24h", scope = "address")]
async fn of_another_crate(
    tx: &mut SqliteConnection,
    Extension(address): Extension<IpAddr>,
) -> String {
    let _ = tx;
    address.to_string()
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/no_scope", post(no_scope))
            .route("/a_field_that_is_none", post(a_field_that_is_none))
            .route("/no_such_field", post(no_such_field))
            .route("/nobodys", post(nobodys))
            .route("/perhaps_extracted", post(perhaps_extracted))
            .route("/of_another_crate", post(of_another_crate))
            .with_state(app)
    };
}
