//! The return from a payment page.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Extension, FromRef, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use idem_axum::{Engine, Settle, SqliteStore, idempotent};
use serde::Deserialize;
use sqlx::SqliteConnection;

use crate::failed::Failed;

// recipe: handler
#[idempotent(
    ttl = "7d",
    unscoped,
    key = "path.payment",
    fingerprint = "none",
    state = App
)]
async fn returned(
    tx: &mut SqliteConnection,
    State(psp): State<Psp>,
    _customer: ByToken,
    Path(path): Path<Returned>,
) -> Result<Response, Failed> {
    if !psp.is_captured(&path.payment).await {
        // A redirect is a success, and would be replayed: let a reload ask again.
        let pending = Redirect::to("/pending");
        return Ok((Extension(Settle::Retriable), pending).into_response());
    }
    mark_paid(tx, &path.payment).await?;
    Ok(Redirect::to(&format!("/thanks/{}", path.payment)).into_response())
}

/// The provider's own message about the same payment: another endpoint, another key, the same effect.
#[idempotent(ttl = "7d", unscoped, key = "path.event", fingerprint = "none", state = App)]
async fn captured(
    tx: &mut SqliteConnection,
    Path(path): Path<Captured>,
) -> Result<StatusCode, Failed> {
    mark_paid(tx, &path.payment).await?;
    Ok(StatusCode::OK)
}

/// The condition lets one of the two endpoints ship, whichever comes first.
async fn mark_paid(tx: &mut SqliteConnection, payment: &str) -> sqlx::Result<()> {
    let paid = sqlx::query("UPDATE orders SET paid = TRUE WHERE payment = ? AND NOT paid");
    if paid.bind(payment).execute(&mut *tx).await?.rows_affected() == 1 {
        let ship = sqlx::query("INSERT INTO shipments (payment) VALUES (?)");
        ship.bind(payment).execute(tx).await?;
    }
    Ok(())
}
// recipe: end

#[derive(Deserialize)]
struct Returned {
    payment: String,
}

/// A real webhook has both in a signed body: see the recipe for webhooks.
#[derive(Deserialize)]
struct Captured {
    payment: String,
    event: String,
}

/// The holder of the token that was put into the return address, when the payment was begun.
struct ByToken;

impl FromRequestParts<App> for ByToken {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        #[derive(Deserialize)]
        struct Token {
            token: String,
        }
        let path = Path::<Returned>::from_request_parts(parts, app).await;
        let Path(Returned { payment }) = path.map_err(IntoResponse::into_response)?;
        let query = Query::<Token>::from_request_parts(parts, app).await;
        let Query(Token { token }) = query.map_err(IntoResponse::into_response)?;
        let known = sqlx::query_scalar("SELECT 1 FROM orders WHERE payment = ? AND token = ?");
        let known = known
            .bind(payment)
            .bind(token)
            .fetch_optional(app.engine.store().pool());
        let known: Option<i64> = known
            .await
            .map_err(|error| Failed::from(error).into_response())?;
        known
            .map(|_| Self)
            .ok_or_else(|| StatusCode::NOT_FOUND.into_response())
    }
}

/// The payment provider, as far as this recipe asks it.
#[derive(Debug, Clone, Default)]
pub struct Psp(Arc<Mutex<HashSet<String>>>);

impl Psp {
    /// The customer has paid.
    pub fn capture(&self, payment: &str) {
        let mut captured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        captured.insert(payment.to_owned());
    }

    #[expect(clippy::unused_async, reason = "a real one is asked over HTTP")]
    async fn is_captured(&self, payment: &str) -> bool {
        let captured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        captured.contains(payment)
    }
}

#[derive(Clone)]
struct App {
    engine: Engine<SqliteStore>,
    psp: Psp,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

impl FromRef<App> for Psp {
    fn from_ref(app: &App) -> Self {
        app.psp.clone()
    }
}

/// The tables of the handlers.
pub const SCHEMA: &str = "
    CREATE TABLE orders (payment TEXT PRIMARY KEY, token TEXT NOT NULL, paid BOOLEAN NOT NULL);
    CREATE TABLE shipments (payment TEXT NOT NULL);
    INSERT INTO orders VALUES ('pay_1', '5d41402a', FALSE);
";

/// The endpoints.
pub fn router(engine: Engine<SqliteStore>, psp: Psp) -> Router {
    Router::new()
        // recipe: route
        // Without `head`, axum answers HEAD by the handler of GET, which idem refuses.
        .route(
            "/return/{payment}",
            get(returned).head(async || StatusCode::OK),
        )
        // recipe: end
        .route("/captured/{payment}/{event}", post(captured))
        .with_state(App { engine, psp })
}
