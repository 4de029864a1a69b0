//! The test service on actix-web.

use std::future::{Ready, ready};
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{Data, Form, Json, JsonConfig, Path, Query, ServiceConfig, ThinData as State};
use actix_web::{App as Application, Error, FromRequest, Handler, HttpRequest, HttpServer};
use actix_web::{Responder, Responder as IntoResponse, Route, web};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join};
use idem_actix::{Engine, idempotent};
use tokio::sync::oneshot;
use tracing::Dispatch;
use tracing::dispatcher::{get_default, set_default};

use super::tenant::Tenant;
use super::{Deploy, Framework, LIMIT, local};
use crate::control::Control;
use crate::database::{Database, Galera, Mysql, Postgres, RecordInCommit, Sqlite};
use crate::domain::{App, Domain};
use crate::metrics::Metrics;

#[allow(clippy::duplicate_mod, reason = "each framework compiles its own")]
#[path = "handlers.rs"]
mod handlers;
mod reply;

/// What a `Json` is refused with.
type Rejection = Error;

/// actix-web.
#[derive(Debug)]
pub struct Actix;

/// More than one, so that duplicates meet across threads.
const WORKERS: usize = 2;

macro_rules! serves {
    ($database:ty, $transaction:path) => {
        impl Framework<$database> for Actix {
            const MISSHAPEN: u16 = 400;
            const MISTYPED: u16 = 400;

            fn serve(
                app: App<<$database as Database>::Connection>,
                deploy: Deploy,
                listener: TcpListener,
                stop: oneshot::Receiver<()>,
            ) -> BoxFuture<'static, ()> {
                let engine = app.engine.clone();
                let configure = move |config: &mut ServiceConfig| {
                    config.route("/transaction", post($transaction));
                    configure(config, &app, deploy);
                };
                Self::run(configure, engine, listener, stop).boxed()
            }
        }
    };
}

serves!(Sqlite, handlers::sqlite);
serves!(Postgres, handlers::postgres);
serves!(RecordInCommit, handlers::postgres);
serves!(Mysql, handlers::mysql);
serves!(Galera, handlers::mysql);

impl Actix {
    /// Serves until it is stopped and its requests are answered.
    pub async fn run<S: idem_core::Store>(
        configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
        engine: Engine<S>,
        listener: TcpListener,
        stop: oneshot::Receiver<()>,
    ) {
        let (traces, recorder) = (get_default(Clone::clone), Metrics::recorder());
        let server = HttpServer::new(move || {
            trace(&traces);
            std::mem::forget(recorder.map(Metrics::adopt));
            Application::new().configure(configure.clone())
        });
        let server = server
            .workers(WORKERS)
            .disable_signals()
            .listen_auto_h2c(listener);
        let server = server.expect("a listener").run();
        let handle = server.handle();
        let stopped = async {
            drop(stop.await);
            idem_actix::shut_down(&handle, engine.drain()).await;
        };
        let (end, ()) = join(server, stopped).await;
        end.expect("the server runs");
    }
}

/// Sends the traces of a worker's thread to the test's own traces, until the thread ends.
fn trace(traces: &Dispatch) {
    std::mem::forget(set_default(traces));
}

fn configure<C: Domain>(config: &mut ServiceConfig, app: &App<C>, deploy: Deploy) {
    let limited = web::resource("/limited")
        .app_data(JsonConfig::default().limit(LIMIT))
        .route(post(handlers::effect::<C>));
    let local = web::resource("/local")
        .wrap(from_fn(bind))
        .route(post(handlers::effect::<C>));
    let nested = web::scope("/nested/{account}").route("/effects", post(handlers::effect::<C>));
    config
        .configure(idem_actix::engine(app.engine.clone()))
        .configure(idem_actix::engine(app.steps.clone()))
        .app_data(State(app.clone()))
        .app_data(Data::from(Arc::clone(&app.control)))
        .service(limited)
        .service(local)
        .service(nested)
        .default_service(any(handlers::effect::<C>));
    routes!(config, deploy);
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

async fn bind(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    local::bind(next.call(request)).await
}

impl FromRequest for Tenant {
    type Error = InternalError<&'static str>;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let control = request.app_data::<Data<Control>>();
        let control = control.expect("the application has it");
        let header = request.headers().get(Self::HEADER).map(AsRef::as_ref);
        let tenant = Self::extract(control, header);
        ready(tenant.map_err(|text| InternalError::new(text, StatusCode::UNAUTHORIZED)))
    }
}
