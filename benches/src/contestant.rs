//! The contestants: the same business on the same route, protected in different ways.

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use crate::business::Business;
use crate::database::{Bank, PoolOf};

mod bare;
mod floor;
pub(crate) mod idem;
mod lease;
pub(crate) mod peer;
pub(crate) mod redis;
mod stateless;
mod zero_to_production;

pub(crate) use self::floor::Floor;
pub(crate) use self::lease::Leases;
pub(crate) use self::zero_to_production::Responses;

/// Where every contestant takes payments.
pub(crate) const PATH: &str = "/payments";

/// The header that names the tenant.
pub(crate) const TENANT: &str = "x-tenant";

/// The header that carries the key.
pub(crate) const KEY: &str = "idempotency-key";

/// The header that marks a replay of any contestant.
pub(crate) const REPLAYED: &str = "idempotency-replayed";

/// A way to protect a handler, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// A handler without a database.
    Stateless,
    /// The business in a transaction, unprotected.
    Bare,
    /// The same, plus one bound INSERT of a record.
    Floor,
    /// The pattern of *Zero To Production in Rust*, chapter 11.
    ZeroToProduction,
    /// A middleware that commits a lease first and the response last.
    Lease,
    /// `axum-idempotent` with its in-memory store.
    Peer,
    /// idem with its default settings.
    Idem,
    /// idem with the record in COMMIT's message.
    Fused,
    /// idem with the replay cache.
    Cached,
}

impl Contestant {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stateless => "no database",
            Self::Bare => "bare",
            Self::Floor => "floor",
            Self::ZeroToProduction => "Zero To Production",
            Self::Lease => "lease",
            Self::Peer => "axum-idempotent",
            Self::Idem => "idem",
            Self::Fused => "idem, record in COMMIT's message",
            Self::Cached => "idem, replay cache",
        }
    }

    /// The service; `None` if the database does not support the contestant.
    pub(crate) fn router<C: Bank>(self, pool: PoolOf<C>, business: Business) -> Option<Router> {
        Some(match self {
            Self::Stateless => stateless::router(),
            Self::Bare => bare::router::<C>(pool, business),
            Self::Floor => floor::router::<C>(pool, business),
            Self::ZeroToProduction => zero_to_production::router::<C>(pool, business),
            Self::Lease => lease::router::<C>(pool, business),
            Self::Peer => peer::router::<C>(pool, business),
            Self::Idem => idem::router::<C>(C::store(pool), idem::config(), business),
            Self::Fused => idem::router::<C>(C::fused_store(pool)?, idem::config(), business),
            Self::Cached => idem::router::<C>(C::store(pool), idem::cached(), business),
        })
    }

    /// Whether its handler writes payments.
    pub(crate) const fn pays(self) -> bool {
        !matches!(self, Self::Stateless)
    }

    /// The query that counts its records in the database.
    pub(crate) const fn records<C: Bank>(self) -> Option<&'static str> {
        match self {
            Self::Stateless | Self::Bare | Self::Peer => None,
            Self::Floor => Some("SELECT count(*) FROM floor_records"),
            Self::ZeroToProduction => {
                Some("SELECT count(*) FROM idempotency WHERE response_body IS NOT NULL")
            }
            Self::Lease => Some("SELECT count(*) FROM lease_records WHERE response IS NOT NULL"),
            Self::Idem | Self::Fused | Self::Cached => Some(C::COUNT_RECORDS),
        }
    }
}

/// The state of every handler.
pub(crate) struct App<C: Bank> {
    pool: PoolOf<C>,
    business: Business,
}

impl<C: Bank> Clone for App<C> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            business: self.business,
        }
    }
}

/// The tenant of a request.
pub(crate) struct Tenant(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        header(parts, TENANT).map(Self)
    }
}

/// The key, for the handlers that read it themselves.
pub(crate) struct Key(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        header(parts, KEY).map(Self)
    }
}

fn header(parts: &Parts, name: &str) -> Result<String, StatusCode> {
    let value = parts.headers.get(name);
    let value = value.and_then(|value| value.to_str().ok());
    value.map(str::to_owned).ok_or(StatusCode::BAD_REQUEST)
}

/// The error of a handler. None is expected.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0).into_response()
    }
}
