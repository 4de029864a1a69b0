//! Start and shutdown of an application.

use std::future::Future;

use actix_web::dev::ServerHandle;
use actix_web::web::{Data, ServiceConfig};
use idem_core::Provider;

use crate::installed::Installed;

/// Stores an engine, or a [`Provider`] of one, in the application's data, where `#[idempotent]`
/// finds it: `App::new().configure(idem_actix::engine(engine))`.
///
/// It does the same as `.app_data(web::Data::new(engine))`, but it accepts no other types. An
/// application without an engine answers 500 `misconfigured` and logs the missing type. So does one
/// to which two engines of one type are given, as its data would keep only the last: give one of
/// them a type of its own, a [`Provider`]. A `web::scope` may have another engine of the same type
/// for its own handlers. Plain `app_data` can't notice that a second value replaces the first.
pub fn engine<P: Provider>(provider: P) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let provider = Data::new(provider);
        let (installed, registration) = Installed::new(Data::clone(&provider));
        config
            .app_data(provider)
            .app_data(installed)
            .service(registration);
    }
}

/// Shuts a server down in order: it accepts no more connections, waits for `drained`, and then
/// stops the workers.
///
/// `drained` is [`Engine::drain`](crate::Engine::drain): new requests on open connections are
/// answered with 503, and every attempt and every `after_commit` future ends. For two engines it is
/// `async { tokio::join!(payments.drain(), audit.drain()); }`.
///
/// Build the server with `HttpServer::disable_signals`, and call this function after a signal:
/// SIGTERM or Ctrl-C. With its own signal handling, the server would stop its workers while
/// attempts run on them. Do not call it from a task on a worker: that is too late.
pub async fn shut_down(server: &ServerHandle, drained: impl Future<Output = ()>) {
    server.pause().await;
    drained.await;
    server.stop(true).await;
}
