//! The handlers, each with a promise or a body of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::{Form, Json};
use bytes::Bytes;
use idem_axum::{Attempt, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};

use super::extract::Tenant;
use crate::domain::{App, Domain};
use crate::scene::Reply;

#[derive(Serialize, Deserialize)]
pub(super) struct NewEffect {
    label: String,
}

/// Handlers that differ in their promise alone.
macro_rules! promises {
    ($($name:ident($($promise:tt)*);)*) => {$(
        #[idempotent($($promise)*)]
        pub(super) async fn $name<C: Domain>(
            tx: &mut C,
            attempt: &Attempt,
            tenant: Tenant,
            State(app): State<App<C>>,
            Json(effect): Json<NewEffect>,
        ) -> Reply {
            app.play(tx, attempt, &tenant.0, &effect.label).await
        }
    )*};
}

promises! {
    effect(ttl = "24h", scope = "tenant");
    patient(ttl = "24h", scope = "tenant", wait = "60s");
    hasty(ttl = "24h", scope = "tenant", wait = "0s");
    brief(ttl = "1s", scope = "tenant", wait = "60s");
    bounded(ttl = "24h", scope = "tenant", deadline = "1s");
    optional(ttl = "24h", scope = "tenant", key = "optional");
    replays_success(ttl = "24h", scope = "tenant", replay = "success");
    replays_all(ttl = "24h", scope = "tenant", replay = "all");
    unscoped(ttl = "24h", unscoped);
    named(ttl = "24h", scope = "tenant", operation = "named_effect");
    raw(ttl = "24h", scope = "tenant", fingerprint = "raw");
    read_committed(ttl = "24h", scope = "tenant", isolation = "read committed");
    repeatable_read(ttl = "24h", scope = "tenant", isolation = "repeatable read");
    serializable(ttl = "24h", scope = "tenant", isolation = "serializable");
}

/// Handlers that differ in their body alone.
macro_rules! bodies {
    ($($name:ident($body:pat => $type:ty) $label:expr;)*) => {$(
        #[idempotent(ttl = "24h", scope = "tenant")]
        pub(super) async fn $name<C: Domain>(
            tx: &mut C,
            attempt: &Attempt,
            tenant: Tenant,
            State(app): State<App<C>>,
            $body: $type,
        ) -> Reply {
            app.play(tx, attempt, &tenant.0, $label).await
        }
    )*};
}

bodies! {
    form(Form(_) => Form<NewEffect>) "form";
    text(_ => String) "text";
    bytes(_ => Bytes) "bytes";
    value(_ => Json<Value>) "value";
    numbers(_ => Json<Numbers>) "numbers";
    generated(_ => Json<Generated>) "generated";
    defaulted(_ => Json<Defaulted>) "defaulted";
    grown(_ => Json<Grown>) "grown";
    fields(_ => Json<Fields>) "fields";
    flattened(_ => Json<Flattened>) "fields";
}

#[derive(Serialize, Deserialize)]
pub(super) struct Numbers {
    integer: i128,
    float: f64,
    map: HashMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Generated {
    label: String,
    #[serde(default = "next")]
    number: u64,
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// [`NewEffect`] in a later release.
#[derive(Serialize, Deserialize)]
pub(super) struct Defaulted {
    label: String,
    #[serde(default = "euro")]
    currency: String,
}

fn euro() -> String {
    "eur".to_owned()
}

/// [`NewEffect`] in another later release.
#[derive(Serialize, Deserialize)]
pub(super) struct Grown {
    note: Option<String>,
    label: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Fields {
    label: String,
    first: u64,
    second: u64,
}

/// [`Fields`] in a later release.
#[derive(Serialize, Deserialize)]
pub(super) struct Flattened {
    #[serde(flatten)]
    numbers: BTreeMap<String, u64>,
    label: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Noted {
    label: String,
    note: String,
}

impl Noted {
    fn intent(body: &Json<Self>) -> &str {
        &body.label
    }
}

#[idempotent(ttl = "24h", scope = "tenant", fingerprint = Noted::intent)]
pub(super) async fn intended<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(effect): Json<Noted>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, &effect.note).await
}

#[idempotent(ttl = "24h", scope = "tenant")]
pub(super) async fn bodiless<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, "bodiless").await
}

/// A transaction of sqlx's own type: no bound would make the handler generic over the database.
#[idempotent(ttl = "24h", scope = "tenant")]
pub(super) async fn sqlite(
    tx: &mut Transaction<'_, Sqlite>,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<SqliteConnection>>,
    Json(effect): Json<NewEffect>,
) -> Reply {
    app.play(&mut **tx, attempt, &tenant.0, &effect.label).await
}

/// See [`sqlite`].
#[idempotent(ttl = "24h", scope = "tenant")]
pub(super) async fn postgres(
    tx: &mut Transaction<'_, Postgres>,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<PgConnection>>,
    Json(effect): Json<NewEffect>,
) -> Reply {
    app.play(&mut **tx, attempt, &tenant.0, &effect.label).await
}
