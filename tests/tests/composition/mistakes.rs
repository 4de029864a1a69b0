//! Mistakes that compile: each is answered 500 `misconfigured`, and one line in the log says what to do.

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, post};
use axum::{Extension, Json, Router};
use idem_axum::{Settle, idempotent};
use idem_tests::Traces;
use sqlx::SqliteConnection;
use tower::ServiceExt as _;

use crate::service::{App, Order, Service, write};

const ORDER: &str = r#"{"item": "book"}"#;

#[idempotent(ttl = "24h", unscoped)]
async fn in_one_shop(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let written = write(tx, "one").await;
    format!("one {} {written:?}", order.item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn in_another_shop(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let written = write(tx, "another").await;
    format!("another {} {written:?}", order.item)
}

#[idempotent(ttl = "24h", unscoped, operation = "named")]
async fn named_in_one_shop(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

#[idempotent(ttl = "24h", unscoped, operation = "named")]
async fn named_in_another_shop(_: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    order.item
}

/// A router for each shop, by the request's query.
async fn dispatch(State(app): State<App>, request: Request) -> Response {
    let shop = if request.uri().query() == Some("one") {
        Router::new()
            .route("/orders", post(in_one_shop))
            .route("/named", post(named_in_one_shop))
    } else {
        Router::new()
            .route("/orders", post(in_another_shop))
            .route("/named", post(named_in_another_shop))
    };
    let answered = shop.with_state(app).oneshot(request).await;
    answered.unwrap_or_else(|never| match never {})
}

#[tokio::test]
async fn s1_handlers_that_only_a_router_tells_apart_are_misconfigured() {
    let _guard = Traces::install();
    let service = Service::start(Router::new().fallback(any(dispatch))).await;
    let first = service.post("/orders?one", "1", ORDER).await;
    first.ran("one book Ok(())");
    let traces = Traces::capture();
    for key in ["1", "2"] {
        let refused = service.post("/orders", key, ORDER).await;
        assert_eq!(refused.status.as_u16(), 500, "{refused:?}");
        assert!(refused.text.contains("misconfigured"), "{refused:?}");
    }
    let errors = traces.events().into_iter();
    let errors = errors.filter(|event| event.level == tracing::Level::ERROR);
    let errors: Vec<_> = errors.map(|event| format!("{:?}", event.fields)).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("POST /orders"), "{errors:?}");
    service
        .post("/orders?one", "1", ORDER)
        .await
        .replays(&first);
    assert_eq!(service.orders.effects().await, ["one"]);

    service.post("/named?one", "1", ORDER).await.ran("book");
    let other = service.post("/named", "1", ORDER).await;
    other.is_of_another_request();
}

/// A layer of `Extension` changes the request, and not the response.
#[tokio::test]
async fn o6_settle_in_the_extensions_of_the_request_is_misconfigured() {
    let _guard = Traces::install();
    let routes = Router::new()
        .route("/orders", post(in_one_shop))
        .layer(Extension(Settle::Commit));
    let service = Service::start(routes).await;
    let traces = Traces::capture();
    let refused = service.post("/orders", "1", ORDER).await;
    assert_eq!(refused.status.as_u16(), 500, "{refused:?}");
    assert!(refused.text.contains("misconfigured"), "{refused:?}");
    let errors = traces.events().into_iter();
    let errors = errors.filter(|event| event.level == tracing::Level::ERROR);
    let errors: Vec<_> = errors.map(|event| format!("{event:?}")).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("put it into the response"), "{errors:?}");
    assert_eq!(service.orders.effects().await, [""; 0]);
}
