//! The test service on axum.

use std::net::TcpListener;

use ::axum::Router;
use ::axum::extract::{DefaultBodyLimit, FromRef};
use ::axum::routing::{any, post};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use idem_axum::Engine;
use tokio::sync::oneshot;

use super::{Deploy, Framework};
use crate::database::{Database, Postgres, RecordInCommit, Sqlite};
use crate::domain::{App, Domain};

mod extract;
mod handlers;
mod reply;

/// axum.
#[derive(Debug)]
pub struct Axum;

macro_rules! serves {
    ($database:ty, $transaction:path) => {
        impl Framework<$database> for Axum {
            fn serve(
                app: App<<$database as Database>::Connection>,
                deploy: Deploy,
                listener: TcpListener,
                stop: oneshot::Receiver<()>,
            ) -> BoxFuture<'static, ()> {
                let router = router(deploy).route("/transaction", post($transaction));
                serve(router.with_state(app), listener, stop).boxed()
            }
        }
    };
}

serves!(Sqlite, handlers::sqlite);
serves!(Postgres, handlers::postgres);
serves!(RecordInCommit, handlers::postgres);

async fn serve(router: Router, listener: TcpListener, stop: oneshot::Receiver<()>) {
    let nonblocking = listener.set_nonblocking(true);
    nonblocking.expect("a listener can be set to not block");
    let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
    let stopped = async move { drop(stop.await) };
    let served = ::axum::serve(listener, router).with_graceful_shutdown(stopped);
    served.await.expect("the server runs");
}

/// The attribute finds the engine in the state.
impl<C: Domain> FromRef<App<C>> for Engine<C::Store> {
    fn from_ref(app: &App<C>) -> Self {
        app.engine.clone()
    }
}

/// The largest request body on `/limited`.
const LIMIT: usize = 1000;

fn router<C: Domain>(deploy: Deploy) -> Router<App<C>> {
    let limited = post(handlers::effect::<C>).layer(DefaultBodyLimit::max(LIMIT));
    let nested = Router::new().route("/effects", post(handlers::effect::<C>));
    Router::new()
        .route("/effects", any(handlers::effect::<C>))
        .route("/patient", post(handlers::patient::<C>))
        .route("/hasty", post(handlers::hasty::<C>))
        .route("/read-committed", post(handlers::read_committed::<C>))
        .route("/repeatable-read", post(handlers::repeatable_read::<C>))
        .route("/serializable", post(handlers::serializable::<C>))
        .route("/brief", post(handlers::brief::<C>))
        .route("/bounded", post(handlers::bounded::<C>))
        .route("/optional", post(handlers::optional::<C>))
        .route("/replays-success", post(handlers::replays_success::<C>))
        .route("/replays-all", post(handlers::replays_all::<C>))
        .route("/unscoped", post(handlers::unscoped::<C>))
        .route("/limited", limited)
        .route("/raw", post(handlers::raw::<C>))
        .route("/intended", post(handlers::intended::<C>))
        .route("/form", post(handlers::form::<C>))
        .route("/text", post(handlers::text::<C>))
        .route("/bytes", post(handlers::bytes::<C>))
        .route("/bodiless", post(handlers::bodiless::<C>))
        .route("/value", post(handlers::value::<C>))
        .route("/numbers", post(handlers::numbers::<C>))
        .route("/generated", post(handlers::generated::<C>))
        .nest("/nested/{account}", nested)
        .fallback(handlers::effect::<C>)
        .merge(released(deploy))
}

/// What changes with a deploy.
fn released<C: Domain>(deploy: Deploy) -> Router<App<C>> {
    match deploy {
        Deploy::First => Router::new()
            .route("/accounts/{id}/effects", post(handlers::effect::<C>))
            .route("/named/{id}", post(handlers::named::<C>))
            .route("/ttl", post(handlers::effect::<C>))
            .route("/defaulted", post(handlers::effect::<C>))
            .route("/grown", post(handlers::effect::<C>))
            .route("/fields", post(handlers::fields::<C>)),
        Deploy::Second => Router::new()
            .route("/accounts/{account}/effects", post(handlers::effect::<C>))
            .route("/{name}/{id}", post(handlers::named::<C>))
            .route("/ttl", post(handlers::brief::<C>))
            .route("/defaulted", post(handlers::defaulted::<C>))
            .route("/grown", post(handlers::grown::<C>))
            .route("/fields", post(handlers::flattened::<C>)),
    }
}
