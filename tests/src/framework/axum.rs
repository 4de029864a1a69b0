//! The test service on axum.

use std::net::TcpListener;
use std::sync::Arc;

use ::axum::extract::{DefaultBodyLimit, FromRef, FromRequestParts, Path, Query, Request, State};
use ::axum::http::StatusCode;
use ::axum::http::request::Parts;
use ::axum::middleware::{Next, from_fn};
use ::axum::response::{IntoResponse, Response};
use ::axum::routing::{any, post};
use ::axum::{Form, Json, Router};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use idem_axum::{Engine, idempotent};
use tokio::sync::oneshot;

use super::tenant::Tenant;
use super::{Deploy, Framework, LIMIT, local};
use crate::control::Control;
use crate::database::{Database, Galera, Mysql, Postgres, RecordInCommit, Sqlite};
use crate::domain::{App, Domain, StepEngine};

#[allow(clippy::duplicate_mod, reason = "each framework compiles its own")]
#[path = "handlers.rs"]
mod handlers;
mod reply;

/// What a `Json` is refused with.
type Rejection = ::axum::extract::rejection::JsonRejection;

/// axum.
#[derive(Debug)]
pub struct Axum;

macro_rules! serves {
    ($database:ty, $transaction:path) => {
        impl Framework<$database> for Axum {
            const MISSHAPEN: u16 = 422;
            const MISTYPED: u16 = 415;

            fn serve(
                app: App<<$database as Database>::Connection>,
                deploy: Deploy,
                listener: TcpListener,
                stop: oneshot::Receiver<()>,
            ) -> BoxFuture<'static, ()> {
                let router = router(deploy).route("/transaction", post($transaction));
                Self::run(router.with_state(app), listener, stop).boxed()
            }
        }
    };
}

serves!(Sqlite, handlers::sqlite);
serves!(Postgres, handlers::postgres);
serves!(RecordInCommit, handlers::postgres);
serves!(Mysql, handlers::mysql);
serves!(Galera, handlers::mysql);

impl Axum {
    /// Serves until it is stopped and its requests are answered.
    pub async fn run(router: Router, listener: TcpListener, stop: oneshot::Receiver<()>) {
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.expect("a listener can be set to not block");
        let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
        let stopped = async move { drop(stop.await) };
        let served = ::axum::serve(listener, router).with_graceful_shutdown(stopped);
        served.await.expect("the server runs");
    }
}

/// The attribute finds the engine in the state.
impl<C: Domain> FromRef<App<C>> for Engine<C::Store> {
    fn from_ref(app: &App<C>) -> Self {
        app.engine.clone()
    }
}

impl<C: Domain> FromRef<App<C>> for StepEngine<C> {
    fn from_ref(app: &App<C>) -> Self {
        app.steps.clone()
    }
}

impl<C: Domain> FromRef<App<C>> for Arc<Control> {
    fn from_ref(app: &App<C>) -> Self {
        Self::clone(&app.control)
    }
}

impl<S: Sync> FromRequestParts<S> for Tenant
where
    Arc<Control>: FromRef<S>,
{
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(Self::HEADER).map(AsRef::as_ref);
        Self::extract(&Arc::from_ref(state), header)
            .map_err(|text| (StatusCode::UNAUTHORIZED, text))
    }
}

fn router<C: Domain>(deploy: Deploy) -> Router<App<C>> {
    let limited = post(handlers::effect::<C>).layer(DefaultBodyLimit::max(LIMIT));
    let local = post(handlers::effect::<C>).layer(from_fn(bind));
    let nested = Router::new().route("/effects", post(handlers::effect::<C>));
    let router = Router::new()
        .route("/limited", limited)
        .route("/local", local)
        .nest("/nested/{account}", nested)
        .fallback(handlers::effect::<C>);
    routes!(router, deploy)
}

async fn bind(request: Request, next: Next) -> Response {
    local::bind(next.run(request)).await
}
