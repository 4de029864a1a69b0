//! A double of a payment provider, in memory. It charges once for each `Idempotency-Key` and answers a repeated request
//! with the same charge, as real ones do. With [`Faults`] it is worse than most.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// How the provider misbehaves. By default it doesn't.
#[derive(Debug, Default)]
pub struct Faults {
    /// Of so many requests for a charge, the last one gets no answer: its connection is dropped after the charge.
    pub lose_answers: Option<NonZeroU64>,
    /// Keys are forgotten at once, so a repeated request is one more charge.
    pub forget: bool,
}

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
        .route("/charges", post(create_charge))
        .route("/charges/{key}", get(charge))
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
    by_key: HashMap<String, Charge>,
    counts: Counts,
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
    fn charge(&mut self, new: &NewCharge) -> Charge {
        let is_declined = new.customer == "broke";
        self.counts.charges += u64::from(!is_declined);
        Charge {
            id: format!("ch_{}", self.counts.requests),
            amount: new.amount,
            is_declined,
        }
    }
}

async fn create_charge(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Json(new): Json<NewCharge>,
) -> Result<Charge, StatusCode> {
    let key = headers.get("idempotency-key");
    let key = key.and_then(|key| key.to_str().ok());
    let key = key.ok_or(StatusCode::BAD_REQUEST)?;
    let mut book = provider.book();
    book.counts.requests += 1;
    let number = book.counts.requests;
    let known = book.by_key.get(key).cloned();
    let charge = known.unwrap_or_else(|| book.charge(&new));
    if !provider.faults.forget {
        book.by_key.insert(key.to_owned(), charge.clone());
    }
    drop(book);
    if let Some(every) = provider.faults.lose_answers
        && number.is_multiple_of(every.get())
    {
        // The task of the connection ends, without a panic's message.
        resume_unwind(Box::new("the answer is lost"));
    }
    Ok(charge)
}

/// What became of a key: the charge, or 404.
async fn charge(
    State(provider): State<Arc<Provider>>,
    Path(key): Path<String>,
) -> Result<Json<Charge>, StatusCode> {
    let charge = provider.book().by_key.get(&key).cloned();
    charge.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn counts(State(provider): State<Arc<Provider>>) -> Json<Counts> {
    Json(provider.book().counts)
}
