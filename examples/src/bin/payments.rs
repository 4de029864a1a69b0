//! The ledger service on an SQLite file, which is created on the first start.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use idem_axum::{Engine, SqliteStore};
use idem_examples::api::App;
use idem_examples::serve::{Flags, log, serve};
use sqlx::SqliteConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

#[derive(Parser)]
#[command(about)]
struct Command {
    #[command(flatten)]
    flags: Flags,

    /// The database; created if it is missing.
    #[arg(long, default_value = "sqlite:payments.sqlite")]
    database_url: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let Command {
        flags,
        database_url,
    } = Command::parse();
    let options = SqliteConnectOptions::from_str(&database_url)
        .with_context(|| format!("{database_url} is no SQLite URL"))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .with_context(|| format!("can't open {database_url}"))?;
    sqlx::raw_sql(include_str!("../../schema/sqlite.sql"))
        .execute(&pool)
        .await?;

    let store = SqliteStore::new(pool.clone());
    store.migrate().await?;
    let app = App::<SqliteConnection> {
        engine: Engine::new(store),
        pool,
        work: flags.work(),
    };
    serve(&flags, app).await
}
