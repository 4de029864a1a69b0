//! What an extractor refuses is answered as it would be without the attribute.

use std::convert::Infallible;
use std::io;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::{BytesRejection, FormRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Query, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::map_request;
use axum::response::Response;
use axum::routing::post;
use axum::{Form, Json, Router};
use futures_util::stream;
use idem_axum::{Content, EncodeError, RequestBody};
use serde::Deserialize;
use sqlx::SqliteConnection;

use crate::service::{App, Order, Service, write};

/// An extractor of the application's own, with its own rejection.
struct Own(Order);

impl<S: Send + Sync> FromRequest<S> for Own {
    type Rejection = (StatusCode, [(&'static str, &'static str); 1], String);

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let order = Json::from_request(request, state).await;
        let order = order.map_err(|rejection: JsonRejection| {
            let header = ("x-refused", "yes");
            (StatusCode::IM_A_TEAPOT, [header], rejection.body_text())
        });
        Ok(Self(order?.0))
    }
}

impl RequestBody for Own {
    fn content(&self) -> Result<Content, EncodeError> {
        Content::of(&self.0)
    }
}

/// One that hands its rejection to the handler.
struct Lenient(Result<Order, JsonRejection>);

impl<S: Send + Sync> FromRequest<S> for Lenient {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        let order = Json::from_request(request, state).await;
        Ok(Self(order.map(|Json(order)| order)))
    }
}

impl RequestBody for Lenient {
    fn content(&self) -> Result<Content, EncodeError> {
        self.0
            .as_ref()
            .map_or_else(|_| Ok(Content::Raw.rejected()), Content::of)
    }
}

type Parsed = Result<Json<Order>, JsonRejection>;

fn item_of(parsed: &Parsed) -> Option<&str> {
    let order = parsed.as_ref().ok()?;
    Some(&order.item)
}

macro_rules! pairs {
    ($($name:ident($($promise:tt)*) $body:ident: $type:ty => $returned:ty { $answer:expr })*) => {
        mod with {
            use super::*;
            use idem_axum::idempotent;

            $(#[idempotent(ttl = "24h", unscoped $($promise)*)]
            pub(super) async fn $name(_: &mut SqliteConnection, $body: $type) -> $returned {
                $answer
            })*
        }

        mod without {
            use super::*;

            $(pub(super) async fn $name($body: $type) -> $returned {
                $answer
            })*
        }

        fn routes() -> Router<App> {
            Router::new()
                $(.route(concat!("/with/", stringify!($name)), post(with::$name))
                .route(concat!("/without/", stringify!($name)), post(without::$name)))*
        }

        const ENDPOINTS: &[&str] = &[$(stringify!($name)),*];
    };
}

pairs! {
    json() order: Json<Order> => String { order.0.item }
    form() order: Form<Order> => String { order.0.item }
    text() body: String => String { body }
    bytes() body: Bytes => Bytes { body }
    own() own: Own => String { own.0.item }
    json_raw(, fingerprint = "raw") order: Json<Order> => String { order.0.item }
    result() order: Parsed => Result<String, JsonRejection> { Ok(order?.0.item) }
    result_raw(, fingerprint = "raw") order: Parsed => Result<String, JsonRejection> { Ok(order?.0.item) }
    result_function(, fingerprint = item_of) order: Parsed => Result<String, JsonRejection> { Ok(order?.0.item) }
    result_form() order: Result<Form<Order>, FormRejection> => Result<String, FormRejection> { Ok(order?.0.item) }
    result_bytes() body: Result<Bytes, BytesRejection> => Result<Bytes, BytesRejection> { body }
    optional() order: Option<Json<Order>> => Result<String, StatusCode> {
        order.map(|order| order.0.item).ok_or(StatusCode::BAD_REQUEST)
    }
    lenient() order: Lenient => Result<String, JsonRejection> { Ok(order.0?.item) }
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A request that may be refused. Its body comes as a whole, or in parts, and may break off.
struct Case {
    name: &'static str,
    content_type: Option<&'static str>,
    parts: Vec<Result<Bytes, io::ErrorKind>>,
}

impl Case {
    fn request(&self, path: &str, key: &str) -> Request {
        let request = Request::post(path).header("idempotency-key", key);
        let request = match self.content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        let request = if let [Ok(whole)] = &self.parts[..] {
            request
                .header("content-length", whole.len())
                .body(Body::from(whole.clone()))
        } else {
            let parts = self.parts.clone().into_iter();
            request.body(Body::from_stream(stream::iter(parts.map(|part| {
                part.map_err(|kind| io::Error::new(kind, "the client has left"))
            }))))
        };
        request.expect("a request")
    }
}

fn cases() -> Vec<Case> {
    let case = |name, content_type, parts: &[&str]| Case {
        name,
        content_type,
        parts: parts
            .iter()
            .map(|part| Ok(Bytes::from((*part).to_owned())))
            .collect(),
    };
    let chunk = "x".repeat(100_000);
    let large = format!(r#"{{"item": "{}"}}"#, chunk.repeat(30));
    let chunks = [chunk.as_str(); 30];
    let broken = |content_type| {
        let mut case = case("broken off", Some(content_type), &["{"]);
        case.parts.push(Err(io::ErrorKind::UnexpectedEof));
        case
    };
    let latin = Case {
        parts: vec![Ok(Bytes::from_static(b"item=\xe9"))],
        ..case("not UTF-8", Some(FORM), &[])
    };
    vec![
        case("over the limit, of known length", Some(JSON), &[&large]),
        case("over the limit, in chunks", Some(JSON), &chunks),
        case(
            "over the limit, another type",
            Some("text/plain"),
            &[&large],
        ),
        case("over the limit, a form", Some(FORM), &chunks),
        broken(JSON),
        broken(FORM),
        case("wrong type", Some(JSON), &[r#"{"item": 1}"#]),
        case(
            "wrong content type",
            Some("text/plain"),
            &[r#"{"item": "book"}"#],
        ),
        case("no content type", None, &[r#"{"item": "book"}"#]),
        case("malformed", Some(JSON), &["{"]),
        case("malformed, in parts", Some(JSON), &["{", "\"item\"", ":"]),
        case("malformed form", Some(FORM), &["note=1"]),
        case("missing", Some(JSON), &[""]),
        case("missing, no content type", None, &[""]),
        latin,
    ]
}

async fn compared(response: Response) -> (StatusCode, HeaderMap, Bytes) {
    let (mut parts, body) = response.into_parts();
    if parts.status.is_success() {
        parts.headers.remove("idempotency-expires");
    }
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    (parts.status, parts.headers, body)
}

/// With and without the attribute, all cases at all endpoints. Then the corrected request runs.
/// `cargo test -- --nocapture` shows the answers.
async fn is_answered_as_without(routes: Router<App>) {
    let service = Service::start(routes).await;
    for endpoint in ENDPOINTS {
        let paths = ["with", "without"].map(|place| format!("/{place}/{endpoint}"));
        for (key, case) in cases().iter().enumerate() {
            let (name, key) = (case.name, key.to_string());
            let [with, without] = paths
                .each_ref()
                .map(|path| service.respond(case.request(path, &key)));
            let (mut with, without) = (compared(with.await).await, compared(without.await).await);
            let texts = [&with.2, &without.2].map(|body| body.slice(..body.len().min(60)));
            println!(
                "{endpoint}, {name}: {} {:?}, {} {:?}",
                with.0, texts[0], without.0, texts[1]
            );
            // An optional body that is not there is not a rejection.
            let is_optional = *endpoint == "optional" && name == "missing, no content type";
            if is_optional {
                with.1.remove("idempotency-expires").expect("a record");
            }
            assert_eq!(with, without, "{endpoint}: {name}");
            if with.0.is_success() || is_optional {
                continue;
            }
            let (content_type, body) = match *endpoint {
                "form" | "result_form" => (FORM, "item=book"),
                _ => (JSON, r#"{"item": "book"}"#),
            };
            let corrected = Case {
                name,
                content_type: Some(content_type),
                parts: vec![Ok(Bytes::from_static(body.as_bytes()))],
            };
            let answer = service.send(corrected.request(&paths[0], &key)).await;
            let ran = answer.status.is_success() && !answer.replayed;
            assert!(ran, "{endpoint}: {name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn o7_rejections_are_those_without_the_attribute() {
    is_answered_as_without(routes()).await;
}

#[tokio::test]
async fn o7_rejections_under_a_limit_of_the_routes_own_are_those_without_the_attribute() {
    let routes = routes()
        .layer(map_request(raise))
        .layer(DefaultBodyLimit::max(10));
    is_answered_as_without(routes).await;
}

/// Lets the corrected requests through.
async fn raise(mut request: Request) -> Request {
    let corrected = request.headers().get("content-length");
    if corrected.is_some_and(|length| length == "9" || length == "16") {
        DefaultBodyLimit::disable().apply(&mut request);
    }
    request
}

#[derive(Deserialize)]
struct Page {
    page: u8,
}

type MaybePage = Result<Query<Page>, axum::extract::rejection::QueryRejection>;

#[idem_axum::idempotent(ttl = "24h", unscoped)]
async fn paged(
    tx: &mut SqliteConnection,
    page: MaybePage,
    Json(order): Json<Order>,
) -> Result<String, StatusCode> {
    write(tx, &order.item).await.expect("a row");
    let page = page.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(page.page.to_string())
}

#[tokio::test]
async fn o7_any_argument_that_is_an_err_claims_nothing() {
    let service = Service::start(Router::new().route("/paged", post(paged))).await;
    let order = r#"{"item": "book"}"#;
    for _ in 0..2 {
        let refused = service.post("/paged?page=one", "1", order).await;
        assert_eq!(refused.status, 400);
        assert!(!refused.replayed);
    }
    assert!(service.orders.operations().await.is_empty());
    let first = service.post("/paged?page=1", "1", order).await;
    first.ran("1");
    service
        .post("/paged?page=1", "1", order)
        .await
        .replays(&first);
    assert_eq!(service.orders.effects().await, ["book"]);
}
