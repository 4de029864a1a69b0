//! The handlers. Each framework compiles this file with its own extractors and its own attribute.

use idem_core::{Attempt, Steps};
use idem_redis::Redis;
use idem_tests::{Keyed, NewEffect, Reply, RideError, Tenant};

use super::{Form, Json, Path, State, idempotent};
use crate::service::App;

/// Handlers that differ in their options and in the function of [`App`] that they call.
macro_rules! promises {
    ($($name:ident($($promise:tt)*) => $body:ident;)*) => {$(
        #[idempotent($($promise)*, body = "effect")]
        pub(super) async fn $name(
            steps: &mut Steps<Redis>,
            attempt: &Attempt,
            _tenant: Tenant,
            State(app): State<App>,
            Json(effect): Json<NewEffect>,
        ) -> Result<Reply, RideError> {
            app.$body(steps, attempt, &effect.label).await
        }
    )*};
}

promises! {
    effect(ttl = "24h", scope = "_tenant", lease = "1s") => play;
    patient(ttl = "24h", scope = "_tenant", lease = "1s", wait = "60s") => play;
    hasty(ttl = "24h", scope = "_tenant", lease = "1s", wait = "0s") => play;
    brief(ttl = "1s", scope = "_tenant", lease = "1s", wait = "60s") => play;
    bounded(ttl = "24h", scope = "_tenant", lease = "1s", deadline = "2s") => play;
    capped(ttl = "24h", scope = "_tenant", lease = "1s", response_limit = "8KiB") => play;
    optional(ttl = "24h", scope = "_tenant", lease = "1s", key = "optional") => play;
    unscoped(ttl = "24h", unscoped, lease = "1s") => play;
    named(ttl = "24h", scope = "_tenant", lease = "1s", operation = "named_effect") => play;
    replays_success(ttl = "24h", scope = "_tenant", lease = "1s", replay = "success") => play;
    replays_all(ttl = "24h", scope = "_tenant", lease = "1s", replay = "all") => play;
    raw(ttl = "24h", scope = "_tenant", lease = "1s", fingerprint = "raw") => play;
    webhook(ttl = "24h", scope = "_tenant", lease = "1s", key = header("X-GitHub-Delivery", "webhook-id"), fingerprint = "none") => play;
    conditional(ttl = "24h", scope = "_tenant", lease = "1s", bind = header("if-match")) => play;
    sorted_query(ttl = "24h", scope = "_tenant", lease = "1s", query = "sorted") => play;
    secret(ttl = "24h", scope = "_tenant", lease = "1s", record = "head") => play;
    flash(ttl = "24h", scope = "_tenant", lease = "1s", record = cookie("flash")) => play;
    ride(ttl = "24h", scope = "_tenant", lease = "1s", deadline = "8s", operation = "ride", fingerprint = "none") => ride;
    next_ride(ttl = "1h", scope = "_tenant", lease = "1s", deadline = "8s", operation = "ride", fingerprint = "none") => next_ride;
    sms(ttl = "24h", scope = "_tenant", lease = "1s", deadline = "8s") => sms;
}

/// The key is in a field of the form.
#[idempotent(
    ttl = "24h",
    scope = "tenant",
    lease = "1s",
    key = "form.idempotency_key",
    body = "form"
)]
pub(super) async fn keyed_form(
    steps: &mut Steps<Redis>,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App>,
    Form(form): Form<Keyed>,
) -> Result<Reply, RideError> {
    app.play(steps, attempt, &form.label).await
}

/// The key is in the path.
#[idempotent(
    ttl = "24h",
    scope = "tenant",
    lease = "1s",
    key = "order",
    body = "none"
)]
pub(super) async fn keyed_path(
    steps: &mut Steps<Redis>,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App>,
    order: Path<String>,
) -> Result<Reply, RideError> {
    app.play(steps, attempt, "path").await
}
