//! The service on actix-web.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use actix_web::web::{self, Data, Form, Json, Path, ServiceConfig};
use actix_web::{
    App as Application, FromRequest, HttpRequest, HttpResponse, HttpServer, Responder,
    ResponseError,
};
use anyhow::Context as _;
use idem_actix::{Attempt, Steps, idempotent};

use crate::api::{ApiError, App, Bank, ChargeObject, Document, List, StepEngine, Tenant};
use crate::ledger::{Account, NewCharge, NewPayment, NewRefund, Payment};
use crate::rides::NewRide;
use crate::serve::{Flags, PURGE_EVERY, introduce};

/// Serves until Ctrl-C or SIGTERM, then lets every attempt end.
///
/// # Errors
///
/// If the address can't be listened on.
pub async fn serve<C: Bank>(flags: &Flags, app: App<C>) -> anyhow::Result<()> {
    let _purge = app.engine.spawn_purge(PURGE_EVERY);
    let data = Data::new(app.clone());
    let server = HttpServer::new(move || {
        Application::new()
            .configure(idem_actix::engine(data.engine.clone()))
            .configure(idem_actix::engine(data.steps.clone()))
            .configure(routes(data.clone()))
    });
    let server = server
        .bind(flags.listen)
        .with_context(|| format!("can't listen on {}", flags.listen))?;
    for address in server.addrs() {
        introduce(address);
    }
    idem_actix::run(server, app.drain()).await?;
    Ok(())
}

fn routes<C: Bank>(app: Data<App<C>>) -> impl FnOnce(&mut ServiceConfig) {
    let payments = web::resource("/payments")
        .get(payments::<C>)
        .post(create_payment::<C>);
    let charges = web::resource("/v1/charges")
        .get(charges::<C>)
        .post(create_charge::<C>);
    move |config| {
        config
            .app_data(app)
            .route("/accounts", web::get().to(accounts::<C>))
            .service(payments)
            .route("/payments/{id}", web::get().to(payment::<C>))
            .route("/payments/{id}/refunds", web::post().to(create_refund::<C>))
            .route("/rides", web::post().to(create_ride::<C>))
            .service(charges);
    }
}

#[idempotent(ttl = "24h", scope = "tenant", body = "payment")]
async fn create_payment<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    app: Data<App<C>>,
    payment: Json<NewPayment>,
) -> Result<impl Responder, ApiError> {
    let payment = tx.pay(&tenant.0, &payment).await?;
    tokio::time::sleep(app.work).await;
    let location = (LOCATION, format!("/payments/{}", payment.id));
    Ok(Json(payment)
        .customize()
        .with_status(StatusCode::CREATED)
        .insert_header(location))
}

#[idempotent(ttl = "7d", scope = "tenant", body = "refund")]
async fn create_refund<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    payment: Path<i64>,
    app: Data<App<C>>,
    refund: Json<NewRefund>,
) -> Result<impl Responder, ApiError> {
    let refund = tx.refund(&tenant.0, *payment, &refund).await?;
    tokio::time::sleep(app.work).await;
    Ok((Json(refund), StatusCode::CREATED))
}

#[idempotent(ttl = "24h", scope = "tenant", body = "charge")]
async fn create_charge<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    app: Data<App<C>>,
    charge: Form<NewCharge>,
) -> Result<Json<ChargeObject>, ApiError> {
    let charge = tx.charge(&tenant.0, &charge).await?;
    tokio::time::sleep(app.work).await;
    Ok(Json(charge.into()))
}

#[idempotent(
    ttl = "24h",
    scope = "tenant",
    lease = "1s",
    deadline = "3s",
    store = StepEngine<C>,
    body = "new"
)]
async fn create_ride<C: Bank>(
    steps: &mut Steps<C>,
    attempt: &Attempt,
    tenant: Tenant,
    app: Data<App<C>>,
    new: Json<NewRide>,
) -> Result<impl Responder, ApiError> {
    let ride = app.ride(steps, attempt, &tenant, &new).await?;
    Ok((Json(ride), StatusCode::CREATED))
}

async fn accounts<C: Bank>(
    tenant: Tenant,
    app: Data<App<C>>,
) -> Result<Json<Vec<Account>>, ApiError> {
    Ok(Json(app.pool.acquire().await?.accounts(&tenant.0).await?))
}

async fn payments<C: Bank>(
    tenant: Tenant,
    app: Data<App<C>>,
) -> Result<Json<Vec<Payment>>, ApiError> {
    Ok(Json(app.pool.acquire().await?.payments(&tenant.0).await?))
}

async fn payment<C: Bank>(
    tenant: Tenant,
    id: Path<i64>,
    app: Data<App<C>>,
) -> Result<Json<Payment>, ApiError> {
    Ok(Json(
        app.pool.acquire().await?.payment(&tenant.0, *id).await?,
    ))
}

async fn charges<C: Bank>(
    tenant: Tenant,
    app: Data<App<C>>,
) -> Result<Json<List<ChargeObject>>, ApiError> {
    let charges = app.pool.acquire().await?.charges(&tenant.0).await?;
    Ok(Json(List::of(charges)))
}

impl FromRequest for Tenant {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get(AUTHORIZATION);
        ready(Self::authorized(header.map(AsRef::as_ref)))
    }
}

impl ResponseError for ApiError {
    fn error_response(&self) -> HttpResponse {
        let document = self.document();
        let status = StatusCode::from_u16(document.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        if let Some(challenge) = self.challenge() {
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        response.insert_header((CONTENT_TYPE, Document::CONTENT_TYPE));
        response.json(document)
    }
}
