//! idem.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{
    Config, Engine, MySqlStore, PostgresStore, ReplayCache, Scope, SqliteStore, idempotent,
};
use sqlx::{MySqlPool, PgPool, SqlitePool};

use super::{Failure, PATH, Tenant};
use crate::business::{Business, NewPayment, Receipt};
use crate::database::Bank;

/// The store on PostgreSQL with its default settings.
pub(crate) fn postgres_store(pool: PgPool) -> PostgresStore {
    PostgresStore::new(pool)
}

/// The store on PostgreSQL with the record in COMMIT's message.
pub(crate) fn fused_store(pool: PgPool) -> PostgresStore {
    PostgresStore::new(pool).with_record_in_commit()
}

/// The store on SQLite.
pub(crate) fn sqlite_store(pool: SqlitePool) -> SqliteStore {
    SqliteStore::new(pool)
}

/// The store on MariaDB and MySQL.
pub(crate) fn mysql_store(pool: MySqlPool) -> MySqlStore {
    MySqlStore::new(pool)
}

/// The engine's default settings.
pub(crate) fn config() -> Config {
    Config::new()
}

/// The engine's settings with the replay cache.
pub(crate) fn cached() -> Config {
    Config::new().with_replay_cache(ReplayCache::new(64 * 1024 * 1024, Duration::from_mins(1)))
}

pub(super) fn router<C: Bank>(store: C::Store, config: Config, business: Business) -> Router {
    let engine = Engine::with_config(store, config);
    Router::new()
        .route(PATH, post(pay::<C>))
        .with_state(App::<C> { engine, business })
}

struct App<C: Bank> {
    engine: Engine<C::Store>,
    business: Business,
}

impl<C: Bank> Clone for App<C> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            business: self.business,
        }
    }
}

impl<C: Bank> FromRef<App<C>> for Engine<C::Store> {
    fn from_ref(app: &App<C>) -> Self {
        app.engine.clone()
    }
}

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn pay<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Receipt>), Failure> {
    let id = tx.pay(app.business, &tenant.0, &payment).await?;
    Ok((
        StatusCode::CREATED,
        Json(Receipt::new(id, &tenant.0, payment)),
    ))
}
