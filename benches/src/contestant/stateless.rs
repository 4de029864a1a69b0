//! The same request and response, and no database.

use std::sync::atomic::{AtomicI64, Ordering};

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};

use super::{PATH, Tenant};
use crate::business::{NewPayment, Receipt};

static NEXT: AtomicI64 = AtomicI64::new(1);

pub(super) fn router() -> Router {
    Router::new().route(PATH, post(pay))
}

/// The number of the next payment.
pub(super) fn next() -> i64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn pay(tenant: Tenant, Json(payment): Json<NewPayment>) -> (StatusCode, Json<Receipt>) {
    let receipt = Receipt::new(next(), &tenant.0, payment);
    (StatusCode::CREATED, Json(receipt))
}
