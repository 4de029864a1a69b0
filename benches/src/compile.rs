//! How long the attribute takes to compile.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::race::median;

/// How many handlers a crate has.
const HANDLERS: u32 = 100;

/// Written once the dependencies are built.
const MARK: &str = "dependencies-are-built";

/// The results.
pub(crate) struct Cost {
    /// How many seconds protected handlers take beyond bare ones.
    pub(crate) seconds: Option<f64>,
    /// The section of the report.
    pub(crate) text: String,
}

/// Checks a crate of protected handlers and one of bare handlers, in turn.
pub(crate) fn run(target: &Path, quick: bool) -> Result<Cost> {
    let folder = target.join("bench-compile");
    let mark = folder.join(MARK);
    if quick && !mark.exists() {
        return Ok(Cost {
            seconds: None,
            text:
                "Skipped: the dependencies of the crates that are compiled for it would have to be \
                   built first, which a quick run has no time for. A full run does it.\n"
                    .to_owned(),
        });
    }
    write(&folder)?;
    let (mut bare, mut protected) = (Vec::new(), Vec::new());
    check(target, &folder, "bare")?;
    check(target, &folder, "protected")?;
    fs::write(mark, "")?;
    for _ in 0..if quick { 1 } else { 3 } {
        bare.push(check(target, &folder, "bare")?);
        protected.push(check(target, &folder, "protected")?);
    }
    let (bare, protected) = (median(&bare), median(&protected));
    let more = protected - bare;
    Ok(Cost {
        seconds: Some(more),
        text: format!(
            "`cargo check` of {HANDLERS} handlers, dependencies built: {protected:.2} s protected, \
             {bare:.2} s bare, so {more:.2} s more. Medians of {}.\n",
            if quick { "one" } else { "three" },
        ),
    })
}

/// How many seconds it takes to check a crate that was touched.
fn check(target: &Path, folder: &Path, name: &str) -> Result<f64> {
    let source = folder.join(name).join("src/lib.rs");
    let text = fs::read_to_string(&source)?;
    fs::write(&source, text)?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["check", "--quiet", "--release", "--package", name])
        .arg("--target-dir")
        .arg(target)
        .current_dir(folder)
        .stdin(Stdio::null());
    let start = Instant::now();
    let status = command.status().context("can't run cargo")?;
    ensure!(status.success(), "the crate `{name}` does not compile");
    Ok(start.elapsed().as_secs_f64())
}

fn write(folder: &Path) -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = workspace.context("the benchmark is outside of its workspace")?;
    let manifest = "[workspace]\nmembers = [\"bare\", \"protected\"]\nresolver = \"3\"\n";
    for (name, source) in [("bare", bare()), ("protected", protected())] {
        fs::create_dir_all(folder.join(name).join("src"))?;
        let package = package(name, workspace);
        fs::write(folder.join(name).join("Cargo.toml"), package)?;
        fs::write(folder.join(name).join("src/lib.rs"), source)?;
    }
    fs::write(folder.join("Cargo.toml"), manifest)?;
    // The same versions, so that nothing has to be downloaded.
    fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(())
}

fn package(name: &str, workspace: &Path) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
axum = {{ version = "0.8", default-features = false, features = ["json"] }}
idem-axum = {{ path = '{}', features = ["postgres"] }}
serde = {{ version = "1", features = ["derive"] }}
sqlx = {{ version = "0.9", default-features = false, features = ["postgres", "runtime-tokio"] }}
"#,
        workspace.join("idem-axum").display()
    )
}

const COMMON: &str = r#"
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

pub struct Tenant(String);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let header = parts.headers.get("x-tenant").and_then(|value| value.to_str().ok());
        header.map(|tenant| Tenant(tenant.to_owned())).ok_or(StatusCode::UNAUTHORIZED)
    }
}

#[derive(Serialize, Deserialize)]
pub struct NewOrder {
    item: String,
    count: i64,
}

const INSERT: &str = "INSERT INTO orders (tenant, item, count) VALUES ($1, $2, $3)";

fn failed(_: sqlx::Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}
"#;

fn bare() -> String {
    let handler = r"
async fn create_NUMBER(
    State(pool): State<PgPool>,
    tenant: Tenant,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Json<NewOrder>), StatusCode> {
    let mut tx = pool.begin().await.map_err(failed)?;
    let insert = sqlx::query(INSERT).bind(&tenant.0).bind(&order.item).bind(order.count);
    insert.execute(&mut *tx).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(order)))
}
";
    let head = "use axum::extract::State;\nuse sqlx::PgPool;\n";
    source(head, handler, "PgPool")
}

fn protected() -> String {
    let handler = r#"
#[idempotent(ttl = "24h", scope = "tenant")]
async fn create_NUMBER(
    tx: &mut PgConnection,
    tenant: Tenant,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Json<NewOrder>), StatusCode> {
    let insert = sqlx::query(INSERT).bind(&tenant.0).bind(&order.item).bind(order.count);
    insert.execute(tx).await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(order)))
}
"#;
    let head = "use idem_axum::{Engine, Scope, PostgresStore, idempotent};\n\
         use sqlx::PgConnection;\n\n\
         impl Scope for Tenant {\n    fn scope(&self) -> std::borrow::Cow<'_, str> {\n        \
         self.0.as_str().into()\n    }\n}\n";
    source(head, handler, "Engine<PostgresStore>")
}

fn source(head: &str, handler: &str, state: &str) -> String {
    let mut source = format!("//! Handlers, to be compiled.\n{COMMON}\n{head}");
    let mut routes = String::new();
    for number in 0..HANDLERS {
        source.push_str(&handler.replace("NUMBER", &number.to_string()));
        let _ = writeln!(
            routes,
            "        .route(\"/orders/{number}\", post(create_{number}))"
        );
    }
    let _ = write!(
        source,
        "\npub fn router() -> Router<{state}> {{\n    Router::new()\n{routes}}}\n"
    );
    source
}
