//! A page to send a payment twice by clicks, and to see that the money moves once.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::{ACCEPT, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use idem_axum::{Found, IdempotencyKey, Operation, StoreError};
use serde::Serialize;

use crate::{App, Refusal, Tenant};

/// The page for a browser, the commands for a terminal.
pub(crate) fn home(headers: &HeaderMap, commands: String) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let vary = [(VARY, "accept")];
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        (vary, Html(include_str!("page.html"))).into_response()
    } else {
        (vary, commands).into_response()
    }
}

/// The record of a key, or `null`. The table has digests in place of keys: it can't be asked for the keys, only for the
/// record of a known one.
pub(crate) async fn record(
    tenant: Tenant,
    State(app): State<App>,
    Path(key): Path<String>,
) -> Result<Json<Option<Record>>, Refusal> {
    let malformed = |_| Refusal(StatusCode::BAD_REQUEST, "this can't be a key");
    let key = IdempotencyKey::parse(key.as_bytes()).map_err(malformed)?;
    let operation = Operation::of_route("POST", "/payments");
    let found = app.engine.find(Some(&tenant.0), &operation, &key).await?;
    Ok(Json(found.map(Record::from)))
}

/// What the page shows of a record. The times are by the database's clock.
#[derive(Serialize)]
pub(crate) struct Record {
    state: &'static str,
    status: u16,
    /// In seconds.
    age: u64,
    /// In seconds.
    expires_in: u64,
}

impl From<Found> for Record {
    fn from(Found { record, now }: Found) -> Self {
        use idem_axum::State::{FailedFinal, FailedRetriable, Succeeded};

        Self {
            state: match record.state {
                Succeeded => "succeeded",
                FailedFinal => "failed, final",
                FailedRetriable => "failed, retriable",
                _ => "ended",
            },
            status: record.status.as_u16(),
            age: record.settled_at.until(now).as_secs(),
            expires_in: now.until(record.expires_at).as_secs(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the record can't be read");
        Self(StatusCode::INTERNAL_SERVER_ERROR, "see the log")
    }
}

/// Pretended work in a payment: as many milliseconds as the header `Work-Ms` says, else those of `--work-ms`. A header is not
/// bound to the key, so a retry may have another value.
pub(crate) struct Work(pub(crate) Duration);

impl FromRequestParts<App> for Work {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        /// Less than the deadline of an attempt.
        const MOST: u64 = 10_000;

        let Some(header) = parts.headers.get("work-ms") else {
            return Ok(Self(app.work));
        };
        let number = header.to_str().ok().and_then(|value| value.parse().ok());
        let work = number
            .filter(|&number| number <= MOST)
            .map(Duration::from_millis);
        work.map(Self).ok_or(Refusal(
            StatusCode::BAD_REQUEST,
            "`Work-Ms` is a number of milliseconds, at most 10000",
        ))
    }
}
