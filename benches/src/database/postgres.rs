use std::net::SocketAddr;

use anyhow::Result;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use super::Hosted;
use crate::machine::{self, Fact};

impl Hosted for PgConnection {
    const SERVER: &'static str = "IDEM_TEST_POSTGRES_URL";
    const SCHEMA: &'static str = include_str!("../../schema/postgres.sql");
    const DROPPED: &'static str = "WITH (FORCE)";

    fn host(options: &PgConnectOptions) -> (&str, u16) {
        (options.get_host(), options.get_port())
    }

    fn to(options: &PgConnectOptions, database: &str) -> PgConnectOptions {
        options.clone().database(database)
    }

    fn through(options: &PgConnectOptions, proxy: SocketAddr) -> PgConnectOptions {
        let (host, port) = (proxy.ip().to_string(), proxy.port());
        options.clone().host(&host).port(port)
    }

    async fn facts(&mut self) -> Result<Vec<Fact>> {
        machine::postgres(self).await
    }
}
