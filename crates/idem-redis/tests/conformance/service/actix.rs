//! The test service on actix-web.

use std::net::TcpListener;

use actix_web::web::{Data, Form, Json, JsonConfig, Path, ServiceConfig, ThinData as State};
use actix_web::{FromRequest, Handler, Responder, Route, web};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use idem_actix::idempotent;
use idem_tests::Actix;
use tokio::sync::oneshot;

use super::{App, Framework, LIMIT};

#[allow(clippy::duplicate_mod, reason = "each framework compiles its own")]
#[path = "handlers.rs"]
mod handlers;

impl Framework for Actix {
    const MISSHAPEN: u16 = 400;

    fn serve(
        app: App,
        listener: TcpListener,
        stop: oneshot::Receiver<()>,
    ) -> BoxFuture<'static, ()> {
        let engine = app.engine.clone();
        let configure = move |config: &mut ServiceConfig| configure(config, &app);
        Self::run(configure, engine, listener, stop).boxed()
    }
}

fn configure(config: &mut ServiceConfig, app: &App) {
    let limited = web::resource("/limited")
        .app_data(JsonConfig::default().limit(LIMIT))
        .route(post(handlers::effect));
    config
        .configure(idem_actix::engine(app.engine.clone()))
        .app_data(State(app.clone()))
        .app_data(Data::from(app.control.clone()))
        .service(limited)
        .default_service(any(handlers::effect));
    routes!(config);
}

fn any<F, A>(handler: F) -> Route
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::route().to(handler)
}

fn post<F, A>(handler: F) -> Route
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::post().to(handler)
}
