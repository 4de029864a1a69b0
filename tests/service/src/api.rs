//! The service's API, the same on every web framework.

use std::borrow::Cow;
use std::time::Duration;

use idem_axum::{Engine, Open, Scope, Transaction};
use serde::Serialize;
use sqlx::Pool;

use crate::ledger::{Charge, Ledger, LedgerError};

/// A connection that the service can run on: the same code for every database.
pub trait Bank:
    Ledger + Transaction<Connection = Self> + for<'c> Open<'c> + sqlx::Connection + 'static
{
}

impl Bank for sqlx::PgConnection {}

impl Bank for sqlx::MySqlConnection {}

impl Bank for sqlx::SqliteConnection {}

/// The state that all handlers share.
pub struct App<C: Bank> {
    /// Runs the protected handlers.
    pub engine: Engine<C::Store>,
    /// Connections for reading.
    pub pool: Pool<C::Database>,
    /// How long a handler pretends to work inside its transaction.
    pub work: Duration,
}

impl<C: Bank> Clone for App<C> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            pool: self.pool.clone(),
            work: self.work,
        }
    }
}

/// The owner of a request. In this service the bearer token is the tenant.
pub(crate) struct Tenant(pub(crate) String);

impl Tenant {
    /// Reads the header `Authorization`.
    pub(crate) fn authorized(header: Option<&[u8]>) -> Result<Self, ApiError> {
        let token = header
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty());
        token
            .map(|token| Self(token.to_owned()))
            .ok_or(ApiError::Unauthorized)
    }
}

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

#[derive(Serialize)]
pub(crate) struct ChargeObject {
    id: String,
    object: &'static str,
    amount: i64,
    currency: String,
    paid: bool,
}

impl From<Charge> for ChargeObject {
    fn from(charge: Charge) -> Self {
        Self {
            id: format!("ch_{:024}", charge.id),
            object: "charge",
            amount: charge.amount,
            currency: charge.currency,
            paid: true,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
}

impl<T> List<T> {
    pub(crate) fn of<U: Into<T>>(items: Vec<U>) -> Self {
        Self {
            object: "list",
            data: items.into_iter().map(Into::into).collect(),
            has_more: false,
        }
    }
}

/// Every error that the service answers with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("send `Authorization: Bearer TENANT`")]
    Unauthorized,
    #[error(transparent)]
    Ledger(LedgerError),
}

impl<E: Into<LedgerError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::Ledger(error.into())
    }
}

/// A problem document.
#[derive(Serialize)]
pub(crate) struct Document {
    title: &'static str,
    pub(crate) status: u16,
    detail: String,
}

impl Document {
    pub(crate) const CONTENT_TYPE: &str = "application/problem+json";
}

impl ApiError {
    /// The value of the header `WWW-Authenticate`.
    pub(crate) fn challenge(&self) -> Option<&'static str> {
        matches!(self, Self::Unauthorized).then_some("Bearer")
    }

    pub(crate) fn document(&self) -> Document {
        let (status, title) = match self {
            Self::Unauthorized => (401, "No tenant"),
            Self::Ledger(LedgerError::Unknown(_)) => (404, "Not found"),
            Self::Ledger(LedgerError::InsufficientFunds) => (402, "Insufficient funds"),
            Self::Ledger(LedgerError::RefundTooLarge) => (409, "Refund too large"),
            Self::Ledger(LedgerError::Invalid(_)) => (422, "Invalid request"),
            Self::Ledger(LedgerError::Database(error)) => {
                tracing::error!(%error, "the database failed");
                return Document {
                    title: "Request failed",
                    status: 500,
                    detail: "send the same request with the same key again".to_owned(),
                };
            }
        };
        Document {
            title,
            status,
            detail: self.to_string(),
        }
    }
}
