//! The other options, one by one and all at once.

use std::collections::BTreeMap;

use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json, Router};
use idem_axum::{Attempt, idempotent};
use sqlx::{Sqlite, SqliteConnection};

use crate::service::{App, Billing, Order, Service, Tenant, write};

/// Pays.
///
/// # Errors
///
/// If the database is gone.
#[idempotent(
    ttl = "1d 12h",
    scope = "claims.name",
    wait = "0s",
    deadline = "10s",
    replay = "all",
    key = "optional",
    fingerprint = Order::intent,
    body = "order",
    operation = "orders:create.1",
    store = Billing,
    crate = ::idem_axum,
)]
#[axum::debug_handler(state = App)]
#[tracing::instrument(skip(tx, attempt, order), fields(number = attempt.number()))]
pub(crate) async fn everything(
    Extension(mut claims): Extension<Tenant>,
    Query(query): Query<BTreeMap<String, String>>,
    attempt: &Attempt,
    tx: &mut sqlx::Transaction<'_, Sqlite>,
    Json(mut order): Json<Order>,
) -> Result<impl IntoResponse, StatusCode> {
    claims.name.push('!');
    order.item.push('!');
    let written = write(tx, &order.item).await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let text = format!("{} {} {}", claims.name, order.item, query.len());
    Ok((StatusCode::CREATED, text))
}

#[idempotent(ttl = "24h", unscoped)]
async fn in_orders(tx: &mut SqliteConnection, body: String) -> Result<String, StatusCode> {
    let written = write(tx, &body).await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(body)
}

#[idempotent(ttl = "24h", unscoped, store = Billing)]
async fn in_billing(tx: &mut SqliteConnection, body: String) -> Result<String, StatusCode> {
    let written = write(tx, &body).await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(body)
}

#[idempotent(ttl = "24h", unscoped, operation = "create_order")]
async fn with_a_name(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, key = "optional")]
async fn without_a_key(tx: &mut SqliteConnection, attempt: &Attempt) -> Result<String, StatusCode> {
    let written = write(tx, "effect").await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(attempt.key().unwrap_or("no key").to_owned())
}

#[idempotent(ttl = "24h", unscoped, replay = "success")]
async fn declined(_: &mut SqliteConnection, attempt: &Attempt) -> (StatusCode, String) {
    (StatusCode::PAYMENT_REQUIRED, attempt.number().to_string())
}

#[idempotent(ttl = "24h", unscoped, replay = "all")]
async fn broken(_: &mut SqliteConnection, attempt: &Attempt) -> (StatusCode, String) {
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        attempt.number().to_string(),
    )
}

fn routes() -> Router<App> {
    Router::new()
        .route("/everything", post(everything))
        .route("/in_orders", post(in_orders))
        .route("/in_billing", post(in_billing))
        .route("/with_a_name", post(with_a_name))
        .route("/without_a_key", post(without_a_key))
        .route("/declined", post(declined))
        .route("/broken", post(broken))
}

#[tokio::test]
async fn all_at_once() {
    let service = Service::start(routes()).await;
    let path = "/everything?page=1";
    let first = service.post(path, "1", r#"{"item": "book"}"#).await;
    first.ran("acme! book! 1");
    assert_eq!(first.status, StatusCode::CREATED);
    let noted = r#"{"item": "book", "note": "!"}"#;
    service.post(path, "1", noted).await.replays(&first);
    assert_eq!(service.billing.effects().await, ["book!"]);
    assert_eq!(service.billing.operations().await, ["orders:create.1"]);
}

#[tokio::test]
async fn a_store_of_ones_own_choice() {
    let service = Service::start(routes()).await;
    let first = service.post("/in_billing", "1", "bill").await;
    first.ran("bill");
    service
        .post("/in_billing", "1", "bill")
        .await
        .replays(&first);
    assert_eq!(service.billing.effects().await, ["bill"]);
    assert_eq!(service.billing.operations().await, ["POST /in_billing"]);
    assert!(service.orders.effects().await.is_empty());
    assert!(service.orders.operations().await.is_empty());

    service.post("/in_orders", "1", "order").await.ran("order");
    assert_eq!(service.orders.effects().await, ["order"]);
    assert_eq!(service.orders.operations().await, ["POST /in_orders"]);
    assert_eq!(service.billing.effects().await, ["bill"]);
}

#[tokio::test]
async fn a_name_in_place_of_the_route() {
    let service = Service::start(routes()).await;
    service.post("/with_a_name", "1", "").await.ran("");
    assert_eq!(service.orders.operations().await, ["create_order"]);
}

#[tokio::test]
async fn keys_that_can_be_left_out() {
    let service = Service::start(routes()).await;
    let request = || {
        Request::post("/without_a_key")
            .body("".into())
            .expect("a request")
    };
    service.send(request()).await.ran("no key");
    service.send(request()).await.ran("no key");
    service.post("/without_a_key", "1", "").await.ran("1");
    assert!(service.post("/without_a_key", "1", "").await.replayed);
    assert_eq!(service.orders.effects().await.len(), 3);
}

#[tokio::test]
async fn which_answers_are_replayed() {
    let service = Service::start(routes()).await;
    for number in ["1", "2"] {
        let declined = service.post("/declined", "1", "").await;
        assert_eq!((&*declined.text, declined.replayed), (number, false));
    }
    for replayed in [false, true] {
        let broken = service.post("/broken", "1", "").await;
        assert_eq!((&*broken.text, broken.replayed), ("1", replayed));
    }
}
