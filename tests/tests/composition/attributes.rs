//! Other attributes alongside `#[idempotent]`, in either order.

use std::collections::HashSet;

use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Attempt, Engine, idempotent};
use protect_axum::{GrantsLayer, protect};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use utoipa::{OpenApi, ToSchema};

use crate::service::{App, Order, Service, Tenant, write};

#[idempotent(ttl = "24h", scope = "tenant")]
#[axum::debug_handler(state = App)]
async fn debugged(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<String, StatusCode> {
    let written = write(tx, &order.item).await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(tenant.name)
}

#[idempotent(ttl = "24h", unscoped)]
#[tracing::instrument(name = "below", skip(tx, order), fields(item = order.item))]
async fn instrumented_below(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    Json(order): Json<Order>,
) -> &'static str {
    let _ = (tx, attempt, order);
    span()
}

#[tracing::instrument(name = "above", skip(tx), fields(number = attempt.number()))]
#[idempotent(ttl = "24h", unscoped)]
async fn instrumented_above(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    Json(order): Json<Order>,
) -> &'static str {
    let _ = (tx, attempt, order);
    span()
}

#[idempotent(ttl = "24h", unscoped)]
#[cfg_attr(all(), tracing::instrument(name = "conditional", skip_all))]
async fn instrumented_conditionally(_: &mut SqliteConnection) -> &'static str {
    span()
}

/// The span that the handler runs in.
fn span() -> &'static str {
    let metadata = tracing::Span::current().metadata();
    metadata.map_or("none", tracing::Metadata::name)
}

#[derive(Serialize, Deserialize, ToSchema)]
struct Refund {
    cents: u32,
}

/// Refunds.
#[utoipa::path(post, path = "/{id}/above", responses((status = 201, body = Refund)))]
#[idempotent(ttl = "24h", unscoped)]
async fn described_above(
    _: &mut SqliteConnection,
    Path(id): Path<u32>,
    Json(refund): Json<Refund>,
) -> (StatusCode, Json<Refund>) {
    let cents = refund.cents + id;
    (StatusCode::CREATED, Json(Refund { cents }))
}

/// Refunds.
#[idempotent(ttl = "90m", unscoped)]
#[utoipa::path(post, path = "/{id}/below", responses((status = 201, body = Refund)))]
async fn described_below(
    _: &mut SqliteConnection,
    Path(id): Path<u32>,
    Json(refund): Json<Refund>,
) -> (StatusCode, Json<Refund>) {
    let cents = refund.cents + id;
    (StatusCode::CREATED, Json(Refund { cents }))
}

#[derive(OpenApi)]
#[openapi(paths(described_above, described_below))]
struct Api;

/// Documented.
///
/// # Errors
///
/// Never.
#[allow(clippy::missing_errors_doc)]
#[expect(unused_variables, reason = "an expectation above is met once")]
#[idempotent(ttl = "24h", unscoped)]
#[expect(clippy::needless_return, reason = "and so is one below")]
#[cfg(not(any()))]
pub(crate) async fn linted(
    tx: &mut SqliteConnection,
    Json(order): Json<Order>,
) -> Result<(), StatusCode> {
    return Ok(());
}

/** Left out by its condition. */
#[idempotent(ttl = "24h", unscoped)]
#[cfg(any())]
async fn linted(tx: &mut NoDatabase) {}

#[idempotent(ttl = "24h", scope = "tenant")]
#[protect("admin")]
async fn protected_below(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<String, StatusCode> {
    let written = write(tx, &order.item).await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(tenant.name)
}

/// The tenant `acme` is an administrator until the request says otherwise.
async fn grants(request: &mut Request) -> Result<HashSet<String>, Response> {
    match request.extensions().get::<Tenant>() {
        None => Err(StatusCode::UNAUTHORIZED.into_response()),
        Some(tenant) if tenant.number.1 == 0 => Ok(HashSet::new()),
        Some(_) => Ok(HashSet::from(["admin".to_owned()])),
    }
}

fn routes() -> Router<App> {
    Router::new()
        .route("/debugged", post(debugged))
        .route("/instrumented_below", post(instrumented_below))
        .route("/instrumented_above", post(instrumented_above))
        .route(
            "/instrumented_conditionally",
            post(instrumented_conditionally),
        )
        .route("/{id}/described_above", post(described_above))
        .route("/{id}/described_below", post(described_below))
        .route("/linted", post(linted))
        .route(
            "/protected_below",
            post(protected_below).layer(GrantsLayer::with_extractor(grants)),
        )
}

#[tokio::test]
async fn debug_handler_below() {
    let service = Service::start(routes()).await;
    let first = service.post("/debugged", "1", r#"{"item": "book"}"#).await;
    first.ran("acme");
    let second = service.post("/debugged", "1", r#"{"item": "book"}"#).await;
    second.replays(&first);
    assert_eq!(service.orders.effects().await, ["book"]);
}

#[tokio::test]
async fn s3_authorization_below_guards_replays_too() {
    let service = Service::start(routes()).await;
    let admin = Tenant::new("acme");
    let revoked = Tenant {
        number: (0, 0),
        ..admin.clone()
    };
    let order = r#"{"item": "book"}"#;
    let path = "/protected_below";
    let refused = service.post_as(revoked.clone(), path, "1", order).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let first = service.post_as(admin.clone(), path, "1", order).await;
    first.ran("acme");
    service
        .post_as(admin, path, "1", order)
        .await
        .replays(&first);
    let refused = service.post_as(revoked, path, "1", order).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!refused.replayed && refused.text.is_empty());
    assert_eq!(service.orders.effects().await, ["book"]);
}

#[tokio::test]
async fn instrument_below_above_and_on_a_condition() {
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_writer(std::io::sink)
            .finish(),
    );
    let service = Service::start(routes()).await;
    for (path, span) in [
        ("/instrumented_below", "below"),
        ("/instrumented_above", "above"),
        ("/instrumented_conditionally", "conditional"),
    ] {
        let answer = service.post(path, "1", r#"{"item": "book"}"#).await;
        answer.ran(span);
    }
}

#[tokio::test]
async fn utoipa_reads_the_extractors_and_has_the_contract_below() {
    let service = Service::start(routes()).await;
    let mut document = Api::openapi();
    Engine::new(service.orders.store.clone()).describe(&mut document);
    for (path, ttl) in [("/{id}/above", None), ("/{id}/below", Some("PT90M"))] {
        let operation = document.paths.paths[path].post.as_ref();
        let operation = serde_json::to_value(operation).expect("JSON");
        assert_eq!(operation["parameters"][0]["name"], "id");
        let body = &operation["requestBody"]["content"]["application/json"];
        assert_eq!(body["schema"]["$ref"], "#/components/schemas/Refund");
        assert_eq!(operation["summary"], "Refunds.");
        assert!(operation["responses"]["201"].is_object());
        assert_eq!(operation["x-idempotency"]["ttl"].as_str(), ttl);
        assert_eq!(operation["responses"]["409"].is_object(), ttl.is_some());
        let key = &operation["parameters"][1]["name"];
        assert_eq!(key.as_str(), ttl.map(|_| "Idempotency-Key"));
    }
    for path in ["/1/described_above", "/1/described_below"] {
        let answer = service.post(path, "1", r#"{"cents": 2}"#).await;
        answer.ran(r#"{"cents":3}"#);
    }
}

#[tokio::test]
async fn documentation_lints_and_conditions() {
    let service = Service::start(routes()).await;
    service
        .post("/linted", "1", r#"{"item": "book"}"#)
        .await
        .ran("");
}
