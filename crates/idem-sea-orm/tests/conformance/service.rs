//! The same handlers on both frameworks.

use std::net::TcpListener;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join};
use idem_sea_orm::{Backend, SeaTransaction};
use idem_tests::{App, Database, Deploy, Domain, Framework, Mysql, Postgres, Sqlite};
use sea_orm::sqlx;
use tokio::sync::oneshot;

/// SeaORM on axum.
pub(crate) struct Axum;

/// SeaORM on actix-web.
pub(crate) struct Actix;

macro_rules! serves {
    ($($database:ty, $name:ty;)*) => {$(
        impl Framework<$database> for Axum {
            const MISSHAPEN: u16 = 422;
            const MISTYPED: u16 = 415;

            fn serve(
                app: App<<$database as Database>::Connection>,
                _: Deploy,
                listener: TcpListener,
                stop: oneshot::Receiver<()>,
            ) -> BoxFuture<'static, ()> {
                let router = ::axum::Router::new()
                    .route("/{tenant}/effects", ::axum::routing::post(on_axum::effects::<$name>))
                    .route("/{tenant}/bounded", ::axum::routing::post(on_axum::bounded::<$name>));
                on_axum::serve(router.with_state(app), listener, stop).boxed()
            }
        }

        impl Framework<$database> for Actix {
            const MISSHAPEN: u16 = 400;
            const MISTYPED: u16 = 400;

            fn serve(
                app: App<<$database as Database>::Connection>,
                _: Deploy,
                listener: TcpListener,
                stop: oneshot::Receiver<()>,
            ) -> BoxFuture<'static, ()> {
                let engine = app.engine;
                let installed = engine.clone();
                let server = actix_web::HttpServer::new(move || {
                    actix_web::App::new()
                        .configure(idem_actix::engine(installed.clone()))
                        .route("/{tenant}/effects", actix_web::web::post().to(on_actix::effects::<$name>))
                });
                let server = server.workers(1).disable_signals().listen(listener);
                let server = server.expect("a listener").run();
                let handle = server.handle();
                let stopped = async move {
                    drop(stop.await);
                    idem_actix::shut_down(&handle, engine.drain()).await;
                };
                join(server, stopped).map(|(end, ())| end.expect("the server runs")).boxed()
            }
        }
    )*};
}

serves! {
    Sqlite, sqlx::Sqlite;
    Postgres, sqlx::Postgres;
    Mysql, sqlx::MySql;
}

mod on_axum {
    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::{Json, Router};
    use idem_axum::{Attempt, idempotent};

    use super::*;
    use crate::scene::{Scene, play};

    type Played = Result<(StatusCode, String), (StatusCode, String)>;

    macro_rules! handlers {
        ($($name:ident($deadline:literal);)*) => {$(
            #[idempotent(ttl = "24h", scope = "tenant", body = "scene", deadline = $deadline)]
            pub(super) async fn $name<DB: Backend<Connection: Domain>>(
                tx: &mut SeaTransaction<DB>,
                attempt: &Attempt,
                Path(tenant): Path<String>,
                Json(scene): Json<Scene>,
            ) -> Played {
                let played = play(tx, attempt, tenant, scene).await;
                let status = |status| StatusCode::from_u16(status).expect("a status");
                match played {
                    Ok((code, body)) => Ok((status(code), body)),
                    Err(error) => Err((status(500), error.to_string())),
                }
            }
        )*};
    }

    handlers! {
        effects("30s");
        bounded("1s");
    }

    pub(super) async fn serve(router: Router, listener: TcpListener, stop: oneshot::Receiver<()>) {
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.expect("a listener can be set to not block");
        let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
        let stopped = async move { drop(stop.await) };
        let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
        served.await.expect("the server runs");
    }
}

mod on_actix {
    use actix_web::error::ErrorInternalServerError;
    use actix_web::http::StatusCode;
    use actix_web::web::{Json, Path};
    use actix_web::{Error, HttpResponse};
    use idem_actix::{Attempt, idempotent};

    use super::*;
    use crate::scene::{Scene, play};

    #[idempotent(ttl = "24h", scope = "tenant", body = "scene")]
    pub(super) async fn effects<DB: Backend<Connection: Domain>>(
        tx: &mut SeaTransaction<DB>,
        attempt: &Attempt,
        tenant: Path<String>,
        Json(scene): Json<Scene>,
    ) -> Result<HttpResponse, Error> {
        let played = play(tx, attempt, tenant.into_inner(), scene).await;
        let (status, body) = played.map_err(ErrorInternalServerError)?;
        let status = StatusCode::from_u16(status).expect("a status");
        Ok(HttpResponse::build(status).body(body))
    }
}
