use std::net::SocketAddr;

use anyhow::Result;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{Executor as _, MySqlConnection};

use super::Hosted;
use crate::machine::{self, Fact};

/// PostgreSQL's default. With MariaDB's own default, from 11.6 on, a payment fails if it has read a
/// balance before another payment of its customer commits.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

impl Hosted for MySqlConnection {
    const SERVER: &'static str = "IDEM_TEST_MYSQL_URL";
    const SCHEMA: &'static str = include_str!("../../schema/mysql.sql");
    const DROPPED: &'static str = "";

    fn host(options: &MySqlConnectOptions) -> (&str, u16) {
        (options.get_host(), options.get_port())
    }

    fn to(options: &MySqlConnectOptions, database: &str) -> MySqlConnectOptions {
        options.clone().database(database)
    }

    fn through(options: &MySqlConnectOptions, proxy: SocketAddr) -> MySqlConnectOptions {
        let (host, port) = (proxy.ip().to_string(), proxy.port());
        options.clone().host(&host).port(port)
    }

    fn pool_options() -> MySqlPoolOptions {
        MySqlPoolOptions::new().after_connect(|connection, _| {
            Box::pin(async { connection.execute(SESSION).await.map(drop) })
        })
    }

    async fn facts(&mut self) -> Result<Vec<Fact>> {
        machine::mysql(self).await
    }
}
