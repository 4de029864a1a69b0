//! Proofs that count once: one-time codes, and captchas that an outside service checks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use idem_axum::{Attempt, Engine, Settle, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, SqliteConnection};

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: code
#[idempotent(ttl = "1h", scope = "tenant", state = App)]
async fn withdraw(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    code: Code, // reads the header, and changes nothing
    Json(withdrawal): Json<Withdrawal>,
) -> Result<StatusCode, Refused> {
    let redeem =
        "UPDATE codes SET used_at = unixepoch() WHERE code = ? AND tenant = ? AND used_at IS NULL";
    let redeem = sqlx::query(redeem).bind(&code.0).bind(&tenant.0);
    if redeem.execute(&mut *tx).await?.rows_affected() == 0 {
        return Err(Refused(StatusCode::FORBIDDEN));
    }
    let pay = "UPDATE accounts SET cents = cents - ?1 WHERE tenant = ?2 AND cents >= ?1";
    let pay = sqlx::query(pay).bind(withdrawal.cents).bind(&tenant.0);
    if pay.execute(tx).await?.rows_affected() == 0 {
        return Err(Refused(StatusCode::CONFLICT)); // the code is given back with the rollback
    }
    Ok(StatusCode::CREATED)
}
// recipe: end

/// The code in the request's header.
struct Code(String);

impl<S: Sync> FromRequestParts<S> for Code {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let header = parts.headers.get("x-code");
        let code = header.and_then(|value| value.to_str().ok());
        let code = code.ok_or(StatusCode::UNAUTHORIZED)?;
        Ok(Self(code.to_owned()))
    }
}

#[derive(Serialize, Deserialize)]
struct Withdrawal {
    cents: i64,
}

/// A refusal, or an error of the database as 500.
struct Refused(StatusCode);

impl From<sqlx::Error> for Refused {
    fn from(_: sqlx::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

// recipe: captcha
#[derive(Serialize, Deserialize)]
struct Booking {
    seats: i64,
    captcha: String,
}

impl Booking {
    /// What binds the key: everything but the token of the captcha, which may be another one in a retry.
    fn intent(&self) -> i64 {
        self.seats
    }
}

#[idempotent(ttl = "1h", scope = "tenant", fingerprint = Booking::intent, state = App)]
async fn book(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    tenant: Tenant,
    State(captcha): State<Captcha>,
    Json(booking): Json<Booking>,
) -> Result<StatusCode, Response> {
    // The same on each attempt of this key, and of no other.
    let request = attempt.downstream_key("captcha");
    let take = sqlx::query("DELETE FROM verified WHERE request = ? AND token = ?");
    let take = take.bind(&request).bind(&booking.captcha);
    let is_verified = take
        .execute(&mut *tx)
        .await
        .map_err(failed)?
        .rows_affected()
        == 1;
    if !is_verified && !captcha.verify(&booking.captcha).await {
        return Err(StatusCode::FORBIDDEN.into_response());
    }

    let mut work = tx.begin().await.map_err(failed)?; // a savepoint
    let Err(refused) = reserve(&mut work, &tenant, booking.seats).await else {
        work.commit().await.map_err(failed)?;
        return Ok(StatusCode::CREATED);
    };
    work.rollback().await.map_err(failed)?;
    // The captcha service says yes only once, so its answer is kept for the retry.
    let keep = sqlx::query("INSERT INTO verified (request, token) VALUES (?, ?)");
    let keep = keep.bind(&request).bind(&booking.captcha);
    keep.execute(tx).await.map_err(failed)?;
    Err((refused.0, Extension(Settle::KeepAndRetry)).into_response())
}
// recipe: end

fn failed(error: sqlx::Error) -> Response {
    Failed::from(error).into_response()
}

async fn reserve(tx: &mut SqliteConnection, tenant: &Tenant, seats: i64) -> Result<(), Refused> {
    let insert = sqlx::query("INSERT INTO bookings (tenant, seats) VALUES (?, ?)");
    let insert = insert.bind(&tenant.0).bind(seats);
    insert.execute(&mut *tx).await?;
    let take = sqlx::query("UPDATE hall SET free = free - ?1 WHERE free >= ?1");
    if take.bind(seats).execute(tx).await?.rows_affected() == 0 {
        return Err(Refused(StatusCode::CONFLICT));
    }
    Ok(())
}

/// The service that checks captchas: each token that it has issued is right once.
#[derive(Clone, Debug, Default)]
pub struct Captcha(Arc<Mutex<(BTreeSet<String>, u32)>>);

impl Captcha {
    /// A token for a person.
    pub fn issue(&self, token: &str) {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        service.0.insert(token.to_owned());
    }

    /// The number of calls.
    pub fn calls(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    async fn verify(&self, token: &str) -> bool {
        tokio::task::yield_now().await;
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        service.1 += 1;
        service.0.remove(token)
    }
}

/// The tables of the handlers.
pub const SCHEMA: &str = "
    CREATE TABLE codes (code TEXT PRIMARY KEY, tenant TEXT NOT NULL, used_at INTEGER);
    CREATE TABLE accounts (tenant TEXT PRIMARY KEY, cents INTEGER NOT NULL);
    CREATE TABLE verified (request TEXT NOT NULL, token TEXT NOT NULL, PRIMARY KEY (request, token));
    CREATE TABLE hall (free INTEGER NOT NULL);
    CREATE TABLE bookings (tenant TEXT NOT NULL, seats INTEGER NOT NULL);
";

/// The state of the service.
#[derive(Clone, FromRef)]
pub struct App {
    /// The engine.
    pub engine: Engine<SqliteStore>,
    /// The outside service.
    pub captcha: Captcha,
}

/// The endpoints.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/withdrawals", post(withdraw))
        .route("/bookings", post(book))
        .with_state(app)
}
