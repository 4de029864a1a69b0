//! Scopes, nested resources, guards, middlewares, and applications without an engine.

use actix_web::dev::{Service as _, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use actix_web::middleware::{Compress, DefaultHeaders, Logger, NormalizePath, from_fn};
use actix_web::web::{self, Json, Path, ServiceConfig};
use actix_web::{App, HttpResponse, guard, test};
use idem_actix::{Settle, idempotent};
use sqlx::SqliteConnection;

use super::service::{request, start};
use crate::service::{Order, write};

#[idempotent(ttl = "24h", unscoped)]
async fn create(tx: &mut SqliteConnection, order: Json<Order>) -> Result<String, Failure> {
    write(tx, &order.item).await.map_err(|_| Failure)?;
    if order.item == "fail" {
        return Err(Failure);
    }
    Ok(order.into_inner().item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn nested(
    path: Path<(String, u32)>,
    tx: &mut SqliteConnection,
    order: Json<Order>,
) -> HttpResponse {
    let _ = write(tx, &order.item).await;
    HttpResponse::Created().body(format!("{} {}", path.0, path.1))
}

#[idempotent(ttl = "24h", unscoped)]
async fn kept(_: &mut SqliteConnection, order: Json<Order>) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(order.into_inner().item);
    response.extensions_mut().insert(Settle::Final);
    response
}

#[derive(Debug)]
struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the handler failed")
    }
}

impl actix_web::ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        StatusCode::UNPROCESSABLE_ENTITY
    }
}

fn versioned(config: &mut ServiceConfig) {
    config
        .service(
            web::resource("/guarded")
                .guard(guard::Header("x-version", "2"))
                .post(kept),
        )
        .service(web::resource("/guarded").post(create))
        .service(
            web::scope("/{tenant}").service(
                web::scope("/orders/{id:\\d{1,4}}")
                    .service(web::resource("").post(nested))
                    .service(web::resource(["/lines", "/rows"]).post(nested)),
            ),
        );
}

#[actix_web::test]
async fn s1_operation_is_the_whole_pattern() {
    let service = start(|config| {
        config.service(web::scope("/v1").configure(versioned));
    })
    .await;
    let order = r#"{"item": "book"}"#;
    for path in ["/v1/acme/orders/7", "/v1/acme/orders/7/lines"] {
        let first = service.post(path, "1", order).await;
        first.ran("acme 7");
        service.post(path, "1", order).await.replays(&first);
    }
    let other = service.post("/v1/globex/orders/7", "1", order).await;
    other.is_of_another_request();
    service.post("/v1/guarded", "1", order).await.ran("book");
    let mut operations = service.orders.operations().await;
    operations.sort();
    assert_eq!(
        operations,
        [
            "POST /v1/guarded",
            "POST /v1/{}/orders/{}",
            "POST /v1/{}/orders/{}/lines",
        ]
    );
}

/// What is around a handler sees first responses and replays alike.
#[actix_web::test]
async fn middlewares_around_a_handler() {
    let service = start(|config| {
        let scope = web::scope("/wrapped")
            .wrap(Compress::default())
            .wrap(DefaultHeaders::new().add(("x-served", "yes")))
            .wrap(NormalizePath::trim())
            .wrap(Logger::default())
            .wrap(from_fn(
                async |request, next: actix_web::middleware::Next<_>| next.call(request).await,
            ))
            .route("/orders", web::post().to(create));
        config.service(scope);
    })
    .await;
    let item = "book".repeat(1000);
    let send = async || {
        let request = request("/wrapped/orders", "1").insert_header((ACCEPT_ENCODING, "gzip"));
        let order = format!(r#"{{"item": "{item}"}}"#);
        let response = service
            .respond(request.set_payload(order).to_request())
            .await;
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        assert_eq!(header(CONTENT_ENCODING.as_str()), Some(&b"gzip"[..]));
        assert_eq!(header("x-served"), Some(&b"yes"[..]));
        let replayed = header("idempotency-replayed").is_some();
        (replayed, test::read_body(response).await)
    };
    let (first, replay) = (send().await, send().await);
    assert!(!first.0 && replay.0);
    assert_eq!(first.1, replay.1);
    assert!(first.1.len() < 1000, "compressed");
    assert_eq!(service.orders.effects().await, [item]);
}

/// As a middleware that reports errors looks for it.
#[actix_web::test]
async fn error_and_extensions_of_a_response_get_to_middlewares() {
    let service = start(|config| {
        config
            .route("/fails", web::post().to(create))
            .route("/kept", web::post().to(kept));
    })
    .await;
    let error = |response: &ServiceResponse| response.response().error().map(ToString::to_string);
    let fails = || request("/fails", "1").set_payload(r#"{"item": "fail"}"#);
    let first = service.respond(fails().to_request()).await;
    assert_eq!(error(&first).as_deref(), Some("the handler failed"));
    let replay = service.respond(fails().to_request()).await;
    assert_eq!(replay.status(), first.status());
    assert_eq!(error(&replay), None, "it is not recorded");
    let kept = request("/kept", "1").set_payload(r#"{"item": "book"}"#);
    let kept = service.respond(kept.to_request()).await;
    assert!(kept.response().extensions().contains::<Settle>());
}

#[actix_web::test]
async fn application_without_an_engine_is_misconfigured() {
    let app = App::new().route("/orders", web::post().to(create));
    let app = test::init_service(app).await;
    let request = request("/orders", "1").set_payload(r#"{"item": "book"}"#);
    let response = app.call(request.to_request()).await.expect("a response");
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = test::read_body(response).await;
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("misconfigured"), "{text}");
    assert!(!text.contains("Data"), "no internals: {text}");
}
