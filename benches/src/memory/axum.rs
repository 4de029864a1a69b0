use std::sync::Arc;

use anyhow::Result;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use idem_axum::{Config, Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::{Service, WAITERS, answer};
use crate::business::{NewPayment, Receipt};
use crate::contestant::{Failure, PATH, REPLAYED, Tenant};
use crate::load::request;

pub(super) fn service(gate: Arc<Semaphore>) -> LocalBoxFuture<'static, Result<Service>> {
    async {
        let store = SqliteStore::in_memory().await?;
        let waiters = usize::from(WAITERS);
        let engine = Engine::with_config(store, Config::new().with_waiters(waiters, waiters));
        let router = Router::new()
            .route(PATH, post(hold))
            .with_state(App { engine, gate });
        let service: Service = Box::new(move |ask| {
            let (router, request) = (router.clone(), request(PATH, ask)?.map(Body::new));
            let answered = async {
                let response = router.oneshot(request).await?;
                let is_replay = response.headers().contains_key(REPLAYED);
                answer(response.status().as_u16(), is_replay)
            };
            Ok(answered.boxed_local())
        });
        Ok(service)
    }
    .boxed_local()
}

#[derive(Clone)]
struct App {
    engine: Engine<SqliteStore>,
    gate: Arc<Semaphore>,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

/// Waits until it is let go.
#[idempotent(ttl = "24h", scope = "tenant")]
async fn hold(
    _tx: &mut SqliteConnection,
    tenant: Tenant,
    State(app): State<App>,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Receipt>), Failure> {
    app.gate.acquire().await?.forget();
    let receipt = Receipt::new(1, &tenant.0, payment);
    Ok((StatusCode::CREATED, Json(receipt)))
}
