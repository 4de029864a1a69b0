use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, TryFutureExt as _};
use idem_core::{MySqlStore, StoreError};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection, MySqlPool, Row as _};

use super::{Choices, Database, Served, Wires, fresh_name};
use crate::domain::Domain as _;
use crate::scene::Act;

/// The server on which every test creates a database of its own: MariaDB or MySQL.
const SERVER: &str = "IDEM_TEST_MYSQL_URL";

/// The nodes of a cluster, with spaces between them.
const NODES: &str = "IDEM_TEST_GALERA_URLS";

/// A database on a given server, or on a cluster of servers.
#[derive(Debug)]
pub struct Mysql<const CLUSTER: bool = false> {
    servers: Vec<MySqlConnectOptions>,
    /// The number of pools so far: each connects to the next server.
    pools: AtomicUsize,
    name: String,
}

/// On a cluster, where every instance uses another node.
pub type Galera = Mysql<true>;

impl<const CLUSTER: bool> Mysql<CLUSTER> {
    /// The name of the database on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn administrate(&self, sql: &str) {
        let connected = MySqlConnection::connect_with(&self.servers[0]).await;
        let mut connection = connected.expect("the server can be reached");
        connection.run(sql).await.expect("the server obeys");
        connection.close().await.expect("the connection closes");
    }
}

impl<const CLUSTER: bool> Served for Mysql<CLUSTER> {
    async fn on(urls: &str) -> Self {
        let server = |url| {
            let server = MySqlConnectOptions::from_str(url).expect("a URL of MariaDB or MySQL");
            // The wire has only what idem sends.
            server.ssl_mode(MySqlSslMode::Disabled)
        };
        let this = Self {
            servers: urls.split_whitespace().map(server).collect(),
            pools: AtomicUsize::new(0),
            name: fresh_name(),
        };
        let (name, tables) = (&this.name, Self::SCHEMA);
        this.administrate(&format!("CREATE DATABASE {name}; USE {name}; {tables}"))
            .await;
        this
    }

    fn address(&self) -> (String, u16) {
        let server = &self.servers[0];
        (server.get_host().to_owned(), server.get_port())
    }

    async fn weaken(connection: &mut MySqlConnection) {
        let weakened = "SET GLOBAL innodb_flush_log_at_trx_commit = 0";
        connection.run(weakened).await.expect("the server obeys");
    }

    async fn terminate(connection: &mut MySqlConnection) {
        for session in unfinished(connection).await {
            // The session may have ended by itself.
            let _ = connection.run(&format!("KILL {session}")).await;
        }
    }
}

impl<const CLUSTER: bool> Database for Mysql<CLUSTER> {
    type Connection = MySqlConnection;
    type Store = MySqlStore;

    const SCHEMA: &'static str = "
        CREATE TABLE effects (tenant VARCHAR(255) NOT NULL, label TEXT NOT NULL) CHARACTER SET utf8mb4;
        CREATE TABLE names (name VARCHAR(255) NOT NULL PRIMARY KEY);
    ";
    const RECORDS: &'static str = "idem_records";
    const STATES: &'static str =
        "SELECT LOWER(HEX(identity)), CAST(state AS SIGNED) FROM idem_records";
    const NOW: &'static str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";
    const SECOND: &'static str = "1000000";
    const EXPIRY_SECONDS: &'static str = "expires_at DIV 1000000";
    const WRITES: &'static str = "SELECT CAST(CONCAT( \
         (SELECT COALESCE(GROUP_CONCAT(HEX(identity), attempts, settled_at), '') FROM idem_records), \
         (SELECT COUNT(*) FROM effects)) AS CHAR)";
    const ERRORS_ABORT: bool = false;
    const AUTOCOMMITS: bool = false;
    const ONE_WRITER: bool = false;

    fn bytes(hex: &str) -> String {
        format!("x'{hex}'")
    }

    fn has(hex: &str) -> String {
        format!("LOCATE(x'{hex}', response) > 0")
    }

    fn copies(count: usize) -> String {
        let digits = "(SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
             UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 \
             UNION ALL SELECT 8 UNION ALL SELECT 9)";
        format!(
            "INSERT INTO idem_records SELECT UNHEX(SHA2(numbers.number, 256)), operation, state, \
             attempts, status, fingerprint, response, settled_at, expires_at FROM idem_records, \
             (SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n AS number \
             FROM {digits} AS a, {digits} AS b, {digits} AS c, {digits} AS d) AS numbers \
             WHERE numbers.number < {count}"
        )
    }

    /// MySQL has no deferred constraints, but a session can be killed.
    fn doom() -> Act {
        Act::swallow("KILL CONNECTION_ID()")
    }

    async fn create() -> Self {
        let (variable, task) = if CLUSTER {
            (NODES, "cargo xtask test --galera")
        } else {
            (SERVER, "cargo xtask test")
        };
        let urls =
            std::env::var(variable).unwrap_or_else(|_| panic!("set {variable} or run `{task}`"));
        Self::on(&urls).await
    }

    fn url(&self) -> String {
        let options = self.servers[0].clone().database(&self.name);
        options.to_url_lossy().to_string()
    }

    async fn connect(&self, wires: Wires) -> MySqlPool {
        let server = self.pools.fetch_add(1, Ordering::Relaxed) % self.servers.len();
        let mut options = self.servers[server].clone().database(&self.name);
        if let Some(address) = wires.through {
            options = options.host(&address.ip().to_string()).port(address.port());
        }
        let mut pool = MySqlPoolOptions::new()
            .max_connections(wires.connections)
            .acquire_timeout(wires.acquire_timeout);
        if !wires.opening.is_empty() {
            pool = pool
                .after_connect(move |session, _| session.run(wires.opening).map_ok(drop).boxed());
        }
        let pool = pool.connect_lazy_with(options);
        // A node of a cluster sees tables that were created on another node a little later.
        let mut connection = pool.acquire().await;
        for _ in 0..100 {
            if let Ok(connection) = &mut connection
                && connection.run("SELECT 1 FROM names").await.is_ok()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            connection = pool.acquire().await;
        }
        drop(connection.expect("the database can be reached"));
        pool
    }

    async fn store(pool: MySqlPool, _: Choices) -> Result<MySqlStore, StoreError> {
        let store = MySqlStore::new(pool);
        store.migrate().await?;
        Ok(store)
    }

    async fn unfinished(connection: &mut MySqlConnection) -> i64 {
        i64::try_from(unfinished(connection).await.len()).unwrap_or(i64::MAX)
    }

    async fn remove(self) {
        self.administrate(&format!("DROP DATABASE {}", self.name))
            .await;
    }
}

/// The other sessions of this database that are inside a transaction.
///
/// Not from `information_schema.innodb_trx`: the server refreshes it only after 100 ms without a
/// read, by any session.
async fn unfinished(connection: &mut MySqlConnection) -> Vec<i64> {
    let status = sqlx::raw_sql("SHOW ENGINE INNODB STATUS");
    let status = status.fetch_one(&mut *connection).await;
    let status: Vec<u8> = status
        .and_then(|row| row.try_get_unchecked("Status"))
        .expect("the server shows its status");
    let others = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
         WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    // MySQL can't always show the bytes of a running statement.
    let others: Vec<i64> = loop {
        let shown = sqlx::query_scalar(others).fetch_all(&mut *connection).await;
        match shown {
            Err(sqlx::Error::Database(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            shown => break shown.expect("numbers"),
        }
    };
    let status = String::from_utf8_lossy(&status);
    let transactions = status.split("---TRANSACTION ").skip(1);
    let sessions = transactions.filter_map(|transaction| {
        let (_, active) = transaction.split_once(", ACTIVE ")?;
        let (_, session) = active.split_once("thread id ")?;
        session.split(',').next()?.parse().ok()
    });
    sessions
        .filter(|session| others.contains(session))
        .collect()
}
