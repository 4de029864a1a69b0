use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::{Bank as _, CONNECTIONS, Sql as _};

/// The server that `cargo xtask bench` names.
const SERVER: &str = "IDEM_TEST_POSTGRES_URL";

/// A server, and the databases that were created on it.
#[derive(Debug)]
pub(crate) struct Cluster {
    server: PgConnectOptions,
    created: Mutex<Vec<String>>,
}

impl Cluster {
    pub(crate) fn from_environment() -> Result<Self> {
        let url = std::env::var(SERVER)
            .with_context(|| format!("set {SERVER}, or run `cargo xtask bench`"))?;
        Ok(Self {
            server: PgConnectOptions::from_str(&url)?,
            created: Mutex::default(),
        })
    }

    /// Where the server listens.
    pub(crate) async fn address(&self) -> Result<SocketAddr> {
        let host = (self.server.get_host(), self.server.get_port());
        let mut addresses = tokio::net::lookup_host(host).await?;
        addresses.next().context("the server has no address")
    }

    /// Creates a database with the tables of all contestants.
    pub(crate) async fn create(&self) -> Result<Database> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let name = format!("idem_bench_{}_{}", std::process::id(), now.as_micros());
        self.administrate(format!("CREATE DATABASE {name}")).await?;
        self.names().push(name.clone());
        let database = Database {
            options: self.server.clone().database(&name),
        };
        let pool = database.pool(None).await?;
        let schema = include_str!("../../schema/postgres.sql");
        pool.acquire().await?.run(schema).await?;
        PgConnection::migrate(&PgConnection::store(pool.clone())).await?;
        pool.close().await;
        Ok(database)
    }

    /// Drops what was created.
    pub(crate) async fn remove(&self) -> Result<()> {
        let names: Vec<String> = self.names().drain(..).collect();
        for name in names {
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            self.administrate(drop).await?;
        }
        Ok(())
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        let names = self.created.lock();
        names.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn administrate(&self, sql: String) -> Result<()> {
        let connected = PgConnection::connect_with(&self.server).await;
        let mut connection = connected.context("can't connect to PostgreSQL")?;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }
}

/// A database of this run.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    options: PgConnectOptions,
}

impl Database {
    /// A pool on it, through a proxy if there is one.
    pub(crate) async fn pool(&self, through: Option<SocketAddr>) -> Result<PgPool> {
        let mut options = self.options.clone();
        if let Some(proxy) = through {
            options = options.host(&proxy.ip().to_string()).port(proxy.port());
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options);
        Ok(pool.await?)
    }
}
