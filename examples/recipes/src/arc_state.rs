//! `Arc<App>` as the state.

use std::sync::Arc;

use axum::extract::{Extension, FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: state
/// The state of the service, which is not `Clone`.
pub struct App {
    /// The engine, which is cloned for each request.
    pub engine: Engine<SqliteStore>,
    /// A setting.
    pub currency: String,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

#[idempotent(ttl = "24h", scope = "tenant", state = Arc<App>)]
async fn create_invoice(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    State(app): State<Arc<App>>,
    Json(new): Json<NewInvoice>,
) -> Result<StatusCode, Failed> {
    insert(tx, &tenant, &new, &app.currency).await?;
    Ok(StatusCode::CREATED)
}

/// The endpoints.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/invoices", post(create_invoice))
        .with_state(app)
}
// recipe: end

// recipe: extension
#[idempotent(ttl = "24h", scope = "tenant", store = extractor(Extension<Engine<SqliteStore>>))]
async fn create_draft(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Extension(app): Extension<Arc<App>>,
    Json(new): Json<NewInvoice>,
) -> Result<StatusCode, Failed> {
    insert(tx, &tenant, &new, &app.currency).await?;
    Ok(StatusCode::CREATED)
}

/// The same without a state.
pub fn router_with_extensions(app: Arc<App>) -> Router {
    Router::new()
        .route("/drafts", post(create_draft))
        .layer(Extension(app.engine.clone()))
        .layer(Extension(app))
}
// recipe: end

#[derive(Serialize, Deserialize)]
struct NewInvoice {
    cents: i64,
}

/// The table of the handlers.
pub const SCHEMA: &str = "
    CREATE TABLE invoices (tenant TEXT NOT NULL, cents INTEGER NOT NULL CHECK (cents > 0), currency TEXT NOT NULL)
";

async fn insert(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    new: &NewInvoice,
    currency: &str,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO invoices VALUES (?, ?, ?)");
    let insert = insert.bind(&tenant.0).bind(new.cents).bind(currency);
    insert.execute(tx).await.map(drop)
}
