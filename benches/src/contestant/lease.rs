//! A middleware with a lease, as in other libraries.
//!
//! Three commits: a row says that the key is in progress, and until when; the handler has a
//! transaction of its own; the row gets the response. A crash after the second commit leaves an effect
//! without a response, and the request runs again when the lease has ended.

use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;

use super::{Failure, Key, REPLAYED, Tenant, bare};
use crate::business::Business;
use crate::database::{Bank, PoolOf, on_all};

/// How long a key may be in progress, in microseconds.
const LEASE: i64 = 30_000_000;

pub(super) fn router<C: Bank>(pool: PoolOf<C>, business: Business) -> Router {
    bare::router::<C>(pool.clone(), business).layer(from_fn_with_state(pool, protect::<C>))
}

async fn protect<C: Bank>(
    State(pool): State<PoolOf<C>>,
    tenant: Tenant,
    key: Key,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    let fingerprint: [u8; 32] = Sha256::digest(&body).into();

    let mut connection = pool.acquire().await?;
    let now = now()?;
    if !connection
        .lease(&tenant.0, &key.0, &fingerprint, now)
        .await?
    {
        let kept = connection.completed(&tenant.0, &key.0).await?;
        return kept.answer(&fingerprint);
    }
    drop(connection);

    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    let headers = head.headers.iter();
    let headers: Vec<(&str, &[u8])> = headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let kept = Kept {
        fingerprint: fingerprint.to_vec(),
        status: Some(i16::try_from(head.status.as_u16())?),
        headers: Some(serde_json::to_string(&headers)?),
        body: Some(body.to_vec()),
    };
    let mut connection = pool.acquire().await?;
    connection.complete(&tenant.0, &key.0, kept, now).await?;
    Ok(Response::from_parts(head, Body::from(body)))
}

fn now() -> Result<i64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_micros())?)
}

/// The row of a key.
pub(crate) struct Kept {
    fingerprint: Vec<u8>,
    status: Option<i16>,
    headers: Option<String>,
    body: Option<Vec<u8>>,
}

impl Kept {
    fn answer(self, fingerprint: &[u8]) -> Result<Response, Failure> {
        if self.fingerprint != fingerprint {
            return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response());
        }
        let (Some(status), Some(pairs), Some(body)) = (self.status, self.headers, self.body) else {
            return Ok(StatusCode::CONFLICT.into_response());
        };
        let pairs: Vec<(String, Vec<u8>)> = serde_json::from_str(&pairs)?;
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            headers.append(name, HeaderValue::from_bytes(&value)?);
        }
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        let status = StatusCode::from_u16(u16::try_from(status)?)?;
        Ok((status, headers, body).into_response())
    }
}

/// The leases.
pub(crate) trait Leases {
    const LEASED: &'static str = "INSERT INTO lease_records \
         (tenant, key, fingerprint, leased_until) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

    const COMPLETED: &'static str = "SELECT fingerprint, status, headers, response \
         FROM lease_records WHERE tenant = $1 AND key = $2";

    const COMPLETE: &'static str = "UPDATE lease_records \
         SET status = $1, headers = $2, response = $3, completed_at = $4 \
         WHERE tenant = $5 AND key = $6";

    /// Whether the key is new, and now leased.
    fn lease(
        &mut self,
        tenant: &str,
        key: &str,
        fingerprint: &[u8],
        now: i64,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// The row of a key.
    fn completed(
        &mut self,
        tenant: &str,
        key: &str,
    ) -> impl Future<Output = sqlx::Result<Kept>> + Send;

    /// Ends the lease with a response.
    fn complete(
        &mut self,
        tenant: &str,
        key: &str,
        kept: Kept,
        now: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

on_all! {
    Leases {
        async fn lease(
            &mut self,
            tenant: &str,
            key: &str,
            fingerprint: &[u8],
            now: i64,
        ) -> sqlx::Result<bool> {
            let leased = sqlx::query(Self::LEASED)
                .bind(tenant)
                .bind(key)
                .bind(fingerprint)
                .bind(now + LEASE)
                .execute(self)
                .await?;
            Ok(leased.rows_affected() > 0)
        }

        async fn completed(&mut self, tenant: &str, key: &str) -> sqlx::Result<Kept> {
            let row = sqlx::query(Self::COMPLETED).bind(tenant).bind(key).fetch_one(self).await?;
            Ok(Kept {
                fingerprint: row.try_get(0)?,
                status: row.try_get(1)?,
                headers: row.try_get(2)?,
                body: row.try_get(3)?,
            })
        }

        async fn complete(
            &mut self,
            tenant: &str,
            key: &str,
            kept: Kept,
            now: i64,
        ) -> sqlx::Result<()> {
            sqlx::query(Self::COMPLETE)
                .bind(kept.status)
                .bind(kept.headers)
                .bind(kept.body)
                .bind(now)
                .bind(tenant)
                .bind(key)
                .execute(self)
                .await?;
            Ok(())
        }
    }
    mysql {
        const LEASED: &'static str = "INSERT IGNORE INTO lease_records \
             (tenant, `key`, fingerprint, leased_until) VALUES (?, ?, ?, ?)";

        const COMPLETED: &'static str = "SELECT fingerprint, status, headers, response \
             FROM lease_records WHERE tenant = ? AND `key` = ?";

        const COMPLETE: &'static str = "UPDATE lease_records \
             SET status = ?, headers = ?, response = ?, completed_at = ? \
             WHERE tenant = ? AND `key` = ?";
    }
}
