//! A database for each tenant.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::store::BoxError;
use idem_axum::{Drain, Engine, PurgeTask, SqliteStore, drain_all, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{SqliteConnection, SqlitePool};

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: handler
#[idempotent(ttl = "24h", scope = "tenant", store = extractor(TenantEngine), state = Arc<Tenants>)]
async fn create_order(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Json(order): Json<NewOrder>,
) -> Result<StatusCode, Failed> {
    let insert = sqlx::query("INSERT INTO orders (item) VALUES (?)").bind(&order.item);
    insert.execute(tx).await?;
    Ok(StatusCode::CREATED)
}

/// The engine of the tenant who sends the request. An unknown tenant is answered 404.
struct TenantEngine(Engine<SqliteStore>);

impl FromRequestParts<Arc<Tenants>> for TenantEngine {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut Parts,
        tenants: &Arc<Tenants>,
    ) -> Result<Self, StatusCode> {
        let Tenant(name) = Tenant::from_request_parts(parts, &()).await?;
        let engine = tenants.engines.get(&name).ok_or(StatusCode::NOT_FOUND)?;
        Ok(Self(engine.clone()))
    }
}

impl Deref for TenantEngine {
    type Target = Engine<SqliteStore>;

    fn deref(&self) -> &Engine<SqliteStore> {
        &self.0
    }
}
// recipe: end

#[derive(Serialize, Deserialize)]
struct NewOrder {
    item: String,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS orders (item TEXT NOT NULL)";

// recipe: engines
/// One engine and one purge for each database, from the start of the service to its end.
#[derive(Default)]
pub struct Tenants {
    engines: BTreeMap<String, Engine<SqliteStore>>,
    purges: Vec<PurgeTask>,
}

impl Tenants {
    /// Opens and migrates the files of these tenants.
    ///
    /// # Errors
    ///
    /// If a file can't be opened or migrated.
    pub async fn open(folder: &Path, names: &[&str]) -> Result<Self, BoxError> {
        let mut tenants = Self::default();
        for name in names {
            let options = SqliteConnectOptions::new()
                .filename(folder.join(format!("{name}.sqlite")))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal);
            let pool = SqlitePool::connect_with(options).await?;
            sqlx::raw_sql(SCHEMA).execute(&pool).await?;
            let store = SqliteStore::new(pool);
            store.migrate().await?;
            let engine = Engine::new(store);
            tenants
                .purges
                .push(engine.spawn_purge(Duration::from_hours(1)));
            tenants.engines.insert((*name).to_owned(), engine);
        }
        Ok(tenants)
    }

    /// For the end of the service, after `axum::serve` has returned.
    pub async fn drain(&self) {
        let engines: Vec<&dyn Drain> = self.engines.values().map(|engine| engine as _).collect();
        drain_all(&engines).await;
    }
}
// recipe: end

/// The endpoints.
pub fn router(tenants: Arc<Tenants>) -> Router {
    Router::new()
        .route("/orders", post(create_order))
        .with_state(tenants)
}
