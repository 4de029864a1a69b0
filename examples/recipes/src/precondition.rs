//! PATCH with If-Match.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::patch;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: handler
#[idempotent(ttl = "24h", scope = "tenant")]
async fn change(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Path(id): Path<i64>,
    IfMatch(etag): IfMatch,
    Json(change): Json<Change>,
) -> Result<Response, Failed> {
    let version = rename(tx, &tenant, id, &etag, &change).await?;
    Ok(match version {
        Some(version) => ([(ETAG, format!("\"{version}\""))], Json(change)).into_response(),
        None => StatusCode::PRECONDITION_FAILED.into_response(),
    })
}

/// Compares the version and writes in one statement. `None` if the document has another version.
async fn rename(
    tx: &mut SqliteConnection,
    tenant: &Tenant,
    id: i64,
    etag: &str,
    change: &Change,
) -> sqlx::Result<Option<i64>> {
    let update = sqlx::query_scalar(
        "UPDATE documents SET title = ?, version = version + 1 \
         WHERE tenant = ? AND id = ? AND '\"' || version || '\"' = ? RETURNING version",
    );
    let update = update
        .bind(&change.title)
        .bind(&tenant.0)
        .bind(id)
        .bind(etag);
    update.fetch_optional(tx).await
}

/// The version that the client has read. Without it, 428 before anything is claimed.
struct IfMatch(String);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let etag = parts
            .headers
            .get(IF_MATCH)
            .and_then(|value| value.to_str().ok());
        let etag = etag.ok_or(StatusCode::PRECONDITION_REQUIRED)?;
        Ok(Self(etag.to_owned()))
    }
}
// recipe: end

#[derive(Serialize, Deserialize)]
struct Change {
    title: String,
}

/// The same with the header bound, for comparison.
#[idempotent(ttl = "24h", scope = "tenant", bind = header("if-match"))]
async fn change_bound(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Path(id): Path<i64>,
    IfMatch(etag): IfMatch,
    Json(change): Json<Change>,
) -> Result<Response, Failed> {
    Ok(match rename(tx, &tenant, id, &etag, &change).await? {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => StatusCode::PRECONDITION_FAILED.into_response(),
    })
}

/// The table of the handlers.
pub const SCHEMA: &str = "
    CREATE TABLE documents (
        id      INTEGER PRIMARY KEY,
        tenant  TEXT    NOT NULL,
        title   TEXT    NOT NULL,
        version INTEGER NOT NULL
    );
    INSERT INTO documents VALUES (1, 'acme', 'Draft', 1);
";

/// The endpoints.
pub fn router(engine: Engine<SqliteStore>) -> Router {
    Router::new()
        .route("/documents/{id}", patch(change))
        .route("/bound/{id}", patch(change_bound))
        .with_state(engine)
}
