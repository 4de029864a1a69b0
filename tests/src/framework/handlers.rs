//! The handlers, each with options or a body of its own. They are the same on every framework: each
//! framework compiles this file with its own extractors and its own attribute.

use bytes::Bytes;
use idem_core::{Attempt, Shared, Steps};
use serde_json::Value;
use sqlx::{MySql, MySqlConnection, PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};

use super::{Form, IntoResponse, Json, Path, Query, Rejection, State, idempotent};
use crate::domain::{App, Domain, StepEngine};
use crate::framework::bodies::{
    Defaulted, Fields, Flattened, Generated, Grown, Keyed, NewEffect, Noted, Numbers, Token,
};
use crate::framework::tenant::Tenant;
use crate::scene::{Failed, Outcome, Reply, RideError};

/// Handlers that differ only in their options.
macro_rules! promises {
    ($($name:ident($($promise:tt)*);)*) => {$(
        #[idempotent($($promise)*, body = "effect")]
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
    early(ttl = "24h", scope = "tenant", respond_within = "20s");
    brief(ttl = "1s", scope = "tenant", wait = "60s");
    bounded(ttl = "24h", scope = "tenant", deadline = "1s");
    capped(ttl = "24h", scope = "tenant", response_limit = "8KiB");
    optional(ttl = "24h", scope = "tenant", key = "optional");
    replays_success(ttl = "24h", scope = "tenant", replay = "success");
    replays_all(ttl = "24h", scope = "tenant", replay = "all");
    unscoped(ttl = "24h", unscoped);
    named(ttl = "24h", scope = "tenant", operation = "named_effect");
    raw(ttl = "24h", scope = "tenant", fingerprint = "raw");
    webhook(ttl = "24h", scope = "tenant", key = header("X-GitHub-Delivery", "webhook-id"), fingerprint = "none");
    conditional(ttl = "24h", scope = "tenant", bind = header("if-match", "x-variant"));
    secret(ttl = "24h", scope = "tenant", record = "head");
    flash(ttl = "24h", scope = "tenant", record = cookie("flash", "theme"));
    sorted_query(ttl = "24h", scope = "tenant", query = "sorted");
    trimmed_query(ttl = "24h", scope = "tenant", query = except("utm_source", "page"));
    unbound_query(ttl = "24h", scope = "tenant", query = "none");
    read_committed(ttl = "24h", scope = "tenant", isolation = "read committed");
    repeatable_read(ttl = "24h", scope = "tenant", isolation = "repeatable read");
    serializable(ttl = "24h", scope = "tenant", isolation = "serializable");
}

/// Handlers with steps.
macro_rules! stepped {
    ($($name:ident)*) => {$(
        #[idempotent(
            ttl = "24h",
            scope = "tenant",
            lease = "1s",
            deadline = "8s",
            store = StepEngine<C>,
            body = "effect"
        )]
        pub(super) async fn $name<C: Domain>(
            steps: &mut Steps<C>,
            attempt: &Attempt,
            tenant: Tenant,
            State(app): State<App<C>>,
            Json(effect): Json<NewEffect>,
        ) -> Result<Reply, RideError> {
            app.$name(steps, attempt, &tenant.0, &effect.label).await
        }
    )*};
}

stepped!(ride sms);

/// Handlers that differ only in their body.
macro_rules! bodies {
    ($($name:ident($type:ty) $label:expr;)*) => {$(
        #[idempotent(ttl = "24h", scope = "tenant", body = "_body")]
        pub(super) async fn $name<C: Domain>(
            tx: &mut C,
            attempt: &Attempt,
            tenant: Tenant,
            State(app): State<App<C>>,
            _body: $type,
        ) -> Reply {
            app.play(tx, attempt, &tenant.0, $label).await
        }
    )*};
}

bodies! {
    form(Form<NewEffect>) "form";
    text(String) "text";
    bytes(Bytes) "bytes";
    value(Json<Value>) "value";
    numbers(Json<Numbers>) "numbers";
    generated(Json<Generated>) "generated";
    defaulted(Json<Defaulted>) "defaulted";
    grown(Json<Grown>) "grown";
    fields(Json<Fields>) "fields";
    flattened(Json<Flattened>) "fields";
}

/// The key is in a field of the form.
#[idempotent(
    ttl = "24h",
    scope = "tenant",
    key = "form.idempotency_key",
    body = "form"
)]
pub(super) async fn keyed_form<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Form(form): Form<Keyed>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, &form.label).await
}

/// The same, and the field can be left out.
#[idempotent(ttl = "24h", scope = "tenant", key = optional("form.idempotency_key"), body = "form")]
pub(super) async fn keyed_optionally<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Form(form): Form<Keyed>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, &form.label).await
}

/// The key is in the path.
#[idempotent(ttl = "24h", scope = "tenant", key = "order", body = "none")]
pub(super) async fn keyed_path<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    order: Path<String>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, "path").await
}

/// The key is an integer in the query.
#[idempotent(ttl = "24h", scope = "tenant", key = "query.token", body = "none")]
pub(super) async fn keyed_query<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Query(query): Query<Token>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, "query").await
}

/// The handler answers for a body that could not be extracted.
#[idempotent(ttl = "24h", scope = "tenant", body = "effect")]
pub(super) async fn fallible<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    effect: Result<Json<NewEffect>, Rejection>,
) -> Reply {
    let label = effect.map_or_else(|_| "rejected".to_owned(), |Json(effect)| effect.label);
    app.play(tx, attempt, &tenant.0, &label).await
}

/// A failure if the label is `err`.
#[idempotent(ttl = "24h", scope = "tenant", body = "effect")]
pub(super) async fn failing<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(effect): Json<NewEffect>,
) -> Outcome {
    let reply = app.play(tx, attempt, &tenant.0, &effect.label).await;
    if effect.label == "err" {
        return Err(Failed(reply));
    }
    Ok(reply)
}

/// The same, and the return type does not show the `Result`.
#[idempotent(ttl = "24h", scope = "tenant", body = "effect")]
pub(super) async fn hidden<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(effect): Json<NewEffect>,
) -> impl IntoResponse {
    Outcome::Ok(app.play(tx, attempt, &tenant.0, &effect.label).await)
}

#[idempotent(ttl = "24h", scope = "tenant", body = "effect", fingerprint = Noted::intent)]
pub(super) async fn intended<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(effect): Json<Noted>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, &effect.note).await
}

#[idempotent(ttl = "24h", scope = "tenant", body = "none")]
pub(super) async fn bodiless<C: Domain>(
    tx: &mut C,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
) -> Reply {
    app.play(tx, attempt, &tenant.0, "bodiless").await
}

/// A handle of the connection. After a reply of 202 a task has a clone, and tries to write at the gate; after one of 203
/// the task holds the connection from before the handler's end.
#[idempotent(ttl = "24h", scope = "tenant", body = "effect")]
pub(super) async fn shared<C: Domain>(
    tx: &mut Shared<C>,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(effect): Json<NewEffect>,
) -> Reply {
    let mut locked = tx.lock().await.expect("the handler runs");
    let reply = app.play(locked.as_mut(), attempt, &tenant.0, &effect.label);
    let reply = reply.await;
    let held = (reply.status == 203).then_some(locked);
    if held.is_some() || reply.status == 202 {
        let tx = tx.clone();
        tokio::spawn(async move {
            app.control.wait_at_gate().await;
            drop(held);
            if tx.lock().await.is_err() {
                app.control.commit();
            }
        });
    }
    reply
}

/// A transaction of sqlx's own type. No bound would make this handler generic over the database.
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

/// See [`sqlite`].
#[idempotent(ttl = "24h", scope = "tenant")]
pub(super) async fn mysql(
    tx: &mut Transaction<'_, MySql>,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App<MySqlConnection>>,
    Json(effect): Json<NewEffect>,
) -> Reply {
    app.play(&mut **tx, attempt, &tenant.0, &effect.label).await
}
