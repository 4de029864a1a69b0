//! Limits and error handlers of actix-web's own extractors stay in force.

use actix_web::error::{InternalError, JsonPayloadError, PayloadError};
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Json, JsonConfig, Payload, PayloadConfig, ServiceConfig};
use actix_web::{Error, HttpResponse, dev};
use futures_util::{StreamExt as _, stream};
use idem_actix::idempotent;
use sqlx::SqliteConnection;

use super::service::{answer, request, start};
use crate::service::Order;

#[idempotent(ttl = "24h", unscoped)]
async fn json(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped)]
async fn optional(_: &mut SqliteConnection, order: Option<Json<Order>>) -> String {
    order.map_or_else(String::new, |order| order.into_inner().item)
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "raw")]
async fn payload(_: &mut SqliteConnection, payload: Payload) -> Result<String, Error> {
    Ok(payload.to_bytes().await?.len().to_string())
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn unread(_: &mut SqliteConnection) -> &'static str {
    "unread"
}

fn routes(config: &mut ServiceConfig) {
    let handler = |error: JsonPayloadError, _: &_| {
        let response = HttpResponse::build(StatusCode::IM_A_TEAPOT).body(error.to_string());
        InternalError::from_response(error, response).into()
    };
    let strict = web::resource("/strict")
        .app_data(JsonConfig::default().limit(100).error_handler(handler))
        .post(json);
    let small = web::resource("/small")
        .app_data(JsonConfig::default().limit(100))
        .post(optional);
    config
        .app_data(PayloadConfig::new(1000))
        .service(strict)
        .service(small)
        .route("/json", web::post().to(json))
        .route("/optional", web::post().to(optional))
        .route("/payload", web::post().to(payload))
        .route("/unread", web::post().to(unread));
}

#[actix_web::test]
async fn json_has_its_limit_and_its_error_handler() {
    let service = start(routes).await;
    for body in ["{", &format!(r#"{{"item": "{}"}}"#, "x".repeat(100))] {
        let answer = service.post("/strict", "1", body).await;
        assert_eq!(answer.status.as_u16(), 418, "{answer:?}");
    }
    let first = service.post("/strict", "1", r#"{"item": "book"}"#).await;
    first.ran("book");
    let large = format!(r#"{{"item": "{}"}}"#, "x".repeat(10_000));
    let first = service.post("/json", "1", &large).await;
    assert_eq!(
        first.text.len(),
        10_000,
        "its limit is another than the payload's"
    );
}

#[actix_web::test]
async fn f4_optional_json_beyond_its_limit_is_bound_by_its_bytes() {
    let service = start(routes).await;
    let large = |letter: &str| format!(r#"{{"item": "{}"}}"#, letter.repeat(200));
    let first = service.post("/small", "1", &large("a")).await;
    first.ran("");
    service
        .post("/small", "1", &large("a"))
        .await
        .replays(&first);
    for other in [large("b"), String::new(), r#"{"item": "a"}"#.to_owned()] {
        let other = service.post("/small", "1", &other).await;
        other.is_of_another_request();
    }
}

#[actix_web::test]
async fn what_is_read_to_be_hashed_is_within_the_payloads_limit() {
    let service = start(routes).await;
    for path in ["/payload", "/unread"] {
        let large = service.post(path, "1", &"x".repeat(1001)).await;
        assert_eq!(large.status.as_u16(), 413, "{path}: {large:?}");
        let first = service.post(path, "1", &"x".repeat(1000)).await;
        assert!(
            first.status.is_success() && !first.replayed,
            "{path}: {first:?}"
        );
    }
}

/// As when the client goes away before it has sent the whole.
#[actix_web::test]
async fn broken_payload_never_gets_to_a_handler() {
    let service = start(routes).await;
    for path in ["/json", "/optional", "/payload", "/unread"] {
        let parts = [
            Ok(Bytes::from_static(b"{")),
            Err(PayloadError::Incomplete(None)),
        ];
        let payload = stream::iter(parts).boxed_local();
        let request = request(path, "1").to_request();
        let (broken, _) = request.replace_payload(dev::Payload::Stream { payload });
        let answer = answer(service.respond(broken).await).await;
        assert_eq!(answer.status.as_u16(), 400, "{path}: {answer:?}");
    }
}
