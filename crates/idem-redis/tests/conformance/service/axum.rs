//! The test service on axum.

use std::net::TcpListener;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef, Path, State};
use axum::routing::{any, post};
use axum::{Form, Json, Router};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use idem_axum::{Engine, StepStore, idempotent};
use idem_redis::Redis;
use idem_tests::{Axum, Control};
use tokio::sync::oneshot;

use super::{App, Framework, LIMIT};

#[allow(clippy::duplicate_mod, reason = "each framework compiles its own")]
#[path = "handlers.rs"]
mod handlers;

impl FromRef<App> for Engine<StepStore<Redis>> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

impl FromRef<App> for Arc<Control> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.control)
    }
}

impl Framework for Axum {
    const MISSHAPEN: u16 = 422;

    fn serve(
        app: App,
        listener: TcpListener,
        stop: oneshot::Receiver<()>,
    ) -> BoxFuture<'static, ()> {
        let limited = post(handlers::effect).layer(DefaultBodyLimit::max(LIMIT));
        let router = Router::new()
            .route("/limited", limited)
            .fallback(handlers::effect);
        Self::run(routes!(router).with_state(app), listener, stop).boxed()
    }
}
