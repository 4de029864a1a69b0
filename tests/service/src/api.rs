//! The service's API, the same on every web framework.

use std::borrow::Cow;
use std::time::Duration;

use idem_axum::{
    Engine, Open, Provider, Scope, SqlStepConnection, StepError, StepStore, Transaction,
};
use serde::Serialize;
use sqlx::Pool;

use crate::ledger::{Charge, Ledger, LedgerError};
use crate::rides::Peer;
use crate::serve::Flags;

/// A connection that the service can run on: the same code for every database.
pub trait Bank:
    Ledger
    + Transaction<Connection = Self>
    + for<'c> Open<'c>
    + SqlStepConnection
    + sqlx::Connection
    + 'static
{
}

impl Bank for sqlx::PgConnection {}

impl Bank for sqlx::MySqlConnection {}

impl Bank for sqlx::SqliteConnection {}

/// The state that all handlers share.
pub struct App<C: Bank> {
    /// Runs the protected handlers.
    pub engine: Engine<C::Store>,
    /// Runs the handlers with steps.
    pub steps: StepEngine<C>,
    /// Connections for reading.
    pub pool: Pool<C::Database>,
    /// How long a handler pretends to work inside its transaction.
    pub work: Duration,
    /// The payment provider.
    pub provider: Peer,
    /// The sender of receipts.
    pub sender: Peer,
}

/// The engine of handlers with steps. A type of its own, as the store of a generic connection could be this one.
pub struct StepEngine<C: Bank>(pub Engine<StepStore<C>>);

impl<C: Bank> Clone for StepEngine<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Bank> Provider for StepEngine<C> {
    type Store = StepStore<C>;

    fn engine(&self) -> &Engine<StepStore<C>> {
        &self.0
    }
}

impl<C: Bank> App<C> {
    pub(crate) async fn new(
        store: C::Store,
        pool: Pool<C::Database>,
        flags: &Flags,
    ) -> anyhow::Result<Self> {
        let steps = StepStore::<C>::new(store.clone());
        steps.migrate().await?;
        Ok(Self {
            engine: Engine::new(store),
            steps: StepEngine(Engine::new(steps)),
            pool,
            work: flags.work(),
            provider: Peer::new(&flags.provider),
            sender: Peer::new(&flags.sender),
        })
    }

    /// Lets every attempt end.
    pub(crate) async fn drain(self) {
        self.engine.drain().await;
        self.steps.0.drain().await;
        self.pool.close().await;
    }
}

impl<C: Bank> Clone for App<C> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            steps: self.steps.clone(),
            pool: self.pool.clone(),
            work: self.work,
            provider: self.provider.clone(),
            sender: self.sender.clone(),
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
    #[error(transparent)]
    Step(StepError),
    #[error("the other service gave no answer: {0:#}")]
    Peer(anyhow::Error),
}

impl From<StepError> for ApiError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
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
            Self::Step(error) => (error.problem().status().as_u16(), "Step failed"),
            Self::Peer(_) => (503, "Not confirmed"),
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
