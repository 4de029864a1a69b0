use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use sqlx::Connection;
use sqlx::pool::PoolOptions;

use super::{Bank, CONNECTIONS, PoolOf};
use crate::machine::Fact;

/// sqlx's type for the options of a connection.
pub(crate) type OptionsOf<C> = <C as Connection>::Options;

/// A connection to a server.
pub(crate) trait Hosted: Bank {
    /// The variable that names the server; `cargo xtask bench` sets it.
    const SERVER: &'static str;

    /// The tables of all contestants.
    const SCHEMA: &'static str;

    /// The text after the database's name in the statement that drops it.
    const DROPPED: &'static str;

    /// The address of the server.
    fn host(options: &OptionsOf<Self>) -> (&str, u16);

    /// The options to connect to one of the server's databases.
    fn to(options: &OptionsOf<Self>, database: &str) -> OptionsOf<Self>;

    /// The same options through a proxy.
    fn through(options: &OptionsOf<Self>, proxy: SocketAddr) -> OptionsOf<Self>;

    /// The options of pools.
    fn pool_options() -> PoolOptions<Self::Database> {
        PoolOptions::new()
    }

    /// The facts of the server for the report.
    fn facts(&mut self) -> impl Future<Output = Result<Vec<Fact>>> + Send;
}

/// A server, and the databases that were created on it.
#[derive(Debug)]
pub(crate) struct Cluster<C: Hosted> {
    server: OptionsOf<C>,
    created: Mutex<Vec<String>>,
}

impl<C: Hosted> Cluster<C> {
    pub(crate) fn from_environment() -> Result<Self> {
        let variable = C::SERVER;
        let url = std::env::var(variable)
            .with_context(|| format!("set {variable}, or run `cargo xtask bench`"))?;
        Self::of(&url)
    }

    /// The server with this URL.
    pub(crate) fn of(url: &str) -> Result<Self> {
        Ok(Self {
            server: url.parse()?,
            created: Mutex::default(),
        })
    }

    /// The address of the server.
    pub(crate) async fn address(&self) -> Result<SocketAddr> {
        let mut addresses = tokio::net::lookup_host(C::host(&self.server)).await?;
        addresses.next().context("the server has no address")
    }

    /// Creates a database with the tables of all contestants.
    pub(crate) async fn create(&self) -> Result<Created<C>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let name = format!("idem_bench_{}_{}", std::process::id(), now.as_micros());
        self.administrate(format!("CREATE DATABASE {name}")).await?;
        self.names().push(name.clone());
        let database = Created::<C> {
            options: C::to(&self.server, &name),
        };
        let pool = database.pool(None).await?;
        pool.acquire().await?.run(C::SCHEMA).await?;
        C::migrate(&C::store(pool.clone())).await?;
        pool.close().await;
        Ok(database)
    }

    /// Drops the databases that were created.
    pub(crate) async fn remove(&self) -> Result<()> {
        let names: Vec<String> = self.names().drain(..).collect();
        for name in names {
            let drop = format!("DROP DATABASE IF EXISTS {name} {}", C::DROPPED);
            self.administrate(drop).await?;
        }
        Ok(())
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        let names = self.created.lock();
        names.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn administrate(&self, sql: String) -> Result<()> {
        let connected = C::connect_with(&self.server).await;
        let mut connection = connected.with_context(|| format!("can't connect to {}", C::NAME))?;
        connection.administrate(sql).await?;
        Ok(connection.close().await?)
    }
}

/// A database of this run.
#[derive(Debug, Clone)]
pub(crate) struct Created<C: Hosted> {
    options: OptionsOf<C>,
}

impl<C: Hosted> Created<C> {
    /// The options to connect to it.
    pub(crate) fn options(&self) -> OptionsOf<C> {
        self.options.clone()
    }

    /// A pool of connections to the database, through a proxy if there is one.
    pub(crate) async fn pool(&self, through: Option<SocketAddr>) -> Result<PoolOf<C>> {
        let options = match through {
            Some(proxy) => C::through(&self.options, proxy),
            None => self.options.clone(),
        };
        let pool = C::pool_options()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options);
        Ok(pool.await?)
    }
}
