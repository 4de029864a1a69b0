//! Other attributes alongside `#[idempotent]`, in either order.

use std::collections::HashSet;

use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Json, Path, ServiceConfig};
use actix_web::{
    Error, HttpRequest, HttpResponse, Responder, get, patch, post, put, route, routes,
};
use actix_web_grants::{GrantsMiddleware, protect};
use idem_actix::{Attempt, Engine, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use utoipa::{OpenApi, ToSchema};

use super::service::{request, start};
use crate::service::Order;

#[post("/post_above/{id}")]
#[idempotent(ttl = "24h", unscoped)]
async fn post_above(_: &mut SqliteConnection, id: Path<u32>, order: Json<Order>) -> String {
    format!("{id} {}", order.item)
}

/// Below, `#[get]` is a compile error. Here it has been expanded already.
#[get("/get_above/{tenant}")]
#[idempotent(ttl = "24h", scope = "tenant")]
#[deny(unused, clippy::pedantic)]
async fn get_above(_: &mut SqliteConnection, tenant: Path<String>) -> String {
    String::new()
}

#[idempotent(ttl = "24h", unscoped)]
#[post("/post_below/{id}")]
async fn post_below(_: &mut SqliteConnection, id: Path<u32>, order: Json<Order>) -> String {
    format!("{id} {}", order.item)
}

#[put("/put")]
#[idempotent(ttl = "24h", unscoped)]
async fn put_above(_: &mut SqliteConnection, order: Json<Order>) -> HttpResponse {
    HttpResponse::Ok().body(order.into_inner().item)
}

#[idempotent(ttl = "24h", unscoped)]
#[patch("/patch", name = "patched", guard = "is_tenant")]
async fn patch_below(_: &mut SqliteConnection, order: Json<Order>) -> impl Responder + use<> {
    order.into_inner().item
}

fn is_tenant(context: &actix_web::guard::GuardContext<'_>) -> bool {
    context.head().headers().contains_key("x-tenant")
}

#[route("/route", method = "POST", method = "PUT")]
#[idempotent(ttl = "24h", unscoped)]
async fn route_above(_: &mut SqliteConnection, request: HttpRequest) -> String {
    request.method().to_string()
}

#[idempotent(ttl = "24h", unscoped)]
#[routes]
#[post("/one")]
#[post("/other")]
async fn routes_below(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
#[tracing::instrument(name = "below", skip(tx, order), fields(item = order.item))]
#[post("/instrumented_below")]
async fn instrumented_below(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    order: Json<Order>,
) -> &'static str {
    let _ = (tx, attempt, order);
    span()
}

#[post("/instrumented_above")]
#[tracing::instrument(name = "above", skip_all, fields(number = attempt.number()))]
#[idempotent(ttl = "24h", unscoped)]
async fn instrumented_above(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    order: Json<Order>,
) -> &'static str {
    let _ = (tx, attempt, order);
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
#[utoipa::path(
    post,
    path = "/{id}/above",
    params(("id" = u32, Path)),
    responses((status = 201, body = Refund)),
)]
#[post("/{id}/above")]
#[idempotent(ttl = "24h", unscoped)]
async fn described_above(
    _: &mut SqliteConnection,
    id: Path<u32>,
    refund: Json<Refund>,
) -> (Json<Refund>, StatusCode) {
    let cents = refund.cents + *id;
    (Json(Refund { cents }), StatusCode::CREATED)
}

/// Refunds.
#[idempotent(ttl = "90m", unscoped)]
#[utoipa::path(
    post,
    path = "/{id}/below",
    params(("id" = u32, Path)),
    responses((status = 201, body = Refund)),
)]
#[post("/{id}/below")]
async fn described_below(
    _: &mut SqliteConnection,
    id: Path<u32>,
    refund: Json<Refund>,
) -> (Json<Refund>, StatusCode) {
    let cents = refund.cents + *id;
    (Json(Refund { cents }), StatusCode::CREATED)
}

#[derive(OpenApi)]
#[openapi(paths(described_above, described_below))]
struct Api;

#[idempotent(ttl = "24h", unscoped)]
#[protect("admin")]
async fn protected_below(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

/// The role that the request names.
async fn grants(request: &ServiceRequest) -> Result<HashSet<String>, Error> {
    let role = request.headers().get("x-role");
    let role = role.and_then(|role| role.to_str().ok());
    Ok(role.map(ToOwned::to_owned).into_iter().collect())
}

fn services(config: &mut ServiceConfig) {
    let protected = web::resource("/protected_below")
        .wrap(GrantsMiddleware::with_extractor(grants))
        .route(web::post().to(protected_below));
    config
        .service(protected)
        .service(post_above)
        .service(post_below)
        .service(get_above)
        .service(put_above)
        .service(patch_below)
        .service(route_above)
        .service(routes_below)
        .service(instrumented_below)
        .service(instrumented_above)
        .service(described_above)
        .service(described_below);
}

const ORDER: &str = r#"{"item": "book"}"#;

#[actix_web::test]
async fn s3_authorization_below_guards_replays_too() {
    let service = start(services).await;
    let send = async |role: &str| {
        let request = request("/protected_below", "1").insert_header(("x-role", role));
        service.send(request.set_payload(ORDER)).await
    };
    assert_eq!(send("guest").await.status, 403);
    let first = send("admin").await;
    first.ran("book");
    send("admin").await.replays(&first);
    let refused = send("guest").await;
    assert_eq!(refused.status, 403);
    assert!(!refused.replayed && refused.text.is_empty());
}

#[actix_web::test]
async fn routes_above_and_below() {
    let service = start(services).await;
    for (path, text) in [
        ("/post_above/7", "7 book"),
        ("/post_below/7", "7 book"),
        ("/route", "POST"),
        ("/one", "book"),
        ("/other", "book"),
    ] {
        let first = service.post(path, "1", ORDER).await;
        first.ran(text);
        service.post(path, "1", ORDER).await.replays(&first);
    }
    for (path, method) in [("/put", "PUT"), ("/patch", "PATCH"), ("/route", "PUT")] {
        let send = async || {
            let request = request(path, "1").insert_header(("x-tenant", "acme"));
            let request = request.method(method.parse().expect("a method"));
            service.send(request.set_payload(ORDER)).await
        };
        let first = send().await;
        assert!(first.status.is_success() && !first.replayed, "{first:?}");
        send().await.replays(&first);
    }
    let mut operations = service.orders.operations().await;
    operations.sort();
    assert_eq!(
        operations,
        [
            "PATCH /patch",
            "POST /one",
            "POST /other",
            "POST /post_above/{}",
            "POST /post_below/{}",
            "POST /route",
            "PUT /put",
            "PUT /route",
        ]
    );
}

#[actix_web::test]
async fn s1_get_above_is_misconfigured_at_the_first_request() {
    let service = start(services).await;
    let request = request("/get_above/acme", "1").method(Method::GET);
    let refused = service.send(request).await;
    assert_eq!(refused.status.as_u16(), 500);
    assert!(refused.text.contains("misconfigured"), "{}", refused.text);
}

#[actix_web::test]
async fn instrument_below_and_above() {
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_writer(std::io::sink)
            .finish(),
    );
    let service = start(services).await;
    for (path, span) in [
        ("/instrumented_below", "below"),
        ("/instrumented_above", "above"),
    ] {
        service.post(path, "1", ORDER).await.ran(span);
    }
}

#[actix_web::test]
async fn utoipa_reads_the_extractors_and_has_the_contract_below() {
    let service = start(services).await;
    let mut document = Api::openapi();
    Engine::new(service.orders.store.clone()).describe(&mut document);
    for (path, ttl) in [("/{id}/above", None), ("/{id}/below", Some("PT90M"))] {
        let operation = document.paths.paths[path].post.as_ref();
        let operation = serde_json::to_value(operation).expect("JSON");
        assert_eq!(operation["summary"], "Refunds.");
        assert!(operation["requestBody"]["content"]["application/json"].is_object());
        assert_eq!(operation["x-idempotency"]["ttl"].as_str(), ttl);
        let key = &operation["parameters"][1]["name"];
        assert_eq!(key.as_str(), ttl.map(|_| "Idempotency-Key"));
    }
    for path in ["/1/above", "/1/below"] {
        let answer = service.post(path, "1", r#"{"cents": 2}"#).await;
        answer.ran(r#"{"cents":3}"#);
    }
}
