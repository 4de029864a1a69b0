//! An application with an engine, and requests to it without a socket.

use std::path::Path;

use actix_http::Request;
use actix_web::dev::ServiceResponse;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::test::{TestRequest, init_service, read_body};
use actix_web::web::ServiceConfig;
use actix_web::{App, Error, dev};
use axum::http::StatusCode;
use idem_actix::Engine;

use crate::service::{Answer, Database};

/// The application, and what is in its database.
pub(crate) struct Service<S> {
    app: S,
    pub(crate) orders: Database,
}

/// Starts an application with these routes.
pub(crate) async fn start(
    routes: impl FnOnce(&mut ServiceConfig),
) -> Service<impl dev::Service<Request, Response = ServiceResponse, Error = Error>> {
    with_orders(Database::create().await, routes).await
}

/// An application whose orders outlive it, in a file.
pub(crate) async fn start_on(
    file: &Path,
    routes: impl FnOnce(&mut ServiceConfig),
) -> Service<impl dev::Service<Request, Response = ServiceResponse, Error = Error>> {
    with_orders(Database::open(file).await, routes).await
}

async fn with_orders(
    orders: Database,
    routes: impl FnOnce(&mut ServiceConfig),
) -> Service<impl dev::Service<Request, Response = ServiceResponse, Error = Error>> {
    let engine = idem_actix::engine(Engine::new(orders.store.clone()));
    let app = App::new().configure(engine).configure(routes);
    let app = init_service(app).await;
    Service { app, orders }
}

impl<S> Service<S>
where
    S: dev::Service<Request, Response = ServiceResponse, Error = Error>,
{
    /// Posts JSON under a key.
    pub(crate) async fn post(&self, path: &str, key: &str, body: &str) -> Answer {
        let body = body.to_owned();
        self.send(request(path, key).set_payload(body)).await
    }

    pub(crate) async fn send(&self, request: TestRequest) -> Answer {
        answer(self.respond(request.to_request()).await).await
    }

    pub(crate) async fn respond(&self, request: Request) -> ServiceResponse {
        let called = self.app.call(request).await;
        called.unwrap_or_else(|error| panic!("a middleware failed: {error}"))
    }
}

pub(crate) async fn answer(response: ServiceResponse) -> Answer {
    let status = StatusCode::from_u16(response.status().as_u16());
    let replayed = response.headers().contains_key("idempotency-replayed");
    let body = read_body(response).await;
    Answer {
        status: status.expect("a status"),
        replayed,
        text: String::from_utf8(body.into()).expect("text"),
    }
}

/// A POST of JSON under a key.
pub(crate) fn request(path: &str, key: &str) -> TestRequest {
    TestRequest::post()
        .uri(path)
        .insert_header(("idempotency-key", key))
        .insert_header((CONTENT_TYPE, "application/json"))
}
