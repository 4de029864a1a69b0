//! Start and shutdown of an application.

use std::fmt::Debug;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;

use actix_http::Request;
use actix_service::IntoServiceFactory;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Response, ServerHandle, Service, ServiceFactory};
use actix_web::rt::signal;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{Error, HttpServer};
use futures_util::future::{Either, select};
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

/// Runs a server that is bound, until SIGTERM or Ctrl-C, and then [shuts it down](shut_down).
///
/// ```no_run
/// # use actix_web::{App, HttpServer};
/// # use idem_actix::{Engine, SqliteStore};
/// # async fn serve(engine: Engine<SqliteStore>) -> std::io::Result<()> {
/// let factory = {
///     let engine = engine.clone();
///     move || App::new().configure(idem_actix::engine(engine.clone()))
/// };
/// let server = HttpServer::new(factory).bind("127.0.0.1:3000")?;
/// idem_actix::run(server, engine.drain()).await
/// # }
/// ```
///
/// It replaces `server.run().await`, and the server's own handling of signals, which would stop the
/// workers while attempts run on them. `drained` is as in [`shut_down`].
///
/// # Errors
///
/// The server's own. A second signal doesn't wait for the attempts: it is answered at once by an
/// error of the kind [`Interrupted`](io::ErrorKind::Interrupted). Attempts that have not ended are
/// undone at the end of the process.
///
/// # Panics
///
/// If the server is bound to no address.
pub async fn run<F, I, S, B>(
    server: HttpServer<F, I, S, B>,
    drained: impl Future<Output = ()>,
) -> io::Result<()>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let mut signals = Signals::new()?;
    let server = server.disable_signals().run();
    let handle = server.handle();
    let interrupted = async {
        signals.next().await;
        let orderly = async {
            shut_down(&handle, drained).await;
            // The end of the server is the end of both.
            pending::<()>().await;
        };
        select(pin!(orderly), pin!(signals.next())).await;
    };
    match select(server, pin!(interrupted)).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => {
            let message = "a second signal came before every attempt had ended";
            Err(io::Error::new(io::ErrorKind::Interrupted, message))
        }
    }
}

/// The signals that end a process.
#[cfg(unix)]
struct Signals([signal::unix::Signal; 2]);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use signal::unix::{SignalKind, signal};

        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        let [interrupt, terminate] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate] = &mut self.0;
        select(pin!(interrupt.recv()), pin!(terminate.recv())).await;
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[allow(clippy::unnecessary_wraps)]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if signal::ctrl_c().await.is_err() {
            pending().await
        }
    }
}

/// Shuts a server down in order: it accepts no more connections, waits for `drained`, and then
/// stops the workers.
///
/// `drained` is [`Engine::drain`](crate::Engine::drain): new requests on open connections are
/// answered with 503, and every attempt and every `after_commit` future ends. For two engines it is
/// [`drain_all(&[&payments, &audit])`](crate::drain_all), which waits for both.
///
/// [`run`] waits for a signal and then does this. Call this function yourself if your application
/// handles signals, or if something other than a signal ends the server. Build the server with
/// `HttpServer::disable_signals` then: with its own signal handling, the server would stop its
/// workers while attempts run on them. Do not call it from a task on a worker: that is too late.
pub async fn shut_down(server: &ServerHandle, drained: impl Future<Output = ()>) {
    server.pause().await;
    drained.await;
    server.stop(true).await;
}
