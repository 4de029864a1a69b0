//! Arguments in any order, of any type that actix-web extracts, and responses of any type.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::error::ResponseError;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Json, Path, Query, ServiceConfig};
use actix_web::{Either, Error, FromRequest, HttpRequest, HttpResponse, Responder};
use idem_actix::{Attempt, RequestPart, Settle, idempotent};
use serde::Deserialize;
use sqlx::SqliteConnection;

use super::service::{request, start};
use crate::service::{Order, write};

/// Who asks: the header `x-user`.
struct User(String);

impl FromRequest for User {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get("x-user");
        let user = header.and_then(|value| value.to_str().ok());
        ready(user.map(|user| Self(user.to_owned())).ok_or(Refusal))
    }
}

impl RequestPart for User {}

#[derive(Debug)]
struct Refusal;

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("refused")
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::FORBIDDEN
    }
}

#[derive(Deserialize)]
struct Page {
    page: u32,
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn body_first(
    Json(order): Json<Order>,
    request: HttpRequest,
    tx: &mut SqliteConnection,
    tenant: Path<String>,
    page: Query<Page>,
    attempt: &Attempt,
    prefix: Data<String>,
) -> impl Responder + use<> {
    let written = write(tx, &order.item).await;
    let path = request.match_pattern().unwrap_or_default();
    let (prefix, page, number) = (prefix.as_str(), page.page, attempt.number());
    written.map_or_else(
        |error| error.to_string(),
        |()| format!("{prefix} {tenant} {page} {number} {path}"),
    )
}

#[idempotent(ttl = "24h", unscoped)]
async fn body_amid(
    tenant: Path<(String, u32)>,
    order: Json<Order>,
    tx: &mut SqliteConnection,
    _request: HttpRequest,
) -> HttpResponse {
    match write(tx, &order.item).await {
        Ok(()) => HttpResponse::Created().body(tenant.0.clone()),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// Neither its arguments nor what it waits for can be sent to another thread.
#[idempotent(ttl = "24h", unscoped)]
async fn local(tx: &mut SqliteConnection, order: Json<Order>) -> String {
    let count = Rc::new(Cell::new(0));
    let kept = Rc::clone(&count);
    if write(tx, &order.item).await.is_ok() {
        kept.set(1);
    }
    actix_web::rt::task::yield_now().await;
    count.get().to_string()
}

#[idempotent(ttl = "24h", unscoped)]
async fn fallible(tx: &mut SqliteConnection, order: Json<Order>) -> Result<String, Refusal> {
    write(tx, &order.item).await.map_err(|_| Refusal)?;
    if order.item == "none" {
        return Err(Refusal);
    }
    Ok(order.into_inner().item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn boxed(_: &mut SqliteConnection, order: Json<Order>) -> actix_web::Result<HttpResponse> {
    let cents: u32 = order
        .item
        .parse()
        .map_err(actix_web::error::ErrorBadRequest)?;
    Ok(HttpResponse::Ok().body(cents.to_string()))
}

#[idempotent(ttl = "24h", unscoped)]
async fn either(
    _: &mut SqliteConnection,
    order: Either<Json<Order>, String>,
) -> Either<HttpResponse, (String, StatusCode)> {
    match order {
        Either::Left(order) => Either::Left(HttpResponse::Ok().body(order.into_inner().item)),
        Either::Right(text) => Either::Right((text, StatusCode::ACCEPTED)),
    }
}

#[idempotent(ttl = "24h", scope = "user")]
async fn parts(
    _: &mut SqliteConnection,
    user: User,
    page: Query<Page>,
    missing: Option<Query<Order>>,
) -> String {
    format!("{} {} {}", user.0, page.page, missing.is_none())
}

impl idem_actix::Scope for User {
    fn scope(&self) -> std::borrow::Cow<'_, str> {
        (&self.0).into()
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn declined(tx: &mut SqliteConnection, order: Json<Order>) -> Result<HttpResponse, Error> {
    let written = write(tx, &order.item).await;
    written.map_err(actix_web::error::ErrorInternalServerError)?;
    let mut response = HttpResponse::PaymentRequired().finish();
    response.extensions_mut().insert(Settle::Commit);
    Ok(response)
}

fn routes(config: &mut ServiceConfig) {
    config
        .app_data(Data::new("prefix".to_owned()))
        .route("/{tenant}/body_first", web::post().to(body_first))
        .route("/{tenant}/{number}/body_amid", web::post().to(body_amid))
        .route("/parts", web::post().to(parts))
        .route("/local", web::post().to(local))
        .route("/fallible", web::post().to(fallible))
        .route("/boxed", web::post().to(boxed))
        .route("/either", web::post().to(either))
        .route("/declined", web::post().to(declined));
}

const ORDER: &str = r#"{"item": "book"}"#;

#[actix_web::test]
async fn extractors_in_any_order() {
    let service = start(routes).await;
    for (path, text) in [
        (
            "/acme/body_first?page=7",
            "prefix acme 7 1 /{tenant}/body_first",
        ),
        ("/acme/7/body_amid", "acme"),
        ("/local", "1"),
    ] {
        let first = service.post(path, "1", ORDER).await;
        first.ran(text);
        service.post(path, "1", ORDER).await.replays(&first);
    }
    assert_eq!(service.orders.effects().await, ["book"; 3]);
}

#[actix_web::test]
async fn parts_alone() {
    let service = start(routes).await;
    let anonymous = service.post("/parts?page=1", "1", "").await;
    assert_eq!(anonymous.status, 403);
    let asked = || request("/parts?page=1", "1").insert_header(("x-user", "eve"));
    let first = service.send(asked()).await;
    first.ran("eve 1 true");
    service.send(asked()).await.replays(&first);
    let more = service.send(asked().set_payload("more")).await;
    more.is_of_another_request();
}

#[actix_web::test]
async fn errors_are_responses() {
    let service = start(routes).await;
    let none = r#"{"item": "none"}"#;
    let refused = service.post("/fallible", "1", none).await;
    assert_eq!((refused.status.as_u16(), refused.replayed), (403, false));
    let again = service.post("/fallible", "1", none).await;
    assert!(!again.replayed, "403 may be another one later");
    let bad = service.post("/boxed", "1", none).await;
    assert_eq!(bad.status.as_u16(), 400);
    service.post("/boxed", "1", none).await.replays(&bad);
    let declined = service.post("/declined", "1", ORDER).await;
    assert_eq!(declined.status.as_u16(), 402);
    service
        .post("/declined", "1", ORDER)
        .await
        .replays(&declined);
    assert_eq!(service.orders.effects().await, ["book"]);
}

#[actix_web::test]
async fn one_of_two_bodies() {
    let service = start(routes).await;
    let json = service.post("/either", "1", ORDER).await;
    json.ran("book");
    let spaced = r#"{ "item": "book" }"#;
    service.post("/either", "1", spaced).await.replays(&json);
    let text = service.post("/either", "2", "text").await;
    assert_eq!((text.status.as_u16(), text.text.as_str()), (202, "text"));
    let other = service.post("/either", "2", "other").await;
    other.is_of_another_request();
}
