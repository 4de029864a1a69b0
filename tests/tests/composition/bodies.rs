//! What of a body is bound to the key.

use axum::body::{Bytes, to_bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, RawForm, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Form, Json, Router};
use idem_axum::{Content, EncodeError, RequestBody, idempotent};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::service::{App, Order, Service, Tenant};

/// An extractor of the application's own, which binds the number of its lines.
struct Lines(Vec<String>);

impl<S: Send + Sync> FromRequest<S> for Lines {
    type Rejection = StatusCode;

    async fn from_request(request: Request, state: &S) -> Result<Self, StatusCode> {
        let text = String::from_request(request, state).await;
        let text = text.map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Self(text.lines().map(str::to_owned).collect()))
    }
}

impl RequestBody for Lines {
    fn content(&self) -> Result<Content, EncodeError> {
        Content::of(&self.0.len())
    }
}

/// One that says nothing.
struct Reversed(String);

impl<S: Send + Sync> FromRequest<S> for Reversed {
    type Rejection = StatusCode;

    async fn from_request(request: Request, state: &S) -> Result<Self, StatusCode> {
        let text = String::from_request(request, state).await;
        let text = text.map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Self(text.chars().rev().collect()))
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn deserialized(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, body = "order")]
async fn named(_: &mut SqliteConnection, tenant: Tenant, Json(mut order): Json<Order>) -> String {
    order.item.push_str(&tenant.name);
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "body")]
async fn optional(_: &mut SqliteConnection, order: Option<Json<Order>>) -> String {
    order.map_or_else(|| "nothing".to_owned(), |order| order.0.item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn result(_: &mut SqliteConnection, order: Result<Json<Order>, JsonRejection>) -> String {
    order.map_or_else(|_| "nothing".to_owned(), |order| order.0.item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn form(_: &mut SqliteConnection, Form(order): Form<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn raw_form(_: &mut SqliteConnection, RawForm(form): RawForm) -> Bytes {
    form
}

#[idempotent(ttl = "24h", unscoped)]
async fn custom(_: &mut SqliteConnection, Lines(lines): Lines) -> String {
    lines.concat()
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "raw")]
async fn raw_json(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "raw")]
async fn raw_bytes(_: &mut SqliteConnection, body: Bytes) -> Bytes {
    body
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "raw")]
async fn raw_string(_: &mut SqliteConnection, body: String) -> String {
    body
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "raw")]
async fn raw_custom(_: &mut SqliteConnection, Reversed(text): Reversed) -> String {
    text
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn none(_: &mut SqliteConnection, tenant: Tenant) -> String {
    tenant.name
}

#[idempotent(ttl = "24h", unscoped)]
async fn head(_: &mut SqliteConnection, tenant: Tenant) -> String {
    tenant.name
}

#[idempotent(ttl = "24h", unscoped, fingerprint = Order::intent)]
async fn method(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item + &order.note
}

fn of_the_extractor(Json(order): &Json<Order>) -> &str {
    &order.item
}

#[idempotent(ttl = "24h", unscoped, fingerprint = of_the_extractor)]
async fn function(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item + &order.note
}

mod intents {
    use super::Reversed;

    pub(super) fn length<const N: usize>(text: &Reversed) -> usize {
        text.0.len() / N
    }
}

#[idempotent(ttl = "24h", unscoped, fingerprint = intents::length::<2>)]
async fn generic_function(_: &mut SqliteConnection, Reversed(text): Reversed) -> String {
    text
}

#[derive(Serialize)]
enum Intent {
    Buy { item: String },
}

/// What is not `Serialize` can be bound by a function, too.
struct Parsed(Result<Order, String>);

impl<S: Send + Sync> FromRequest<S> for Parsed {
    type Rejection = StatusCode;

    async fn from_request(request: Request, state: &S) -> Result<Self, StatusCode> {
        let order = Json::from_request(request, state).await;
        Ok(Self(
            order
                .map(|Json(order)| order)
                .map_err(|error| error.to_string()),
        ))
    }
}

impl Parsed {
    fn intent(&self) -> Option<Intent> {
        let item = self.0.as_ref().ok()?.item.clone();
        Some(Intent::Buy { item })
    }
}

#[idempotent(ttl = "24h", unscoped, fingerprint = Parsed::intent)]
async fn parsed(
    _: &mut SqliteConnection,
    Parsed(order): Parsed,
) -> Result<String, (StatusCode, String)> {
    let order = order.map_err(|error| (StatusCode::BAD_REQUEST, error))?;
    Ok(order.item + &order.note)
}

fn routes() -> Router<App> {
    Router::new()
        .route("/deserialized", post(deserialized))
        .route("/named", post(named))
        .route("/optional", post(optional))
        .route("/result", post(result))
        .route("/form", post(form))
        .route("/raw_form", post(raw_form))
        .route("/custom", post(custom))
        .route("/raw_json", post(raw_json))
        .route("/raw_bytes", post(raw_bytes))
        .route("/raw_string", post(raw_string))
        .route("/raw_custom", post(raw_custom))
        .route("/none", post(none))
        .route("/head", post(head))
        .route("/method", post(method))
        .route("/function", post(function))
        .route("/generic_function", post(generic_function))
        .route("/parsed", post(parsed))
}

const ORDER: &str = r#"{"item": "book"}"#;
const SPACED: &str = r#"{ "item" : "book" }"#;
const NOTED: &str = r#"{"item": "book", "note": "!"}"#;
const OTHER: &str = r#"{"item": "pen"}"#;

/// On each of `paths`, `same` is a retry of `first`, and `other` another request.
async fn binds(paths: &[&str], first: &str, same: &str, other: &str) {
    let service = Service::start(routes()).await;
    for path in paths {
        let ran = service.post(path, "1", first).await;
        assert!(ran.status.is_success() && !ran.replayed, "{path}: {ran:?}");
        service.post(path, "1", same).await.replays(&ran);
        service.post(path, "1", other).await.is_of_another_request();
    }
}

#[tokio::test]
async fn the_deserialized_body() {
    binds(
        &["/deserialized", "/named", "/optional"],
        ORDER,
        SPACED,
        OTHER,
    )
    .await;
    binds(
        &["/deserialized", "/named", "/optional"],
        ORDER,
        SPACED,
        NOTED,
    )
    .await;
}

/// An optional `Json` is `None` for every body that comes without a content type.
#[tokio::test]
async fn f4_a_body_that_is_none_is_bound_by_its_bytes() {
    let service = Service::start(routes()).await;
    let request = |key: &str, body: &'static str| {
        let request = Request::post("/optional").header("idempotency-key", key);
        request.body(body.into()).expect("a request")
    };
    let bodies = [ORDER, OTHER, "{", ""];
    for (key, body) in bodies.iter().enumerate() {
        let key = key.to_string();
        let first = service.send(request(&key, body)).await;
        first.ran("nothing");
        service.send(request(&key, body)).await.replays(&first);
        for other in bodies.iter().filter(|other| *other != body) {
            let other = service.send(request(&key, other)).await;
            other.is_of_another_request();
        }
        let typed = service.post("/optional", &key, SPACED).await;
        typed.is_of_another_request();
    }
}

/// Takes the order out of a body, and puts the body back.
async fn parse(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    if let Ok(order) = serde_json::from_slice::<Order>(&body) {
        parts.extensions.insert(order);
    }
    next.run(Request::from_parts(parts, body.into())).await
}

/// Replaces every body by one without spaces.
async fn strip(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
    body.retain(|byte| *byte != b' ');
    next.run(Request::from_parts(parts, body.into())).await
}

#[idempotent(ttl = "24h", unscoped)]
async fn extension(_: &mut SqliteConnection, Extension(order): Extension<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn extension_unbound(_: &mut SqliteConnection, Extension(order): Extension<Order>) -> String {
    order.item
}

#[tokio::test]
async fn f4_what_a_middleware_takes_out_of_a_body_is_bound_by_the_bytes() {
    let routes = Router::new()
        .route("/bound", post(extension))
        .route("/unbound", post(extension_unbound))
        .layer(from_fn(parse));
    let service = Service::start(routes).await;
    for path in ["/bound", "/unbound"] {
        let first = service.post(path, "1", ORDER).await;
        first.ran("book");
        service.post(path, "1", ORDER).await.replays(&first);
        let other = service.post(path, "1", OTHER).await;
        if path == "/bound" {
            other.is_of_another_request();
        } else {
            other.replays(&first);
        }
    }
}

#[tokio::test]
async fn f1_body_is_bound_as_middlewares_pass_it_on() {
    let routes = routes().layer(from_fn(strip));
    let service = Service::start(routes).await;
    let first = service.post("/raw_json", "1", ORDER).await;
    first.ran("book");
    service.post("/raw_json", "1", SPACED).await.replays(&first);
    let other = service.post("/raw_json", "1", OTHER).await;
    other.is_of_another_request();
}

#[tokio::test]
async fn f4_what_could_not_be_extracted_is_bound_by_its_bytes() {
    let service = Service::start(routes()).await;
    let first = service.post("/result", "1", "{").await;
    first.ran("nothing");
    service.post("/result", "1", "{").await.replays(&first);
    for other in ["[", "", ORDER] {
        let other = service.post("/result", "1", other).await;
        other.is_of_another_request();
    }
}

#[tokio::test]
async fn what_an_extractor_of_ones_own_says() {
    binds(&["/custom"], "a\nb", "c\nd", "a\nb\nc").await;
}

#[tokio::test]
async fn the_bytes() {
    binds(
        &["/raw_json", "/raw_bytes", "/raw_string", "/raw_custom"],
        ORDER,
        ORDER,
        SPACED,
    )
    .await;
}

#[tokio::test]
async fn nothing_of_the_body() {
    let service = Service::start(routes()).await;
    let first = service.post("/none", "1", "abc").await;
    assert!(first.status.is_success() && !first.replayed, "{first:?}");
    service.post("/none", "1", "def").await.replays(&first);
}

#[tokio::test]
async fn the_bytes_that_no_argument_reads() {
    binds(&["/head"], ORDER, ORDER, SPACED).await;
}

#[tokio::test]
async fn what_a_function_makes_of_it() {
    binds(&["/method", "/function", "/parsed"], ORDER, NOTED, OTHER).await;
    binds(&["/generic_function"], "abcd", "efghi", "abcdef").await;
}

#[tokio::test]
async fn forms() {
    let service = Service::start(routes()).await;
    for path in ["/form", "/raw_form"] {
        let request = |body: &'static str| {
            Request::post(path)
                .header("idempotency-key", "1")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.into())
                .expect("a request")
        };
        let first = service.send(request("item=book")).await;
        assert!(first.status.is_success() && !first.replayed, "{first:?}");
        service.send(request("item=book")).await.replays(&first);
        service
            .send(request("item=pen"))
            .await
            .is_of_another_request();
    }
}
