//! An application's beginning and end.

use actix_web::dev::ServerHandle;
use actix_web::web::{self, ServiceConfig};
use idem_core::{Engine, Provider, Store};

/// Puts an engine, or a [`Provider`] of one, where `#[idempotent]` finds it:
/// `App::new().configure(idem_actix::engine(engine))`.
///
/// It is the same as `.app_data(web::Data::new(engine))`, but what has no engine does not compile.
/// An application without one answers 500 `misconfigured` and logs the type that is missing.
pub fn engine<P: Provider>(provider: P) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(web::Data::new(provider));
    }
}

/// Ends a server in order: accepts no more connections, answers what still comes on open ones with
/// 503, waits until every attempt and every `after_commit` has ended, and then stops the workers.
///
/// Build the server with `HttpServer::disable_signals`, and call this when a signal has come: on
/// its own the server would stop its workers while attempts run on them. A task on a worker is too
/// late for it.
pub async fn shut_down<S: Store>(server: &ServerHandle, engine: &Engine<S>) {
    server.pause().await;
    engine.drain().await;
    server.stop(true).await;
}
