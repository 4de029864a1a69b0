//! An upload.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Extension, FromRef, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, Multipart, MultipartLimits, Spooled, SqliteStore, idempotent};
use serde::Serialize;
use sqlx::SqliteConnection;
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: handler
#[idempotent(ttl = "24h", scope = "tenant")]
async fn upload(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    State(app): State<App>,
    form: Multipart,
) -> Result<Response, Failed> {
    let photo = form
        .parts
        .into_iter()
        .find(|part| part.head.name.as_deref() == Some("photo"));
    let Some(photo) = photo else {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, "no photo").into_response());
    };
    let digest = hex(&photo.sha256);
    let (folder, name) = (app.folder.clone(), digest.clone());
    // The file before the row: a file without a row does no harm, a row without a file does.
    spawn_blocking(move || keep(&folder, &name, &photo.content)).await??;
    let insert =
        sqlx::query_scalar("INSERT INTO photos (tenant, digest) VALUES (?, ?) RETURNING id");
    let id = insert.bind(&tenant.0).bind(&digest).fetch_one(tx).await?;
    Ok((StatusCode::CREATED, Json(Photo { id, digest })).into_response())
}

/// Stores the content under its digest. The same content again replaces the file by an equal one.
fn keep(folder: &Path, digest: &str, content: &Spooled) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    match content {
        Spooled::Memory(bytes) => file.write_all(bytes)?,
        Spooled::File(path) => drop(io::copy(&mut File::open(path)?, &mut file)?),
    }
    file.as_file().sync_all()?;
    file.persist(folder.join(digest))?;
    Ok(())
}
// recipe: end

#[derive(Serialize)]
struct Photo {
    id: i64,
    digest: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A `String` can always be written to.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Clone)]
struct App {
    engine: Engine<SqliteStore>,
    folder: Arc<PathBuf>,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

/// The table of the handler.
pub const SCHEMA: &str =
    "CREATE TABLE photos (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, digest TEXT NOT NULL)";

/// The endpoint, which stores its files in `folder`.
pub fn router(engine: Engine<SqliteStore>, folder: PathBuf) -> Router {
    let folder = Arc::new(folder);
    // recipe: limits
    // 8 MiB for all parts, of which 64 KiB are kept in memory, and a little more for what is around them.
    let limits = MultipartLimits::new()
        .with_total(8 << 20)
        .with_memory(64 << 10);
    Router::new()
        .route("/photos", post(upload))
        .layer(Extension(limits))
        .layer(DefaultBodyLimit::max(9 << 20))
        // recipe: end
        .with_state(App { engine, folder })
}
