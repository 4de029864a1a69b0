//! Work that is accepted now and done later.

use std::time::Duration;

use axum::extract::{FromRef, Path, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderName, LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use idem_axum::once::{self, Key, Policy};
use idem_axum::{Attempt, Engine, SqliteStore, idempotent};
use idem_outbox::{Failure, Message, Outbox, OutboxStore, Relay};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: handler
/// The order and the message about it are one commit: who has the 202 gets the report.
#[idempotent(ttl = "24h", scope = "tenant", state = App)]
async fn order_report(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    tenant: Tenant,
    State(app): State<App>,
    Json(order): Json<NewReport>,
) -> Result<(StatusCode, [(HeaderName, String); 1]), Failed> {
    let insert = sqlx::query("INSERT INTO reports (tenant, month) VALUES (?, ?)");
    let insert = insert.bind(&tenant.0).bind(&order.month);
    let id = insert.execute(&mut *tx).await?.last_insert_rowid();
    app.outbox.push(tx, attempt, "reports", &id).await?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, format!("/reports/{id}"))]))
}

/// The place where the client asks for the outcome.
async fn report(
    tenant: Tenant,
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Response, Failed> {
    let content = sqlx::query_scalar("SELECT content FROM reports WHERE tenant = ? AND id = ?");
    let content = content.bind(&tenant.0).bind(id).fetch_optional(&app.pool);
    Ok(match content.await? {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(None::<String>) => ([(RETRY_AFTER, "2")], StatusCode::ACCEPTED).into_response(),
        Some(Some(content)) => content.into_response(),
    })
}

static WRITE: Policy = Policy::new("write_report", Duration::from_hours(24));

/// Writes the reports: in a task of the service, or in processes of their own. A message that comes again, as after a
/// crash, does nothing.
pub fn writer(
    app: App,
) -> Relay<
    impl OutboxStore<Connection = SqliteConnection>,
    impl AsyncFn(Message) -> Result<(), Failure>,
> {
    let outbox = app.outbox.clone();
    let write = async move |message: Message| {
        let id: i64 = serde_json::from_slice(&message.payload)?;
        let key = Key::unscoped(&message.id);
        let written = app.engine.once(&WRITE, key, &id, async |tx, _| {
            write_report(tx, id)
                .await
                .map_err(once::Failure::<_, String>::Again)
        });
        written.await?;
        Ok(())
    };
    Relay::new(outbox, write).with_timeout(Duration::from_mins(1))
}
// recipe: end

async fn write_report(tx: &mut SqliteConnection, id: i64) -> sqlx::Result<()> {
    let write =
        "UPDATE reports SET content = 'sales of ' || month, writes = writes + 1 WHERE id = ?";
    sqlx::query(write).bind(id).execute(tx).await?;
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct NewReport {
    month: String,
}

/// The state of the router.
#[derive(Clone)]
pub struct App {
    /// The engine of the handlers and of the writer.
    pub engine: Engine<SqliteStore>,
    /// The messages.
    pub outbox: Outbox<SqliteStore>,
    /// The database.
    pub pool: SqlitePool,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

/// The table of the handlers.
pub const SCHEMA: &str = "
    CREATE TABLE reports (
        id      INTEGER PRIMARY KEY,
        tenant  TEXT    NOT NULL,
        month   TEXT    NOT NULL,
        content TEXT,
        writes  INTEGER NOT NULL DEFAULT 0
    );
";

/// The endpoints.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/reports", post(order_report))
        .route("/reports/{id}", get(report))
        .with_state(app)
}
