//! The service on actix-web.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::LOCATION;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{Data, Form, Html, Query, get, post, resource};
use actix_web::{Error, HttpResponse, HttpServer};
use idem_actix::{Settle, idempotent};
use sqlx::SqliteConnection;

use crate::orders::{App, Done, Failed, NewOrder, Service, page};

#[idempotent(ttl = "24h", unscoped, key = "order.idempotency_key")]
async fn orders(tx: &mut SqliteConnection, order: Form<NewOrder>) -> HttpResponse {
    if order.item.is_empty() {
        let mut response = see_other(order.again());
        response.extensions_mut().insert(Settle::Retriable);
        return response;
    }
    let number = order.place(tx).await;
    see_other(format!("/done?order={number}"))
}

#[idempotent(ttl = "24h", unscoped, key = "order.idempotency_key")]
async fn receipts(tx: &mut SqliteConnection, order: Form<NewOrder>) -> Html {
    Html::new(page("Receipt", order.place(tx).await))
}

async fn form(app: Data<App>, query: Query<Failed>) -> Html {
    Html::new(app.form(query.failed.as_deref()).await)
}

async fn done(done: Query<Done>) -> Html {
    Html::new(page("Done", done.order))
}

fn see_other(location: String) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, location))
        .finish()
}

async fn count(
    app: Data<App>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    app.count();
    next.call(request).await
}

pub(crate) fn start() -> Service {
    Service::start(|app, listener| {
        let server = HttpServer::new(move || {
            actix_web::App::new()
                .app_data(Data::new(app.clone()))
                .configure(idem_actix::engine(app.engine.clone()))
                .service(
                    resource("/orders")
                        .wrap(from_fn(count))
                        .route(post().to(orders)),
                )
                .service(
                    resource("/receipts")
                        .wrap(from_fn(count))
                        .route(post().to(receipts)),
                )
                .route("/form", get().to(form))
                .route("/done", get().to(done))
        });
        let server = server
            .workers(1)
            .disable_signals()
            .listen(listener)
            .expect("a listener")
            .run();
        async move { server.await.expect("the server runs") }
    })
}
