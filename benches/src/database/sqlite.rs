use std::time::Duration;

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};
use tempfile::TempDir;

use super::{Bank as _, CONNECTIONS, Sql as _};

/// A database file in a temporary folder. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct File {
    folder: TempDir,
}

impl File {
    /// Creates a database with the tables of all contestants.
    pub(crate) async fn create() -> Result<Self> {
        let folder = TempDir::new()?;
        let file = Self { folder };
        let pool = file.pool().await?;
        let schema = include_str!("../../schema/sqlite.sql");
        pool.acquire().await?.run(schema).await?;
        SqliteConnection::migrate(&SqliteConnection::store(pool.clone())).await?;
        pool.close().await;
        Ok(file)
    }

    /// A pool of connections to the database.
    pub(crate) async fn pool(&self) -> Result<SqlitePool> {
        let options = SqliteConnectOptions::new()
            .filename(self.folder.path().join("bench.sqlite"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Sixteen writers that poll for one lock starve each other for seconds.
            .busy_timeout(Duration::from_mins(1));
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_mins(1))
            .connect_with(options);
        Ok(pool.await?)
    }
}
