use std::path::PathBuf;
use std::time::Duration;

use idem_core::{SqliteStore, StoreError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};
use tempfile::TempDir;

use super::{Choices, Database, Wires};
use crate::domain::Domain as _;

/// A temporary file in WAL mode.
#[derive(Debug)]
pub struct Sqlite {
    folder: TempDir,
}

impl Sqlite {
    /// A database in this folder, which is removed with it.
    pub async fn within(folder: TempDir) -> Self {
        let this = Self { folder };
        let pool = this.connect(Wires::default()).await;
        let mut connection = pool.acquire().await.expect("a connection");
        connection
            .run(Self::SCHEMA)
            .await
            .expect("the schema is valid");
        drop(connection);
        pool.close().await;
        this
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("test.sqlite")
    }
}

impl Database for Sqlite {
    type Connection = SqliteConnection;
    type Store = SqliteStore;

    const RECORDS: &'static str = "idem_records";
    const STATES: &'static str = "SELECT lower(hex(identity)), state FROM idem_records";
    const NOW: &'static str = "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)";
    const SECOND: &'static str = "1000000";
    const EXPIRY_SECONDS: &'static str = "expires_at / 1000000";
    const WRITES: &'static str = "SELECT CAST(data_version AS TEXT) FROM pragma_data_version";
    const ERRORS_ABORT: bool = false;
    const ONE_WRITER: bool = true;

    fn bytes(hex: &str) -> String {
        format!("x'{hex}'")
    }

    fn has(hex: &str) -> String {
        format!("instr(response, x'{hex}') > 0")
    }

    fn copies(count: usize) -> String {
        format!(
            "WITH RECURSIVE numbers (number) AS \
             (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count}) \
             INSERT INTO idem_records SELECT randomblob(32), operation, state, attempts, status, \
             fingerprint, response, settled_at, expires_at FROM idem_records, numbers"
        )
    }

    async fn create() -> Self {
        Self::within(TempDir::new().expect("a temporary folder")).await
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    async fn connect(&self, wires: Wires) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(self.file())
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        SqlitePoolOptions::new()
            .max_connections(wires.connections)
            .acquire_timeout(wires.acquire_timeout)
            .connect_with(options)
            .await
            .expect("the file can be opened")
    }

    async fn store(pool: SqlitePool, _: Choices) -> Result<SqliteStore, StoreError> {
        let store = SqliteStore::new(pool);
        store.migrate().await?;
        Ok(store)
    }

    async fn unfinished(connection: &mut SqliteConnection) -> i64 {
        // A session inside a writing transaction blocks other writers.
        let begun = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK";
        let writing = connection.run(begun).await;
        i64::from(writing.is_err())
    }

    async fn remove(self) {
        self.folder.close().expect("the folder can be removed");
    }
}
