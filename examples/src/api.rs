//! The service on axum.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use idem_axum::{Engine, Open, Scope, Transaction, idempotent};
use serde::Serialize;
use sqlx::Pool;

use crate::ledger::{
    Account, Charge, Ledger, LedgerError, NewCharge, NewPayment, NewRefund, Payment, Refund,
};

/// A connection that the service can run on: the same code for every database.
pub trait Bank:
    Ledger + Transaction<Connection = Self> + for<'c> Open<'c> + sqlx::Connection + 'static
{
}

impl Bank for sqlx::PgConnection {}

impl Bank for sqlx::SqliteConnection {}

/// What the handlers share.
pub struct App<C: Bank> {
    /// Runs the protected handlers.
    pub engine: Engine<C::Store>,
    /// For reading.
    pub pool: Pool<C::Database>,
    /// How long a handler pretends to work, inside its transaction.
    pub work: Duration,
}

impl<C: Bank> Clone for App<C> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            pool: self.pool.clone(),
            work: self.work,
        }
    }
}

/// The attribute finds the engine in the state.
impl<C: Bank> FromRef<App<C>> for Engine<C::Store> {
    fn from_ref(app: &App<C>) -> Self {
        app.engine.clone()
    }
}

/// All routes.
pub fn router<C: Bank>(app: App<C>) -> Router {
    Router::new()
        .route("/accounts", get(accounts::<C>))
        .route("/payments", get(payments::<C>).post(create_payment::<C>))
        .route("/payments/{id}", get(payment::<C>))
        .route("/payments/{id}/refunds", post(create_refund::<C>))
        .route("/v1/charges", get(charges::<C>).post(create_charge::<C>))
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
    Ok(Json(List {
        object: "list",
        data: charges.into_iter().map(ChargeObject::from).collect(),
        has_more: false,
    }))
}

/// Whose request it is. In this demo the bearer token is the tenant.
struct Tenant(String);

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION);
        let token = header
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty());
        token
            .map(|token| Self(token.to_owned()))
            .ok_or(ApiError::Unauthorized)
    }
}

#[derive(Serialize)]
struct ChargeObject {
    id: String,
    object: &'static str,
    amount: i64,
    currency: String,
    paid: bool,
}

impl From<Charge> for ChargeObject {
    fn from(charge: Charge) -> Self {
        Self {
            id: format!("ch_{:024}", charge.id),
            object: "charge",
            amount: charge.amount,
            currency: charge.currency,
            paid: true,
        }
    }
}

#[derive(Serialize)]
struct List<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
}

/// Every refusal of the service, as a problem document.
enum ApiError {
    Unauthorized,
    Ledger(LedgerError),
}

impl<E: Into<LedgerError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::Ledger(error.into())
    }
}

#[derive(Serialize)]
struct Document {
    title: &'static str,
    status: u16,
    detail: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, title, detail) = match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "No tenant",
                "send `Authorization: Bearer TENANT`".to_owned(),
            ),
            Self::Ledger(LedgerError::Database(error)) => {
                tracing::error!(%error, "the database failed");
                let detail = "send the same request with the same key again".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "Request failed", detail)
            }
            Self::Ledger(error) => {
                let (status, title) = match error {
                    LedgerError::Unknown(_) => (StatusCode::NOT_FOUND, "Not found"),
                    LedgerError::InsufficientFunds => {
                        (StatusCode::PAYMENT_REQUIRED, "Insufficient funds")
                    }
                    LedgerError::RefundTooLarge => (StatusCode::CONFLICT, "Refund too large"),
                    _ => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid request"),
                };
                (status, title, error.to_string())
            }
        };
        let document = Json(Document {
            title,
            status: status.as_u16(),
            detail,
        });
        let mut response = (
            status,
            [(CONTENT_TYPE, "application/problem+json")],
            document,
        )
            .into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
