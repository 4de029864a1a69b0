//! The databases that the service runs on.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use idem_axum::{MySqlStore, PostgresStore, SqliteStore};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor as _, MySqlConnection, PgConnection, SqliteConnection};

use crate::api::App;
use crate::serve::Flags;

/// The kinds of databases.
#[derive(Debug, Clone, Copy)]
pub enum Database {
    /// PostgreSQL.
    Postgres,
    /// MariaDB or MySQL.
    Mysql,
    /// An SQLite file.
    Sqlite,
}

/// Opens an SQLite file, which is created on the first start.
///
/// # Errors
///
/// If it can't be opened, or its tables can't be created.
pub async fn sqlite(flags: &Flags) -> anyhow::Result<App<SqliteConnection>> {
    let url = flags.database_url.as_str();
    let options = SqliteConnectOptions::from_str(url)
        .with_context(|| format!("{url} is not an SQLite URL"))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .with_context(|| format!("can't open {url}"))?;
    sqlx::raw_sql(include_str!("../schema/sqlite.sql"))
        .execute(&pool)
        .await?;
    let store = SqliteStore::new(pool.clone());
    App::new(store, pool, flags).await
}

/// Connects to PostgreSQL.
///
/// # Errors
///
/// If it can't be reached, or its tables can't be created.
pub async fn postgres(flags: &Flags) -> anyhow::Result<App<PgConnection>> {
    let url = flags.database_url.as_str();
    let pool = PgPoolOptions::new()
        .connect(url)
        .await
        .context("can't connect to the database")?;
    // Two instances that start at once must not create the tables concurrently.
    let schema = concat!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('payments schema')); ",
        include_str!("../schema/postgres.sql"),
        "; COMMIT"
    );
    sqlx::raw_sql(schema).execute(&pool).await?;
    let store = PostgresStore::new(pool.clone());
    App::new(store, pool, flags).await
}

/// Connects to MariaDB or MySQL.
///
/// # Errors
///
/// If it can't be reached, or its tables can't be created.
pub async fn mysql(flags: &Flags) -> anyhow::Result<App<MySqlConnection>> {
    // PostgreSQL's default. Payments of one account then wait for each other, and none fails
    // because another was faster.
    const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    let url = flags.database_url.as_str();
    let pool = MySqlPoolOptions::new()
        .after_connect(|connection, _| {
            Box::pin(async { connection.execute(SESSION).await.map(drop) })
        })
        .connect(url)
        .await
        .context("can't connect to the database")?;
    sqlx::raw_sql(include_str!("../schema/mysql.sql"))
        .execute(&pool)
        .await?;
    let store = MySqlStore::new(pool.clone());
    App::new(store, pool, flags).await
}
