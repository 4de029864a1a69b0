//! The service on axum.

use axum::extract::{Form, FromRef, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use idem_axum::{Engine, Settle, SqliteStore, idempotent};
use sqlx::SqliteConnection;
use tokio::net::TcpListener;

use crate::orders::{App, Done, Failed, NewOrder, Service, page};

#[idempotent(ttl = "24h", unscoped, key = "order.idempotency_key")]
async fn orders(tx: &mut SqliteConnection, Form(order): Form<NewOrder>) -> Response {
    if order.item.is_empty() {
        return (Extension(Settle::Retriable), Redirect::to(&order.again())).into_response();
    }
    let number = order.place(tx).await;
    Redirect::to(&format!("/done?order={number}")).into_response()
}

#[idempotent(ttl = "24h", unscoped, key = "order.idempotency_key")]
async fn receipts(tx: &mut SqliteConnection, Form(order): Form<NewOrder>) -> Html<String> {
    Html(page("Receipt", order.place(tx).await))
}

async fn form(State(app): State<App>, Query(query): Query<Failed>) -> Html<String> {
    Html(app.form(query.failed.as_deref()).await)
}

async fn done(Query(done): Query<Done>) -> Html<String> {
    Html(page("Done", done.order))
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    app.count();
    next.run(request).await
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

pub(crate) fn start() -> Service {
    Service::start(|app, listener| {
        let router = Router::new()
            .route("/orders", post(orders))
            .route("/receipts", post(receipts))
            .route_layer(from_fn_with_state(app.clone(), count))
            .route("/form", get(form))
            .route("/done", get(done))
            .with_state(app);
        let listener = TcpListener::from_std(listener).expect("a listener");
        async move {
            axum::serve(listener, router)
                .await
                .expect("the server runs");
        }
    })
}
