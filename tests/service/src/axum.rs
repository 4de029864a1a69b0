//! The service on axum.

use anyhow::Context as _;
use axum::extract::{FromRef, FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use idem_axum::{Attempt, Engine, Steps, idempotent};
use tokio::net::TcpListener;

use crate::api::{ApiError, App, Bank, ChargeObject, Document, List, StepEngine, Tenant};
use crate::ledger::{Account, NewCharge, NewPayment, NewRefund, Payment, Refund};
use crate::rides::{NewRide, Ride};
use crate::serve::{Flags, PURGE_EVERY, introduce, shutdown};

/// Serves until Ctrl-C or SIGTERM, then lets every attempt end.
///
/// # Errors
///
/// If the address can't be listened on.
pub async fn serve<C: Bank>(flags: &Flags, app: App<C>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("can't listen on {}", flags.listen))?;
    introduce(listener.local_addr()?);

    let _purge = app.engine.spawn_purge(PURGE_EVERY);
    axum::serve(listener, router(app.clone()))
        .with_graceful_shutdown(shutdown()?)
        .await?;
    app.drain().await;
    Ok(())
}

/// The attribute finds the engine in the state.
impl<C: Bank> FromRef<App<C>> for Engine<C::Store> {
    fn from_ref(app: &App<C>) -> Self {
        app.engine.clone()
    }
}

impl<C: Bank> FromRef<App<C>> for StepEngine<C> {
    fn from_ref(app: &App<C>) -> Self {
        app.steps.clone()
    }
}

fn router<C: Bank>(app: App<C>) -> Router {
    Router::new()
        .route("/accounts", get(accounts::<C>))
        .route("/payments", get(payments::<C>).post(create_payment::<C>))
        .route("/payments/{id}", get(payment::<C>))
        .route("/payments/{id}/refunds", post(create_refund::<C>))
        .route("/v1/charges", get(charges::<C>).post(create_charge::<C>))
        .route("/rides", post(create_ride::<C>))
        .with_state(app)
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn create_payment<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Payment>), ApiError> {
    let payment = tx.pay(&tenant.0, &payment).await?;
    tokio::time::sleep(app.work).await;
    let location = [(LOCATION, format!("/payments/{}", payment.id))];
    Ok((StatusCode::CREATED, location, Json(payment)))
}

#[idempotent(ttl = "7d", scope = "tenant")]
async fn create_refund<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    Path(payment): Path<i64>,
    State(app): State<App<C>>,
    Json(refund): Json<NewRefund>,
) -> Result<(StatusCode, Json<Refund>), ApiError> {
    let refund = tx.refund(&tenant.0, payment, &refund).await?;
    tokio::time::sleep(app.work).await;
    Ok((StatusCode::CREATED, Json(refund)))
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn create_charge<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    State(app): State<App<C>>,
    Form(charge): Form<NewCharge>,
) -> Result<Json<ChargeObject>, ApiError> {
    let charge = tx.charge(&tenant.0, &charge).await?;
    tokio::time::sleep(app.work).await;
    Ok(Json(charge.into()))
}

#[idempotent(ttl = "24h", scope = "tenant", lease = "1s", deadline = "3s", store = StepEngine<C>)]
async fn create_ride<C: Bank>(
    steps: &mut Steps<C>,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(new): Json<NewRide>,
) -> Result<(StatusCode, Json<Ride>), ApiError> {
    let ride = app.ride(steps, attempt, &tenant, &new).await?;
    Ok((StatusCode::CREATED, Json(ride)))
}

async fn accounts<C: Bank>(
    tenant: Tenant,
    State(app): State<App<C>>,
) -> Result<Json<Vec<Account>>, ApiError> {
    Ok(Json(app.pool.acquire().await?.accounts(&tenant.0).await?))
}

async fn payments<C: Bank>(
    tenant: Tenant,
    State(app): State<App<C>>,
) -> Result<Json<Vec<Payment>>, ApiError> {
    Ok(Json(app.pool.acquire().await?.payments(&tenant.0).await?))
}

async fn payment<C: Bank>(
    tenant: Tenant,
    Path(id): Path<i64>,
    State(app): State<App<C>>,
) -> Result<Json<Payment>, ApiError> {
    Ok(Json(
        app.pool.acquire().await?.payment(&tenant.0, id).await?,
    ))
}

async fn charges<C: Bank>(
    tenant: Tenant,
    State(app): State<App<C>>,
) -> Result<Json<List<ChargeObject>>, ApiError> {
    let charges = app.pool.acquire().await?.charges(&tenant.0).await?;
    Ok(Json(List::of(charges)))
}

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::authorized(parts.headers.get(AUTHORIZATION).map(AsRef::as_ref))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let document = self.document();
        let status = StatusCode::from_u16(document.status);
        let mut response = (
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            [(CONTENT_TYPE, Document::CONTENT_TYPE)],
            Json(document),
        )
            .into_response();
        if let Some(challenge) = self.challenge() {
            let challenge = axum::http::HeaderValue::from_static(challenge);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
