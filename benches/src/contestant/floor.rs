//! The least that stores a response with the work: the bare transaction, plus one bound INSERT.
//!
//! It protects nothing, because a duplicate fails and is not replayed. But every library that records a
//! response in the transaction needs at least this.

use std::future::Future;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use super::{App, Failure, Key, PATH, Tenant};
use crate::business::{Business, NewPayment, Receipt};
use crate::database::{Bank, PoolOf, on_all};

pub(super) fn router<C: Bank>(pool: PoolOf<C>, business: Business) -> Router {
    Router::new()
        .route(PATH, post(pay::<C>))
        .with_state(App::<C> { pool, business })
}

async fn pay<C: Bank>(
    State(app): State<App<C>>,
    tenant: Tenant,
    key: Key,
    Json(payment): Json<NewPayment>,
) -> Result<Response, Failure> {
    let mut transaction = app.pool.begin_with(C::BEGIN).await?;
    let id = transaction.pay(app.business, &tenant.0, &payment).await?;
    let receipt = serde_json::to_vec(&Receipt::new(id, &tenant.0, payment))?;
    transaction.record(&tenant.0, &key.0, &receipt).await?;
    transaction.commit().await?;
    let json = [(CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, json, receipt).into_response())
}

/// The record of the floor.
pub(crate) trait Floor {
    const RECORD: &'static str =
        "INSERT INTO floor_records (tenant, key, status, response) VALUES ($1, $2, 201, $3)";

    /// Inserts the record.
    fn record(
        &mut self,
        tenant: &str,
        key: &str,
        response: &[u8],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

on_all! {
    Floor {
        async fn record(&mut self, tenant: &str, key: &str, response: &[u8]) -> sqlx::Result<()> {
            sqlx::query(Self::RECORD)
                .bind(tenant)
                .bind(key)
                .bind(response)
                .execute(self)
                .await?;
            Ok(())
        }
    }
    mysql {
        const RECORD: &'static str =
            "INSERT INTO floor_records (tenant, `key`, status, response) VALUES (?, ?, 201, ?)";
    }
}
