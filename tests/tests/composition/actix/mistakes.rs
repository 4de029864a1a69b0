//! Mistakes that compile: each is answered 500 `misconfigured`, and one line in the log says what to do.

use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;

use actix_http::Request;
use actix_web::dev::{self, AppService, HttpServiceFactory, Payload, ServiceResponse};
use actix_web::test::init_service;
use actix_web::web::{self, Bytes, Data, Json, ServiceConfig};
use actix_web::{App, Error, FromRequest, HttpMessage as _, HttpRequest, HttpResponse, guard};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use idem_actix::{Engine, Provider, RequestPart, Settle, SqliteStore, idempotent};
use idem_tests::Traces;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

use super::service::{answer, request, start};
use crate::service::{Answer, Database, Order, write};

const ORDER: &str = r#"{"item": "book"}"#;

/// Asserts a refusal, and that the log has one error with this text.
#[track_caller]
fn assert_misconfigured(answer: &Answer, traces: &Traces, text: &str) {
    assert_eq!(answer.status.as_u16(), 500, "{answer:?}");
    assert!(answer.text.contains("misconfigured"), "{answer:?}");
    let events = traces.events();
    let errors: Vec<_> = events
        .iter()
        .filter(|event| event.level == tracing::Level::ERROR)
        .map(|event| format!("{:?}", event.fields))
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(text), "{errors:?}");
}

/// A part, by its own account, that reads the body.
struct Upload(Bytes);

impl FromRequest for Upload {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        Box::pin(async move {
            let mut bytes = Vec::new();
            while let Some(chunk) = payload.next().await {
                bytes.extend_from_slice(&chunk?);
            }
            Ok(Self(bytes.into()))
        })
    }
}

impl RequestPart for Upload {}

/// One that looks at the payload, and leaves it.
struct Glance(bool);

impl FromRequest for Glance {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(Ok(Self(matches!(payload, Payload::None))))
    }
}

impl RequestPart for Glance {}

#[idempotent(ttl = "24h", unscoped)]
async fn part(tx: &mut SqliteConnection, upload: Upload) -> String {
    format!("{} {:?}", upload.0.len(), write(tx, "part").await)
}

#[idempotent(ttl = "24h", unscoped)]
async fn beside(tx: &mut SqliteConnection, upload: Upload, order: Option<Json<Order>>) -> String {
    let written = write(tx, "beside").await;
    format!("{} {} {written:?}", upload.0.len(), order.is_some())
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn none(tx: &mut SqliteConnection, upload: Upload) -> String {
    format!("{} {:?}", upload.0.len(), write(tx, "none").await)
}

#[idempotent(ttl = "24h", unscoped, body = "order")]
async fn generic<T: Serialize + DeserializeOwned>(
    tx: &mut SqliteConnection,
    upload: Upload,
    order: Option<Json<T>>,
) -> String {
    let written = write(tx, "generic").await;
    format!("{} {} {written:?}", upload.0.len(), order.is_some())
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "raw")]
async fn raw(_: &mut SqliteConnection, upload: Upload, order: Option<Json<Order>>) -> String {
    format!("{} {}", upload.0.len(), order.is_some())
}

#[idempotent(ttl = "24h", unscoped)]
async fn glances(_: &mut SqliteConnection, glance: Glance, order: Json<Order>) -> String {
    format!("{} {}", glance.0, order.item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn settles_the_request(
    tx: &mut SqliteConnection,
    request: HttpRequest,
    order: Json<Order>,
) -> HttpResponse {
    let written = write(tx, &order.item).await;
    request.extensions_mut().insert(Settle::Commit);
    HttpResponse::PaymentRequired().body(format!("{written:?}"))
}

#[idempotent(ttl = "24h", unscoped)]
async fn in_one_shop(tx: &mut SqliteConnection, order: Json<Order>) -> String {
    let written = write(tx, "one").await;
    format!("one {} {written:?}", order.item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn in_another_shop(tx: &mut SqliteConnection, order: Json<Order>) -> String {
    let written = write(tx, "another").await;
    format!("another {} {written:?}", order.item)
}

#[idempotent(ttl = "24h", unscoped, operation = "named")]
async fn named_in_one_shop(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped, operation = "named")]
async fn named_in_another_shop(_: &mut SqliteConnection, order: Json<Order>) -> String {
    order.into_inner().item
}

fn routes(config: &mut ServiceConfig) {
    let shop = || guard::Header("x-shop", "one");
    config
        .route("/part", web::post().to(part))
        .route("/beside", web::post().to(beside))
        .route("/none", web::post().to(none))
        .route("/generic", web::post().to(generic::<Order>))
        .route("/raw", web::post().to(raw))
        .route("/glances", web::post().to(glances))
        .route("/settles", web::post().to(settles_the_request))
        .route("/orders", web::post().guard(shop()).to(in_one_shop))
        .route("/orders", web::post().to(in_another_shop))
        .route("/named", web::post().guard(shop()).to(named_in_one_shop))
        .route("/named", web::post().to(named_in_another_shop));
}

#[actix_web::test]
async fn f5_an_argument_that_has_read_the_body_unbound_is_misconfigured() {
    let _guard = Traces::install();
    let service = start(routes).await;
    for path in ["/part", "/beside", "/none", "/generic"] {
        for body in [ORDER, ""] {
            let traces = Traces::capture();
            let refused = service.post(path, "1", body).await;
            let text = "Upload` has read it, and is not bound to the key";
            assert_misconfigured(&refused, &traces, text);
        }
    }
    assert!(service.orders.effects().await.is_empty());
    assert!(service.orders.operations().await.is_empty());
}

#[actix_web::test]
async fn f4_any_argument_may_read_a_body_that_is_bound_by_its_bytes() {
    let service = start(routes).await;
    let first = service.post("/raw", "1", ORDER).await;
    first.ran("16 false");
    service.post("/raw", "1", ORDER).await.replays(&first);
    let other = service.post("/raw", "1", "{}").await;
    other.is_of_another_request();
}

#[actix_web::test]
async fn f1_an_argument_that_leaves_the_body_is_a_part() {
    let service = start(routes).await;
    service.post("/glances", "1", ORDER).await.ran("false book");
}

#[actix_web::test]
async fn o6_settle_in_the_request_is_misconfigured() {
    let _guard = Traces::install();
    let service = start(routes).await;
    for _ in 0..2 {
        let traces = Traces::capture();
        let refused = service.post("/settles", "1", ORDER).await;
        assert_misconfigured(&refused, &traces, "put it into the response");
    }
    assert!(service.orders.effects().await.is_empty());
}

#[actix_web::test]
async fn s1_handlers_that_only_a_guard_tells_apart_are_misconfigured() {
    let _guard = Traces::install();
    let service = start(routes).await;
    let in_one = |path| {
        request(path, "1")
            .insert_header(("x-shop", "one"))
            .set_payload(ORDER)
    };
    let first = service.send(in_one("/orders")).await;
    first.ran("one book Ok(())");
    let traces = Traces::capture();
    for key in ["1", "2"] {
        let refused = service.post("/orders", key, ORDER).await;
        assert_misconfigured(&refused, &traces, "POST /orders");
    }
    service.send(in_one("/orders")).await.replays(&first);
    assert_eq!(service.orders.effects().await, ["one"]);

    let named = service.send(in_one("/named")).await;
    named.ran("book");
    service.post("/named", "1", ORDER).await.replays(&named);
}

#[idempotent(ttl = "24h", unscoped)]
async fn writes(tx: &mut SqliteConnection, order: Json<Order>) -> String {
    format!("{:?}", write(tx, &order.item).await)
}

#[idempotent(ttl = "24h", unscoped, store = Billing)]
async fn bills(tx: &mut SqliteConnection, order: Json<Order>) -> String {
    format!("{:?}", write(tx, &order.item).await)
}

#[derive(Clone)]
struct Billing(Engine<SqliteStore>);

impl Provider for Billing {
    type Store = SqliteStore;

    fn engine(&self) -> &Engine<SqliteStore> {
        &self.0
    }
}

async fn databases() -> [(Database, Engine<SqliteStore>); 3] {
    let database = async || {
        let database = Database::create().await;
        let engine = Engine::new(database.store.clone());
        (database, engine)
    };
    [database().await, database().await, database().await]
}

async fn post(
    app: &impl dev::Service<Request, Response = ServiceResponse, Error = Error>,
    path: &str,
) -> Answer {
    let request = request(path, "1").set_payload(ORDER).to_request();
    answer(app.call(request).await.expect("a response")).await
}

fn install(engine: &Engine<SqliteStore>) -> impl FnOnce(&mut ServiceConfig) + use<> {
    idem_actix::engine(engine.clone())
}

#[actix_web::test]
async fn s1_engine_that_replaces_another_is_misconfigured() {
    let _guard = Traces::install();
    let databases = databases().await;
    let [(one, a), (other, b), (third, c)] = &databases;
    let nested = |config: &mut ServiceConfig| {
        config.configure(install(b)).configure(install(c));
    };
    let apart = web::scope("/apart").configure(install(c));
    let within = web::scope("/within").configure(install(a));
    let after = web::scope("/after").configure(install(c));
    let plain = web::scope("/plain").app_data(Data::new(c.clone()));
    let app = App::new()
        .configure(install(a))
        .service(apart.route("/orders", web::post().to(writes)))
        .configure(nested)
        .service(
            within
                .configure(install(b))
                .configure(install(c))
                .route("/orders", web::post().to(writes)),
        )
        .service(after.route("/orders", web::post().to(writes)))
        .service(plain.route("/orders", web::post().to(writes)))
        .configure(idem_actix::engine(Billing(a.clone())))
        .route("/orders", web::post().to(writes))
        .route("/bills", web::post().to(bills));
    let app = init_service(app).await;
    for path in ["/orders", "/within/orders"] {
        let traces = Traces::capture();
        let refused = post(&app, path).await;
        assert_misconfigured(&refused, &traces, "store = Billing");
    }
    for path in ["/apart/orders", "/after/orders", "/plain/orders", "/bills"] {
        post(&app, path).await.ran("Ok(())");
    }
    assert_eq!(one.effects().await, ["book"]);
    assert!(other.effects().await.is_empty());
    assert_eq!(third.effects().await, ["book"; 3]);
}

/// An application that can't be built.
struct Breaks;

impl HttpServiceFactory for Breaks {
    fn register(self, _: &mut AppService) {
        panic!("it breaks");
    }
}

#[actix_web::test]
async fn s1_engine_that_replaces_no_other_is_in_order() {
    let [(one, a), (other, b), _] = &databases().await;
    let dropped = App::new().configure(install(a)).configure(install(b));
    drop(dropped);
    let routes = |engine| {
        App::new()
            .configure(install(engine))
            .service(
                web::scope("/same")
                    .configure(install(a))
                    .configure(install(a))
                    .route("/orders", web::post().to(writes)),
            )
            .route("/orders", web::post().to(writes))
    };
    let broken = App::new()
        .configure(install(a))
        .service(Breaks)
        .configure(install(b));
    let broken = AssertUnwindSafe(init_service(broken)).catch_unwind();
    assert!(broken.await.is_err());
    for (engine, database) in [(a, one), (b, other)] {
        let app = init_service(routes(engine)).await;
        let before = database.effects().await.len();
        post(&app, "/orders").await.ran("Ok(())");
        assert_eq!(database.effects().await.len(), before + 1);
        let same = post(&app, "/same/orders").await;
        assert!(same.status.is_success(), "{same:?}");
    }
}
