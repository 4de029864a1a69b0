//! Webhooks of three providers.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use sqlx::SqliteConnection;

use crate::failed::Failed;

// recipe: handlers
#[idempotent(
    ttl = "31d",
    unscoped,
    operation = "stripe",
    key = "event.id",
    fingerprint = "none"
)]
async fn stripe(
    tx: &mut SqliteConnection,
    Signed(event): Signed<Stripe>,
) -> Result<StatusCode, Failed> {
    if event.kind == "payment_intent.succeeded" {
        sqlx::query("INSERT INTO payments (intent) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(&event.data.object.id)
            .execute(tx)
            .await?;
    }
    Ok(StatusCode::OK)
}

#[idempotent(
    ttl = "4d",
    unscoped,
    operation = "github",
    key = header("x-github-delivery"),
    fingerprint = "none"
)]
async fn github(
    tx: &mut SqliteConnection,
    Signed(push): Signed<GitHub>,
) -> Result<StatusCode, Failed> {
    let insert = sqlx::query("INSERT INTO builds (head) VALUES (?)");
    insert.bind(&push.after).execute(tx).await?;
    Ok(StatusCode::OK)
}

#[idempotent(
    ttl = "7d",
    unscoped,
    operation = "contacts",
    key = header("webhook-id", "svix-id"),
    fingerprint = "none"
)]
async fn contacts(
    tx: &mut SqliteConnection,
    Signed(event): Signed<StandardWebhooks>,
) -> Result<StatusCode, Failed> {
    let insert = sqlx::query("INSERT INTO contacts (name) VALUES (?)");
    insert.bind(&event.data.name).execute(tx).await?;
    Ok(StatusCode::OK)
}
// recipe: end

// recipe: signature
/// The event of a delivery whose signature is right.
struct Signed<P: Provider>(P::Event);

/// In seconds: the tolerance of Stripe's own libraries.
const TOLERANCE: u64 = 300;

trait Provider {
    type Event: DeserializeOwned;

    fn secret(app: &App) -> &[u8];

    /// Reads the signature. `None` if there is none, or if it is malformed.
    fn signature(headers: &HeaderMap) -> Option<Signature<'_>>;
}

struct Signature<'a> {
    /// The signed texts before the body.
    prefix: Vec<&'a str>,
    /// When it was signed, in seconds since 1970.
    time: Option<u64>,
    /// Two while the secret is changed.
    macs: Vec<Vec<u8>>,
}

impl<P: Provider> FromRequest<App> for Signed<P> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, app).await;
        let body = body.map_err(IntoResponse::into_response)?;
        let signature = P::signature(&headers).filter(|signature| {
            let is_fresh = signature
                .time
                .is_none_or(|time| now().abs_diff(time) <= TOLERANCE);
            is_fresh && signature.is_of(P::secret(app), &body)
        });
        if signature.is_none() {
            return Err(StatusCode::UNAUTHORIZED.into_response());
        }
        let event = serde_json::from_slice(&body);
        event
            .map(Self)
            .map_err(|_| StatusCode::BAD_REQUEST.into_response())
    }
}
// recipe: end

impl Signature<'_> {
    fn is_of(&self, secret: &[u8], body: &[u8]) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
            return false;
        };
        for text in &self.prefix {
            mac.update(text.as_bytes());
            mac.update(b".");
        }
        mac.update(body);
        // In constant time: `==` on the digests would tell how many of their bytes are right.
        let is_right = |bytes: &Vec<u8>| mac.clone().verify_slice(bytes).is_ok();
        self.macs.iter().any(is_right)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// `Stripe-Signature: t=1492774577,v1=5257a8…,v0=6ffbb5…`
struct Stripe;

impl Provider for Stripe {
    type Event = StripeEvent;

    fn secret(app: &App) -> &[u8] {
        app.secrets.stripe.as_bytes()
    }

    fn signature(headers: &HeaderMap) -> Option<Signature<'_>> {
        let items = text(headers, "stripe-signature")?.split(',');
        let items: Vec<_> = items.filter_map(|item| item.split_once('=')).collect();
        let of = |name| items.iter().filter(move |item| item.0 == name);
        let (_, time) = of("t").next()?;
        Some(Signature {
            prefix: vec![time],
            time: Some(time.parse().ok()?),
            macs: of("v1").filter_map(|(_, mac)| unhex(mac)).collect(),
        })
    }
}

#[derive(Deserialize)]
struct StripeEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: StripeData,
}

#[derive(Deserialize)]
struct StripeData {
    object: StripeObject,
}

#[derive(Deserialize)]
struct StripeObject {
    id: String,
}

/// `X-Hub-Signature-256: sha256=757107…`
struct GitHub;

impl Provider for GitHub {
    type Event = Push;

    fn secret(app: &App) -> &[u8] {
        app.secrets.github.as_bytes()
    }

    fn signature(headers: &HeaderMap) -> Option<Signature<'_>> {
        let mac = text(headers, "x-hub-signature-256")?.strip_prefix("sha256=")?;
        Some(Signature {
            prefix: Vec::new(),
            time: None,
            macs: vec![unhex(mac)?],
        })
    }
}

#[derive(Deserialize)]
struct Push {
    after: String,
}

/// `webhook-signature: v1,K5oZfz… v1,g0hM9S…`
struct StandardWebhooks;

impl Provider for StandardWebhooks {
    type Event = ContactCreated;

    fn secret(app: &App) -> &[u8] {
        &app.secrets.standard
    }

    fn signature(headers: &HeaderMap) -> Option<Signature<'_>> {
        // The id that is the key has to be the id that is signed: the same names in the same order.
        let named = |suffix| {
            let names = ["webhook", "svix"].map(|prefix| format!("{prefix}-{suffix}"));
            names.into_iter().find_map(|name| text(headers, &name))
        };
        let time = named("timestamp")?;
        let macs = named("signature")?.split(' ');
        let macs = macs.filter_map(|mac| BASE64_STANDARD.decode(mac.strip_prefix("v1,")?).ok());
        Some(Signature {
            prefix: vec![named("id")?, time],
            time: Some(time.parse().ok()?),
            macs: macs.collect(),
        })
    }
}

#[derive(Deserialize)]
struct ContactCreated {
    data: Contact,
}

#[derive(Deserialize)]
struct Contact {
    name: String,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2);
    let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    pairs.map(byte).collect()
}

/// The secrets that the providers show for an endpoint.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// `whsec_…`, taken as text.
    pub stripe: String,
    /// The text that was typed in there.
    pub github: String,
    /// What is after `whsec_`, decoded from Base64.
    pub standard: Vec<u8>,
}

#[derive(Clone)]
struct App {
    engine: Engine<SqliteStore>,
    secrets: Secrets,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

/// The tables of the handlers.
pub const SCHEMA: &str = "
    CREATE TABLE payments (intent TEXT PRIMARY KEY);
    CREATE TABLE builds (head TEXT NOT NULL);
    CREATE TABLE contacts (name TEXT NOT NULL);
";

/// The endpoints.
pub fn router(engine: Engine<SqliteStore>, secrets: Secrets) -> Router {
    Router::new()
        .route("/webhooks/stripe", post(stripe))
        .route("/webhooks/github", post(github))
        .route("/webhooks/contacts", post(contacts))
        .with_state(App { engine, secrets })
}
