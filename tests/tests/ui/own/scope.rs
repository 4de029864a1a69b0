//! The owner of the keys.

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Extension, Router};
use idem_axum::{Attempt, Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;

type App = Engine<SqliteStore>;

#[idempotent(ttl = "24h")]
async fn not_said(_: &mut SqliteConnection, Path(tenant): Path<String>) -> String {
    tenant
}

#[idempotent(ttl = "24h", scope = "tenant", unscoped)]
async fn said_and_denied(_: &mut SqliteConnection, Path(tenant): Path<String>) -> String {
    tenant
}

#[idempotent(ttl = "24h", scope = "tennant")]
async fn misspelled(
    _: &mut SqliteConnection,
    State(app): State<App>,
    Path(tenant): Path<String>,
) -> String {
    drop(app);
    tenant
}

#[idempotent(ttl = "24h", scope = "user.id")]
async fn not_extracted(
    _: &mut SqliteConnection,
    State(app): State<App>,
    Extension(claims): Extension<String>,
    Path((tenant, _)): Path<(String, u32)>,
) -> String {
    drop(app);
    tenant + &claims
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn nothing_named(_: &mut SqliteConnection, _: Path<String>) {}

#[idempotent(ttl = "24h", scope = "tx")]
async fn the_transaction(tx: &mut SqliteConnection, Path(tenant): Path<String>) -> String {
    sqlx::query("DELETE FROM orders").execute(tx).await.unwrap();
    tenant
}

#[idempotent(ttl = "24h", scope = "attempt.scope")]
async fn the_attempt(
    _: &mut SqliteConnection,
    attempt: &Attempt,
    Path(tenant): Path<String>,
) -> String {
    format!("{tenant} {}", attempt.number())
}

#[idempotent(ttl = "24h", scope = "")]
async fn empty(_: &mut SqliteConnection, Path(tenant): Path<String>) -> String {
    tenant
}

#[idempotent(ttl = "24h", scope = "tenant.id()")]
async fn a_call(_: &mut SqliteConnection, Path(tenant): Path<String>) -> String {
    tenant
}

#[idempotent(ttl = "24h", scope = tenant)]
async fn without_quotes(_: &mut SqliteConnection, Path(tenant): Path<String>) -> String {
    tenant
}

fn main() {
    let _ = |app: App| -> Router {
        Router::new()
            .route("/not_said/{tenant}", post(not_said))
            .route("/said_and_denied/{tenant}", post(said_and_denied))
            .route("/misspelled/{tenant}", post(misspelled))
            .route("/not_extracted/{tenant}/{user}", post(not_extracted))
            .route("/nothing_named/{tenant}", post(nothing_named))
            .route("/the_transaction/{tenant}", post(the_transaction))
            .route("/the_attempt/{tenant}", post(the_attempt))
            .route("/empty/{tenant}", post(empty))
            .route("/a_call/{tenant}", post(a_call))
            .route("/without_quotes/{tenant}", post(without_quotes))
            .with_state(app)
    };
}
