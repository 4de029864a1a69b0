use std::borrow::Cow;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::{Payload, Service as _};
use actix_web::error::{ErrorBadRequest, ErrorInternalServerError};
use actix_web::http::StatusCode;
use actix_web::web::{self, Json};
use actix_web::{App, Error, FromRequest, HttpRequest, test};
use anyhow::{Result, anyhow};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use idem_actix::{Config, Engine, Scope, SqliteStore, idempotent};
use sqlx::SqliteConnection;
use tokio::sync::Semaphore;

use super::{Service, WAITERS, answer};
use crate::business::{NewPayment, Receipt};
use crate::contestant::{KEY, PATH, REPLAYED, TENANT};
use crate::load::tenant;

pub(super) fn service(gate: Arc<Semaphore>) -> LocalBoxFuture<'static, Result<Service>> {
    async {
        let store = SqliteStore::in_memory().await?;
        let waiters = usize::from(WAITERS);
        let engine = Engine::with_config(store, Config::new().with_waiters(waiters, waiters));
        let app = App::new()
            .app_data(web::Data::new(engine))
            .app_data(web::Data::from(gate))
            .route(PATH, web::post().to(hold));
        let app = Rc::new(test::init_service(app).await);
        let service: Service = Box::new(move |ask| {
            let customer = i64::try_from(ask.customer)?;
            let request = test::TestRequest::post()
                .uri(PATH)
                .insert_header((TENANT, tenant(customer)))
                .insert_header((KEY, ask.key.clone()))
                .set_json(NewPayment::of(customer))
                .to_request();
            let answered = app.call(request).map(|response| {
                let response = response.map_err(|error| anyhow!("{error}"))?;
                let is_replay = response.headers().contains_key(REPLAYED);
                answer(response.status().as_u16(), is_replay)
            });
            Ok(answered.boxed_local())
        });
        Ok(service)
    }
    .boxed_local()
}

struct Tenant(String);

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromRequest for Tenant {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let tenant = request.headers().get(TENANT);
        let tenant = tenant.and_then(|tenant| tenant.to_str().ok());
        ready(match tenant {
            Some(tenant) => Ok(Self(tenant.to_owned())),
            None => Err(ErrorBadRequest("no tenant")),
        })
    }
}

/// Waits until it is let go.
#[idempotent(ttl = "24h", scope = "tenant")]
async fn hold(
    _tx: &mut SqliteConnection,
    tenant: Tenant,
    gate: web::Data<Semaphore>,
    payment: Json<NewPayment>,
) -> Result<(Json<Receipt>, StatusCode), Error> {
    let permit = gate.acquire().await.map_err(ErrorInternalServerError)?;
    permit.forget();
    let receipt = Receipt::new(1, &tenant.0, payment.into_inner());
    Ok((Json(receipt), StatusCode::CREATED))
}
