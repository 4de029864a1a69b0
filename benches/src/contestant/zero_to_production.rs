//! The pattern of *Zero To Production in Rust*, chapter 11, written by hand in the handler.
//!
//! One transaction: INSERT of the key, which makes a duplicate wait; the business; UPDATE of the
//! key's row with the response. It lacks a fingerprint and an expiry, and a duplicate
//! holds a connection while it waits.

use std::future::Future;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::{PgRecordDecoder, PgRecordEncoder};
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{
    Decode, Encode, MySqlConnection, PgConnection, Postgres, Row as _, SqliteConnection, Type,
};

use super::{App, Failure, Key, PATH, REPLAYED, Tenant};
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
    if !transaction.start(&tenant.0, &key.0).await? {
        let saved = transaction.saved(&tenant.0, &key.0).await?;
        transaction.commit().await?;
        return saved.replay();
    }
    let id = transaction.pay(app.business, &tenant.0, &payment).await?;
    let receipt = Json(Receipt::new(id, &tenant.0, payment));
    let (response, saved) = Saved::of((StatusCode::CREATED, receipt).into_response()).await?;
    transaction.save(&tenant.0, &key.0, saved).await?;
    transaction.commit().await?;
    Ok(response)
}

/// A response as it is saved.
pub(crate) struct Saved {
    status: i16,
    headers: Vec<HeaderPair>,
    body: Vec<u8>,
}

impl Saved {
    async fn of(response: Response) -> Result<(Response, Self), Failure> {
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await?;
        let pair = |(name, value): (&HeaderName, &HeaderValue)| HeaderPair {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_owned(),
        };
        let saved = Self {
            status: i16::try_from(head.status.as_u16())?,
            headers: head.headers.iter().map(pair).collect(),
            body: body.to_vec(),
        };
        Ok((Response::from_parts(head, Body::from(body)), saved))
    }

    fn replay(self) -> Result<Response, Failure> {
        let mut headers = HeaderMap::new();
        for pair in self.headers {
            let name = HeaderName::from_bytes(pair.name.as_bytes())?;
            headers.append(name, HeaderValue::from_bytes(&pair.value)?);
        }
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        let status = StatusCode::from_u16(u16::try_from(self.status)?)?;
        Ok((status, headers, self.body).into_response())
    }
}

/// The saved responses.
pub(crate) trait Responses {
    const START: &'static str = "INSERT INTO idempotency (user_id, idempotency_key) \
         VALUES ($1, $2) ON CONFLICT DO NOTHING";

    const SAVED: &'static str = "SELECT response_status_code, response_headers, response_body \
         FROM idempotency WHERE user_id = $1 AND idempotency_key = $2";

    const SAVE: &'static str = "UPDATE idempotency \
         SET response_status_code = $1, response_headers = $2, response_body = $3 \
         WHERE user_id = $4 AND idempotency_key = $5";

    /// Whether the key is new. A duplicate waits here for the first request's end.
    fn start(&mut self, tenant: &str, key: &str)
    -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// The response that was saved.
    fn saved(
        &mut self,
        tenant: &str,
        key: &str,
    ) -> impl Future<Output = sqlx::Result<Saved>> + Send;

    /// Saves the response.
    fn save(
        &mut self,
        tenant: &str,
        key: &str,
        saved: Saved,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

on_all! {
    Responses {
        async fn start(&mut self, tenant: &str, key: &str) -> sqlx::Result<bool> {
            let inserted = sqlx::query(Self::START).bind(tenant).bind(key).execute(self).await?;
            Ok(inserted.rows_affected() > 0)
        }

        async fn saved(&mut self, tenant: &str, key: &str) -> sqlx::Result<Saved> {
            let row = sqlx::query(Self::SAVED).bind(tenant).bind(key).fetch_one(self).await?;
            Ok(Saved {
                status: row.try_get(0)?,
                headers: row.try_get::<<Self as Headers>::Column, _>(1)?.pairs()?,
                body: row.try_get(2)?,
            })
        }

        async fn save(&mut self, tenant: &str, key: &str, saved: Saved) -> sqlx::Result<()> {
            sqlx::query(Self::SAVE)
                .bind(saved.status)
                .bind(<Self as Headers>::Column::of(saved.headers)?)
                .bind(saved.body)
                .bind(tenant)
                .bind(key)
                .execute(self)
                .await?;
            Ok(())
        }
    }
    mysql {
        const START: &'static str =
            "INSERT IGNORE INTO idempotency (user_id, idempotency_key) VALUES (?, ?)";

        const SAVED: &'static str = "SELECT response_status_code, response_headers, \
             response_body FROM idempotency WHERE user_id = ? AND idempotency_key = ?";

        const SAVE: &'static str = "UPDATE idempotency \
             SET response_status_code = ?, response_headers = ?, response_body = ? \
             WHERE user_id = ? AND idempotency_key = ?";
    }
}

/// How a database keeps headers.
trait Headers {
    type Column: Column;
}

impl Headers for PgConnection {
    type Column = Vec<HeaderPair>;
}

impl Headers for SqliteConnection {
    type Column = String;
}

impl Headers for MySqlConnection {
    type Column = String;
}

trait Column: Sized {
    fn of(pairs: Vec<HeaderPair>) -> sqlx::Result<Self>;

    fn pairs(self) -> sqlx::Result<Vec<HeaderPair>>;
}

impl Column for Vec<HeaderPair> {
    fn of(pairs: Vec<HeaderPair>) -> sqlx::Result<Self> {
        Ok(pairs)
    }

    fn pairs(self) -> sqlx::Result<Vec<HeaderPair>> {
        Ok(self)
    }
}

impl Column for String {
    fn of(pairs: Vec<HeaderPair>) -> sqlx::Result<Self> {
        let pairs: Vec<_> = pairs.iter().map(|pair| (&pair.name, &pair.value)).collect();
        serde_json::to_string(&pairs).map_err(|error| sqlx::Error::Encode(error.into()))
    }

    fn pairs(self) -> sqlx::Result<Vec<HeaderPair>> {
        let pairs: Result<Vec<(String, Vec<u8>)>, _> = serde_json::from_str(&self);
        let pairs = pairs.map_err(|error| sqlx::Error::Decode(error.into()))?;
        let pair = |(name, value)| HeaderPair { name, value };
        Ok(pairs.into_iter().map(pair).collect())
    }
}

/// PostgreSQL's composite type of the same name.
struct HeaderPair {
    name: String,
    value: Vec<u8>,
}

impl Type<Postgres> for HeaderPair {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("header_pair")
    }
}

impl PgHasArrayType for HeaderPair {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_header_pair")
    }
}

impl Encode<'_, Postgres> for HeaderPair {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let mut encoder = PgRecordEncoder::new(buffer);
        encoder.encode(self.name.as_str())?;
        encoder.encode(self.value.as_slice())?;
        encoder.finish();
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for HeaderPair {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let mut decoder = PgRecordDecoder::new(value)?;
        Ok(Self {
            name: decoder.try_decode()?,
            value: decoder.try_decode()?,
        })
    }
}
