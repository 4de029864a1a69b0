//! What an extractor refuses is answered as it would be without the attribute.

use actix_http::Request;
use actix_web::body::to_bytes;
use actix_web::dev::{self, ServiceResponse};
use actix_web::error::{ErrorBadRequest, InternalError, JsonPayloadError, PayloadError};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::test::TestRequest;
use actix_web::web::{self, Bytes, Form, Json, JsonConfig, PayloadConfig, ServiceConfig};
use actix_web::{Either, Error, FromRequest, HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt as _, stream};
use idem_actix::{Content, EncodeError, RequestBody};
use sqlx::SqliteConnection;

use super::service::{answer, start};
use crate::service::Order;

/// An extractor of the application's own, with its own rejection.
struct Own(Order);

impl FromRequest for Own {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let order = Json::<Order>::from_request(request, payload);
        Box::pin(async move {
            let order = order.await.map_err(|error| {
                let mut response = HttpResponse::ImATeapot();
                let response = response
                    .insert_header(("x-refused", "yes"))
                    .body(error.to_string());
                InternalError::from_response(error, response)
            });
            Ok(Self(order?.into_inner()))
        })
    }
}

impl RequestBody for Own {
    fn content(&self) -> Result<Content, EncodeError> {
        Content::of(&self.0)
    }
}

type Parsed = Result<Json<Order>, Error>;

fn item_of_either(order: Either<Json<Order>, Form<Order>>) -> String {
    match order {
        Either::Left(order) => order.into_inner().item,
        Either::Right(order) => order.into_inner().item,
    }
}

fn item_of(parsed: &Parsed) -> Option<&str> {
    let order = parsed.as_ref().ok()?;
    Some(&order.item)
}

macro_rules! pairs {
    ($($name:ident($($promise:tt)*) $body:ident: $type:ty => $returned:ty { $answer:expr })*) => {
        mod with {
            use super::*;
            use idem_actix::idempotent;

            $(#[idempotent(ttl = "24h", unscoped $($promise)*)]
            pub(super) async fn $name($body: $type, _: &mut SqliteConnection) -> $returned {
                $answer
            })*
        }

        mod without {
            use super::*;

            $(pub(super) async fn $name($body: $type) -> $returned {
                $answer
            })*
        }

        fn routes(config: &mut ServiceConfig) {
            config
                $(.route(concat!("/with/", stringify!($name)), web::post().to(with::$name))
                .route(concat!("/without/", stringify!($name)), web::post().to(without::$name)))*;
        }

        const ENDPOINTS: &[&str] = &[$(stringify!($name)),*];
    };
}

pairs! {
    json() order: Json<Order> => String { order.into_inner().item }
    form() order: Form<Order> => String { order.into_inner().item }
    text() body: String => String { body }
    bytes() body: Bytes => Bytes { body }
    own() own: Own => String { own.0.item }
    json_raw(, fingerprint = "raw") order: Json<Order> => String { order.into_inner().item }
    result() order: Parsed => Result<String, Error> { Ok(order?.into_inner().item) }
    result_raw(, fingerprint = "raw") order: Parsed => Result<String, Error> { Ok(order?.into_inner().item) }
    result_function(, fingerprint = item_of) order: Parsed => Result<String, Error> { Ok(order?.into_inner().item) }
    result_form() order: Result<Form<Order>, Error> => Result<String, Error> { Ok(order?.into_inner().item) }
    result_bytes() body: Result<Bytes, Error> => Result<Bytes, Error> { body }
    either() order: Either<Json<Order>, Form<Order>> => String {
        item_of_either(order)
    }
    result_either() order: Result<Either<Json<Order>, Form<Order>>, Error> => Result<String, Error> {
        order.map(item_of_either)
    }
    optional() order: Option<Json<Order>> => Result<String, Error> {
        order
            .map(|order| order.into_inner().item)
            .ok_or_else(|| ErrorBadRequest("no order"))
    }
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A request that may be refused. Its body comes as a whole, or in parts, and may break off.
struct Case {
    name: &'static str,
    content_type: Option<&'static str>,
    parts: Vec<Option<Bytes>>,
}

impl Case {
    fn request(&self, path: &str, key: &str) -> Request {
        let request = TestRequest::post()
            .uri(path)
            .insert_header(("idempotency-key", key));
        let request = match self.content_type {
            Some(content_type) => request.insert_header(("content-type", content_type)),
            None => request,
        };
        if let [Some(whole)] = &self.parts[..] {
            return request
                .insert_header(("content-length", whole.len()))
                .set_payload(whole.clone())
                .to_request();
        }
        let parts = self.parts.clone().into_iter();
        let parts = parts.map(|part| part.ok_or(PayloadError::Incomplete(None)));
        let payload = stream::iter(parts).boxed_local();
        let request = request.to_request();
        request.replace_payload(dev::Payload::Stream { payload }).0
    }

    /// Whether its bytes can't be read at all, within the limit of payloads.
    fn is_unreadable(&self) -> bool {
        self.name.starts_with("broken") || self.name.starts_with("over")
    }
}

fn cases() -> Vec<Case> {
    let case = |name, content_type, parts: &[&str]| Case {
        name,
        content_type,
        parts: parts
            .iter()
            .map(|part| Some(Bytes::from((*part).to_owned())))
            .collect(),
    };
    let chunk = "x".repeat(100_000);
    let large = format!(r#"{{"item": "{}"}}"#, chunk.repeat(30));
    let chunks = [chunk.as_str(); 30];
    let broken = |content_type| {
        let mut case = case("broken off", Some(content_type), &["{"]);
        case.parts.push(None);
        case
    };
    let latin = Case {
        parts: vec![Some(Bytes::from_static(b"item=\xe9"))],
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

async fn compared(response: ServiceResponse) -> (StatusCode, HeaderMap, Bytes) {
    let (response, body) = response.into_parts().1.into_parts();
    let mut headers = response.headers().clone();
    if response.status().is_success() {
        headers.remove("idempotency-expires");
    }
    let body = to_bytes(body).await.expect("a body");
    (response.status(), headers, body)
}

/// With and without the attribute, all cases at all endpoints. Then the corrected request runs.
/// `cargo test -- --nocapture` shows the answers.
async fn is_answered_as_without(routes: impl FnOnce(&mut ServiceConfig)) {
    let service = start(routes).await;
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
            let is_optional = *endpoint == "optional" && name.starts_with("missing");
            if is_optional {
                with.1.remove("idempotency-expires");
            }
            if *endpoint == "optional" && case.is_unreadable() {
                // A `None` may be a success, so its bytes have to be read.
                assert!([400, 413].contains(&with.0.as_u16()), "{name}: {with:?}");
            } else {
                assert_eq!(with.0, without.0, "{endpoint}: {name}");
                assert_eq!(with.2, without.2, "{endpoint}: {name}");
                let lines = |headers: &HeaderMap| format!("{headers:?}");
                assert_eq!(lines(&with.1), lines(&without.1), "{endpoint}: {name}");
            }
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
                parts: vec![Some(Bytes::from_static(body.as_bytes()))],
            };
            let answer = answer(service.respond(corrected.request(&paths[0], &key)).await).await;
            let ran = answer.status.is_success() && !answer.replayed;
            assert!(ran, "{endpoint}: {name}: {answer:?}");
        }
    }
}

#[actix_web::test]
async fn o7_rejections_are_those_without_the_attribute() {
    is_answered_as_without(routes).await;
}

#[actix_web::test]
async fn o7_rejections_under_limits_and_error_handlers_are_those_without_the_attribute() {
    let handler = |error: JsonPayloadError, _: &_| {
        let response = HttpResponse::ImATeapot().body(error.to_string());
        InternalError::from_response(error, response).into()
    };
    is_answered_as_without(|config| {
        config
            .app_data(JsonConfig::default().limit(40).error_handler(handler))
            .app_data(PayloadConfig::new(20))
            .configure(routes);
    })
    .await;
}
