use std::str::FromStr as _;

use futures_util::{FutureExt as _, TryFutureExt as _};
use idem_core::{PostgresStore, StoreError};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

use super::{Choices, Database, Served, Wires, fresh_name};
use crate::domain::Domain as _;

/// The server on which every test creates a database of its own.
const SERVER: &str = "IDEM_TEST_POSTGRES_URL";

/// A database on a given server.
#[derive(Debug)]
pub struct Postgres<const RECORD_IN_COMMIT: bool = false> {
    server: PgConnectOptions,
    name: String,
}

/// The same, with stores that send a record in COMMIT's message.
pub type RecordInCommit = Postgres<true>;

impl<const RECORD_IN_COMMIT: bool> Postgres<RECORD_IN_COMMIT> {
    /// Applies a setting to all later sessions.
    pub async fn set(&self, setting: &str) {
        self.administrate(&format!("ALTER DATABASE {} SET {setting}", self.name))
            .await;
    }

    async fn administrate(&self, sql: &str) {
        let connected = PgConnection::connect_with(&self.server).await;
        let mut connection = connected.expect("the server can be reached");
        connection.run(sql).await.expect("the server obeys");
        connection.close().await.expect("the connection closes");
    }
}

impl<const RECORD_IN_COMMIT: bool> Served for Postgres<RECORD_IN_COMMIT> {
    async fn on(url: &str) -> Self {
        let server = PgConnectOptions::from_str(url).expect("a URL of PostgreSQL");
        let this = Self {
            // The wire has only what idem sends.
            server: server.ssl_mode(PgSslMode::Disable),
            name: fresh_name(),
        };
        this.administrate(&format!("CREATE DATABASE {}", this.name))
            .await;
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

    fn address(&self) -> (String, u16) {
        (self.server.get_host().to_owned(), self.server.get_port())
    }

    async fn weaken(connection: &mut PgConnection) {
        let weakened = "ALTER SYSTEM SET synchronous_commit = off";
        connection.run(weakened).await.expect("the server obeys");
        let loaded = connection.run("SELECT pg_reload_conf()").await;
        loaded.expect("the server obeys");
    }

    async fn terminate(connection: &mut PgConnection) {
        let sessions = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND xact_start IS NOT NULL \
             AND pid <> pg_backend_pid()";
        connection.number(sessions).await.expect("a number");
    }
}

impl<const RECORD_IN_COMMIT: bool> Database for Postgres<RECORD_IN_COMMIT> {
    type Connection = PgConnection;
    type Store = PostgresStore;

    const RECORDS: &'static str = "idem.records";
    const STATES: &'static str =
        "SELECT encode(identity, 'hex'), CAST(state AS bigint) FROM idem.records";
    const NOW: &'static str = "clock_timestamp()";
    const SECOND: &'static str = "interval '1 second'";
    const EXPIRY_SECONDS: &'static str = "floor(extract(epoch FROM expires_at))::bigint";
    const WRITES: &'static str = "SELECT coalesce(string_agg(version, ' '), '') FROM \
         (SELECT xmin || ':' || xmax || ':' || ctid AS version FROM idem.records \
         UNION ALL SELECT xmin || ':' || xmax || ':' || ctid FROM effects) AS rows";
    const ERRORS_ABORT: bool = true;
    const ONE_WRITER: bool = false;

    fn bytes(hex: &str) -> String {
        format!("'\\x{hex}'::bytea")
    }

    fn has(hex: &str) -> String {
        format!("position('\\x{hex}'::bytea IN response) > 0")
    }

    fn copies(count: usize) -> String {
        format!(
            "INSERT INTO idem.records SELECT sha256(number::text::bytea), operation, state, \
             attempts, status, fingerprint, response, settled_at, expires_at \
             FROM idem.records, generate_series(1, {count}) AS number"
        )
    }

    fn strays(table: &str) -> Option<String> {
        Some(format!(
            "SELECT count(*) FROM {table} WHERE xmin::text NOT IN (SELECT xmin::text FROM idem.records)"
        ))
    }

    async fn create() -> Self {
        let url = std::env::var(SERVER)
            .unwrap_or_else(|_| panic!("set {SERVER} or run `cargo xtask test`"));
        Self::on(&url).await
    }

    fn url(&self) -> String {
        let options = self.server.clone().database(&self.name);
        options.to_url_lossy().to_string()
    }

    async fn connect(&self, wires: Wires) -> PgPool {
        let mut options = self.server.clone().database(&self.name);
        if let Some(address) = wires.through {
            options = options.host(&address.ip().to_string()).port(address.port());
        }
        let options = (wires.session)(options);
        let mut pool = PgPoolOptions::new()
            .max_connections(wires.connections)
            .acquire_timeout(wires.acquire_timeout);
        if !wires.opening.is_empty() {
            pool = pool
                .after_connect(move |session, _| session.run(wires.opening).map_ok(drop).boxed());
        }
        pool.connect_with(options)
            .await
            .expect("the database can be reached")
    }

    async fn store(pool: PgPool, choices: Choices) -> Result<PostgresStore, StoreError> {
        let mut store = PostgresStore::new(pool);
        if RECORD_IN_COMMIT {
            store = store.with_record_in_commit();
        }
        let store = (choices.postgres)(store);
        store.migrate().await?;
        Ok(store)
    }

    async fn unfinished(connection: &mut PgConnection) -> i64 {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND state LIKE 'idle in transaction%'";
        connection.number(sessions).await.expect("a number")
    }

    async fn remove(self) {
        self.administrate(&format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }
}
