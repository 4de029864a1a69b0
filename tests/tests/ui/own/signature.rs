//! The arguments of a handler: one transaction, at most one attempt, and extractors whose types have names.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Attempt, Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction};

type App = Engine<SqliteStore>;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[idempotent(ttl = "24h", unscoped)]
async fn no_arguments() {}

#[idempotent(ttl = "24h", unscoped)]
async fn no_transaction(attempt: &Attempt, Json(order): Json<Order>) -> String {
    format!("{} {}", attempt.number(), order.item)
}

#[idempotent(ttl = "24h", unscoped)]
async fn an_owned_transaction(tx: SqliteConnection, Json(order): Json<Order>) -> String {
    drop(tx);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn an_owned_savepoint(tx: Transaction<'_, Postgres>, Json(order): Json<Order>) -> String {
    drop(tx);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_shared_transaction(tx: &PgConnection, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_pool(pool: &mut PgPool, Json(order): Json<Order>) -> String {
    let _ = pool;
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_pool_alone(State(pool): State<SqlitePool>, Json(order): Json<Order>) -> String {
    drop(pool);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_pools_connection(tx: &mut PoolConnection<Sqlite>, Json(order): Json<Order>) -> String {
    let _ = tx;
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn an_owned_attempt(
    tx: &mut SqliteConnection,
    attempt: Attempt,
    Json(order): Json<Order>,
) -> String {
    let _ = (tx, attempt);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_mutable_attempt(
    tx: &mut SqliteConnection,
    attempt: &mut Attempt,
    Json(order): Json<Order>,
) -> String {
    let _ = (tx, attempt);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_borrowed_cow<'a>(
    tx: &'a mut SqliteConnection,
    attempt: &'a Attempt,
) -> Result<std::borrow::Cow<'a, str>, String> {
    let _ = tx;
    Ok(attempt.key().unwrap_or_default().into())
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_borrowed_response<'a>(tx: &'a mut SqliteConnection, attempt: &'a Attempt) -> &'a str {
    let _ = tx;
    attempt.key().unwrap_or_default()
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_borrowed_page<'a>(
    tx: &'a mut SqliteConnection,
    attempt: &'a Attempt,
) -> Result<Html<&'a str>, StatusCode> {
    let _ = tx;
    attempt.key().map(Html).ok_or(StatusCode::BAD_REQUEST)
}

#[idempotent(ttl = "24h", unscoped)]
async fn two_of_each(
    tx: &mut SqliteConnection,
    ledger: &mut SqliteConnection,
    attempt: &Attempt,
    app: &App,
    Json(order): Json<Order>,
) -> String {
    let _ = (tx, ledger, attempt, app);
    order.item
}

#[idempotent(ttl = "24h", unscoped)]
async fn for_ever(tx: &mut Transaction<'static, Sqlite>, attempt: &'static Attempt) {
    let _ = (tx, attempt);
}

#[idempotent(ttl = "24h", unscoped)]
async fn without_names(
    tx: &mut SqliteConnection,
    Path(id): Path<impl ToString>,
    Json(order): Json<impl Into<String> + Serialize>,
) -> String {
    let _ = (tx, order);
    id.to_string()
}

#[idempotent(ttl = "24h", unscoped)]
async fn conditional(
    tx: &mut SqliteConnection,
    #[cfg(unix)] State(app): State<App>,
    #[cfg_attr(unix, allow(unused))] Json(order): Json<Order>,
) -> String {
    let _ = (tx, app);
    order.item
}

/// All its mistakes come at once.
#[idempotent(ttl = "24", scop = "tennant", replay = "never")]
#[axum::debug_handler]
#[tracing::instrument(skip(order))]
fn everything_at_once(Json(order): Json<Order>) -> Result<String, String> {
    tokio::task::yield_now().await;
    Err("sold out")?;
    Ok(order.item)
}

fn main() {
    let _ = |app: App| -> Router {
        Router::new()
            .route("/no_arguments", post(no_arguments))
            .route("/no_transaction", post(no_transaction))
            .route("/an_owned_transaction", post(an_owned_transaction))
            .route("/an_owned_savepoint", post(an_owned_savepoint))
            .route("/a_shared_transaction", post(a_shared_transaction))
            .route("/a_pool", post(a_pool))
            .route("/a_pool_alone", post(a_pool_alone))
            .route("/a_pools_connection", post(a_pools_connection))
            .route("/an_owned_attempt", post(an_owned_attempt))
            .route("/a_mutable_attempt", post(a_mutable_attempt))
            .route("/a_borrowed_cow", post(a_borrowed_cow))
            .route("/a_borrowed_response", post(a_borrowed_response))
            .route("/a_borrowed_page", post(a_borrowed_page))
            .route("/two_of_each", post(two_of_each))
            .route("/for_ever", post(for_ever))
            .route("/without_names", post(without_names))
            .route("/conditional", post(conditional))
            .route("/everything_at_once", post(everything_at_once))
            .with_state(app)
    };
}
