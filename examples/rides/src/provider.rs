//! A double of a payment provider, in memory. It charges once for each `Idempotency-Key` and answers a repeated request
//! with the same charge, as real ones do. With [`Faults`] it is worse than most.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::panic::resume_unwind;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// How the provider misbehaves. By default it doesn't.
#[derive(Debug, Default)]
pub struct Faults {
    /// Of so many requests for a charge, the last one gets no answer: its connection is dropped after the charge.
    pub lose_answers: Option<NonZeroU64>,
    /// Keys of requests are not looked up, so a repeated request is one more charge. The provider can still be asked.
    pub forget: bool,
    /// A charge comes so long after its request, and the answer as long after the charge.
    pub delay: Duration,
}

/// The header with a number that grows with each attempt of a caller. Once the provider has seen a number with a key, it
/// refuses requests for a charge with a lower one.
pub const FENCING_TOKEN: &str = "fencing-token";

/// The body of a request for a charge.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewCharge {
    /// The card of this customer is charged. That of `broke` is declined.
    pub customer: String,
    /// In minor units.
    pub amount: i64,
}

/// The body of an answer: 201, or 402 if the card was declined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Charge {
    /// The provider's own number.
    pub id: String,
    /// In minor units.
    pub amount: i64,
    /// Whether no money was taken.
    pub is_declined: bool,
}

impl IntoResponse for Charge {
    fn into_response(self) -> Response {
        let status = if self.is_declined {
            StatusCode::PAYMENT_REQUIRED
        } else {
            StatusCode::CREATED
        };
        (status, Json(self)).into_response()
    }
}

/// The provider's routes.
pub fn router(faults: Faults) -> Router {
    Router::new()
        .route("/charges", get(all_charges).post(create_charge))
        .route("/charges/{key}", get(charges))
        .route("/counts", get(counts))
        .with_state(Arc::new(Provider {
            faults,
            book: Mutex::default(),
        }))
}

struct Provider {
    faults: Faults,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    by_key: HashMap<String, Entry>,
    counts: Counts,
}

/// What there is under a key.
#[derive(Default)]
struct Entry {
    charges: Vec<Charge>,
    /// The highest fencing token.
    token: u64,
}

/// How often the provider was asked for a charge, and how often it took money.
#[derive(Clone, Copy, Default, Serialize)]
struct Counts {
    requests: u64,
    charges: u64,
}

impl Provider {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn charge(&mut self, key: String, token: u64, new: &NewCharge, forget: bool) -> Option<Charge> {
        self.counts.requests += 1;
        let entry = self.by_key.entry(key).or_default();
        if token < entry.token {
            return None;
        }
        entry.token = token;
        if let Some(known) = entry.charges.first()
            && !forget
        {
            return Some(known.clone());
        }
        let is_declined = new.customer == "broke";
        self.counts.charges += u64::from(!is_declined);
        let charge = Charge {
            id: format!("ch_{}", self.counts.requests),
            amount: new.amount,
            is_declined,
        };
        entry.charges.push(charge.clone());
        Some(charge)
    }
}

fn header<T: FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

async fn create_charge(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Json(new): Json<NewCharge>,
) -> Result<Charge, StatusCode> {
    let key = header(&headers, "idempotency-key").ok_or(StatusCode::BAD_REQUEST)?;
    let token = header(&headers, FENCING_TOKEN).unwrap_or_default();
    let Faults {
        lose_answers,
        forget,
        delay,
    } = provider.faults;
    tokio::time::sleep(delay).await;
    let (charge, number) = {
        let mut book = provider.book();
        let charge = book.charge(key, token, &new, forget);
        (charge, book.counts.requests)
    };
    tokio::time::sleep(delay).await;
    if lose_answers.is_some_and(|every| number.is_multiple_of(every.get())) {
        // The task of the connection ends, without a panic's message.
        resume_unwind(Box::new("the answer is lost"));
    }
    charge.ok_or(StatusCode::CONFLICT)
}

/// What became of a key: its charges, or 404. With a fencing token the answer stays true: no request with a lower one is
/// charged after it.
async fn charges(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Path(key): Path<String>,
) -> Result<Json<Vec<Charge>>, StatusCode> {
    let mut book = provider.book();
    let entry = book.by_key.entry(key).or_default();
    let token = header(&headers, FENCING_TOKEN).unwrap_or_default();
    entry.token = entry.token.max(token);
    if entry.charges.is_empty() {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Json(entry.charges.clone()))
}

/// The charges of each key.
async fn all_charges(State(provider): State<Arc<Provider>>) -> Json<HashMap<String, Vec<Charge>>> {
    let book = provider.book();
    let all = book.by_key.iter();
    let all = all.map(|(key, entry)| (key.clone(), entry.charges.clone()));
    Json(all.collect())
}

async fn counts(State(provider): State<Arc<Provider>>) -> Json<Counts> {
    Json(provider.book().counts)
}
