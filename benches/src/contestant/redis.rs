//! Contestants with their keys in Redis, and the same handler without. The handler's work is a number.

use axum::body::Bytes;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, StepError, StepStore, Steps, idempotent};
use idem_redis::redis::aio::MultiplexedConnection;
use idem_redis::redis::{Script, cmd};
use idem_redis::{Redis, RedisStore};
use uuid::Uuid;

use super::{Failure, Key, PATH, REPLAYED, Tenant, peer, stateless};
use crate::business::{NewPayment, Receipt};

/// A contestant in Redis, or one that it is compared to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// No store at all.
    Stateless,
    /// A token and then the response, by `SET` with `NX`.
    ByHand,
    /// `axum-idempotent` with its in-memory store: its store in Redis needs a later release of Redis.
    Peer,
    /// idem: a handler without a step.
    Claimed,
    /// idem: a handler with one call.
    Called,
}

impl Contestant {
    pub(crate) const ALL: [Self; 5] = [
        Self::Stateless,
        Self::ByHand,
        Self::Peer,
        Self::Claimed,
        Self::Called,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stateless => "no store",
            Self::ByHand => "SET NX by hand",
            Self::Peer => "axum-idempotent, in memory",
            Self::Claimed => "idem, no step",
            Self::Called => "idem, one call",
        }
    }

    pub(crate) fn router(self, store: &RedisStore, connection: &MultiplexedConnection) -> Router {
        let app = || App {
            engine: Engine::new(store.steps()),
        };
        match self {
            Self::Stateless => stateless::router(),
            Self::ByHand => Router::new()
                .route(PATH, post(by_hand))
                .with_state(connection.clone()),
            Self::Peer => peer::protect(stateless::router()),
            Self::Claimed => Router::new().route(PATH, post(claimed)).with_state(app()),
            Self::Called => Router::new().route(PATH, post(called)).with_state(app()),
        }
    }
}

#[derive(Clone)]
struct App {
    engine: Engine<StepStore<Redis>>,
}

impl FromRef<App> for Engine<StepStore<Redis>> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

#[idempotent(ttl = "24h", scope = "tenant", lease = "10s", deadline = "30s", state = App)]
async fn claimed(
    _steps: &mut Steps<Redis>,
    tenant: Tenant,
    Json(payment): Json<NewPayment>,
) -> (StatusCode, Json<Receipt>) {
    let receipt = Receipt::new(stateless::next(), &tenant.0, payment);
    (StatusCode::CREATED, Json(receipt))
}

#[idempotent(ttl = "24h", scope = "tenant", lease = "10s", deadline = "30s", state = App)]
async fn called(
    steps: &mut Steps<Redis>,
    tenant: Tenant,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Receipt>), StepError> {
    let call = async |_| Ok::<_, StepError>(stateless::next());
    let id = steps.call("charge", call).await?;
    let receipt = Receipt::new(id, &tenant.0, payment);
    Ok((StatusCode::CREATED, Json(receipt)))
}

/// How long a token and a response are kept, in milliseconds.
const LEASE: u64 = 10_000;
const TTL: u64 = 86_400_000;

/// What is kept begins so if it is a response, and not the token of an attempt.
const RESPONSE: &[u8] = b"201 ";

/// Keeps the response only if the token is still there.
const KEEP: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
     redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0";

/// As it is often written: no fingerprint, no number of the attempt, and only the status of a success.
async fn by_hand(
    State(mut redis): State<MultiplexedConnection>,
    tenant: Tenant,
    key: Key,
    Json(payment): Json<NewPayment>,
) -> Result<Response, Failure> {
    let name = format!("hand:{}:{}", tenant.0, key.0);
    let token = Uuid::new_v4().to_string();
    let mut set = cmd("SET");
    set.arg(&name).arg(&token).arg("NX").arg("GET");
    set.arg("PX").arg(LEASE);
    let before: Option<Vec<u8>> = set.query_async(&mut redis).await?;
    if let Some(before) = before {
        return Ok(match before.strip_prefix(RESPONSE) {
            Some(body) => (
                StatusCode::CREATED,
                [
                    (CONTENT_TYPE.as_str(), "application/json"),
                    (REPLAYED, "true"),
                ],
                Bytes::copy_from_slice(body),
            )
                .into_response(),
            None => StatusCode::CONFLICT.into_response(),
        });
    }
    let receipt = Receipt::new(stateless::next(), &tenant.0, payment);
    let kept = [RESPONSE, &*serde_json::to_vec(&receipt)?].concat();
    let keep = Script::new(KEEP);
    let mut keep = keep.key(&name);
    let keep = keep.arg(token).arg(kept).arg(TTL);
    let is_kept: bool = keep.invoke_async(&mut redis).await?;
    if !is_kept {
        return Ok(StatusCode::CONFLICT.into_response());
    }
    Ok((StatusCode::CREATED, Json(receipt)).into_response())
}
