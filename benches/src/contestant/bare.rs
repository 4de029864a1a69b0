//! The unprotected handler, to which everything is compared.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};

use super::{App, Failure, PATH, Tenant};
use crate::business::{Business, NewPayment, Receipt};
use crate::database::{Bank, PoolOf};

pub(super) fn router<C: Bank>(pool: PoolOf<C>, business: Business) -> Router {
    Router::new()
        .route(PATH, post(pay::<C>))
        .with_state(App::<C> { pool, business })
}

async fn pay<C: Bank>(
    State(app): State<App<C>>,
    tenant: Tenant,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Receipt>), Failure> {
    let mut transaction = app.pool.begin_with(C::BEGIN).await?;
    let id = transaction.pay(app.business, &tenant.0, &payment).await?;
    transaction.commit().await?;
    Ok((
        StatusCode::CREATED,
        Json(Receipt::new(id, &tenant.0, payment)),
    ))
}
