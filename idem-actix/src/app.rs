//! An application's beginning and end.

use std::future::Future;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, ServiceConfig};
use idem_core::Provider;

/// Puts an engine, or a [`Provider`] of one, where `#[idempotent]` finds it:
/// `App::new().configure(idem_actix::engine(engine))`.
///
/// It is the same as `.app_data(web::Data::new(engine))`, but other values do not compile. An
/// application without an engine answers 500 `misconfigured` and logs the type that is missing.
pub fn engine<P: Provider>(provider: P) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(web::Data::new(provider));
    }
}

/// Ends a server in order: accepts no more connections, waits for `drained`, and then stops the
/// workers.
///
/// `drained` is [`Engine::drain`](crate::Engine::drain): requests that still come on open
/// connections are answered 503, and every attempt and every `after_commit` future ends. For two
/// engines it is `async { tokio::join!(payments.drain(), audit.drain()); }`.
///
/// Build the server with `HttpServer::disable_signals`, and call this after a signal, SIGTERM or
/// Ctrl-C: on its own the server would stop its workers while attempts run on them. A task on a
/// worker is too late for it.
pub async fn shut_down(server: &ServerHandle, drained: impl Future<Output = ()>) {
    server.pause().await;
    drained.await;
    server.stop(true).await;
}
