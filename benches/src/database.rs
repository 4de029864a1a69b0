//! The databases that are measured, each made for one run and removed at its end.

use std::future::Future;

use anyhow::Result;
use idem_axum::{Open, Transaction};
use idem_outbox::OutboxStore;
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, Connection, Database, MySqlConnection, PgConnection, Pool, Row as _,
    SqliteConnection,
};

use crate::business::Ledger;
use crate::contestant::{Floor, Leases, Responses};

mod mysql;
mod postgres;
mod server;
mod sqlite;

pub(crate) use self::server::{Cluster, Created, Hosted};
pub(crate) use self::sqlite::File;

/// Implements a trait for the connections of all databases. PostgreSQL and SQLite understand the
/// same statements, but sqlx has no bound for that. The last arguments are for MySQL alone.
macro_rules! on_all {
    ($trait:ident { $($items:tt)* } $(mysql { $($own:tt)* })?) => {
        impl $trait for sqlx::PgConnection {
            $($items)*
        }

        impl $trait for sqlx::SqliteConnection {
            $($items)*
        }

        impl $trait for sqlx::MySqlConnection {
            $($($own)*)?
            $($items)*
        }
    };
}

pub(crate) use on_all;

/// How many connections every pool has.
pub(crate) const CONNECTIONS: u32 = 16;

/// sqlx's type for the pool of a connection.
pub(crate) type PoolOf<C> = Pool<<C as Connection>::Database>;

/// sqlx's type for a statement with bound values.
pub(crate) type QueryOf<'q, C> =
    Query<'q, <C as Connection>::Database, <<C as Connection>::Database as Database>::Arguments>;

/// A connection that every contestant can work on.
pub(crate) trait Bank:
    Connection
    + Transaction<Connection = Self, Store: OutboxStore>
    + for<'c> Open<'c>
    + Ledger
    + Floor
    + Responses
    + Leases
    + Sql
    + 'static
{
    /// The database's name.
    const NAME: &'static str;

    /// Begins a transaction that is going to write.
    const BEGIN: &'static str;

    /// Empties the tables that grow.
    const EMPTY: &'static str;

    /// Counts idem's records.
    const COUNT_RECORDS: &'static str;

    /// Inserts `count` expired copies of an existing record.
    const INSERT_EXPIRED: &'static str;

    /// idem's store with its default settings.
    fn store(pool: PoolOf<Self>) -> Self::Store;

    /// idem's store with the record in COMMIT's message, if the database supports it.
    fn fused_store(pool: PoolOf<Self>) -> Option<Self::Store>;

    /// Creates idem's tables.
    fn migrate(store: &Self::Store) -> impl Future<Output = Result<()>> + Send;

    /// Inserts a row, and returns its number.
    fn numbered(
        &mut self,
        insert: QueryOf<'_, Self>,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;
}

impl Bank for PgConnection {
    const NAME: &'static str = "PostgreSQL";
    const BEGIN: &'static str = "BEGIN";
    const EMPTY: &'static str = "TRUNCATE payments, outbox, floor_records, idempotency, \
         lease_records, idem.records";
    const COUNT_RECORDS: &'static str = "SELECT count(*) FROM idem.records";
    const INSERT_EXPIRED: &'static str = "INSERT INTO idem.records \
         SELECT sha256(int8send(number) || uuid_send(gen_random_uuid())), operation, state, \
         attempts, status, fingerprint, response, settled_at - interval '2 days', \
         now() - number * interval '1 millisecond' \
         FROM (SELECT * FROM idem.records LIMIT 1) AS record, generate_series(1, $1) AS number";

    fn store(pool: PoolOf<Self>) -> Self::Store {
        crate::contestant::idem::postgres_store(pool)
    }

    fn fused_store(pool: PoolOf<Self>) -> Option<Self::Store> {
        Some(crate::contestant::idem::fused_store(pool))
    }

    async fn migrate(store: &Self::Store) -> Result<()> {
        Ok(store.migrate().await?)
    }

    async fn numbered(&mut self, insert: QueryOf<'_, Self>) -> sqlx::Result<i64> {
        insert.fetch_one(self).await?.try_get(0)
    }
}

impl Bank for SqliteConnection {
    const NAME: &'static str = "SQLite";
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const EMPTY: &'static str = "DELETE FROM payments; DELETE FROM outbox; \
         DELETE FROM floor_records; DELETE FROM idempotency; DELETE FROM lease_records; \
         DELETE FROM idem_records";
    const COUNT_RECORDS: &'static str = "SELECT count(*) FROM idem_records";
    const INSERT_EXPIRED: &'static str = "WITH RECURSIVE numbers (number) AS \
         (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < $1) \
         INSERT INTO idem_records SELECT randomblob(32), operation, state, attempts, status, \
         fingerprint, response, settled_at - 172800000000, settled_at - number * 1000 \
         FROM (SELECT * FROM idem_records LIMIT 1), numbers";

    fn store(pool: PoolOf<Self>) -> Self::Store {
        crate::contestant::idem::sqlite_store(pool)
    }

    fn fused_store(_: PoolOf<Self>) -> Option<Self::Store> {
        None
    }

    async fn migrate(store: &Self::Store) -> Result<()> {
        Ok(store.migrate().await?)
    }

    async fn numbered(&mut self, insert: QueryOf<'_, Self>) -> sqlx::Result<i64> {
        insert.fetch_one(self).await?.try_get(0)
    }
}

impl Bank for MySqlConnection {
    const NAME: &'static str = "MariaDB/MySQL";
    const BEGIN: &'static str = "START TRANSACTION";
    const EMPTY: &'static str = "TRUNCATE payments; TRUNCATE outbox; TRUNCATE floor_records; \
         TRUNCATE idempotency; TRUNCATE lease_records; TRUNCATE idem_records";
    const COUNT_RECORDS: &'static str = "SELECT count(*) FROM idem_records";
    const INSERT_EXPIRED: &'static str = "INSERT INTO idem_records \
         WITH RECURSIVE digits (digit) AS \
         (SELECT 0 UNION ALL SELECT digit + 1 FROM digits WHERE digit < 255), \
         numbers (number) AS \
         (SELECT 256 * high.digit + low.digit + 1 FROM digits AS high, digits AS low) \
         SELECT UNHEX(SHA2(CONCAT(UUID(), number), 256)), operation, state, attempts, status, \
         fingerprint, response, settled_at - 172800000000, settled_at - number * 1000 \
         FROM (SELECT * FROM idem_records LIMIT 1) AS record, numbers WHERE number <= ?";

    fn store(pool: PoolOf<Self>) -> Self::Store {
        crate::contestant::idem::mysql_store(pool)
    }

    fn fused_store(_: PoolOf<Self>) -> Option<Self::Store> {
        None
    }

    async fn migrate(store: &Self::Store) -> Result<()> {
        Ok(store.migrate().await?)
    }

    async fn numbered(&mut self, insert: QueryOf<'_, Self>) -> sqlx::Result<i64> {
        Ok(insert.execute(self).await?.last_insert_id().cast_signed())
    }
}

/// Statements of the benchmark itself.
pub(crate) trait Sql {
    /// Runs a script.
    fn run(&mut self, script: &'static str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Runs a statement that was made for this run.
    fn administrate(&mut self, statement: String) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Runs a statement with a number in it.
    fn insert(
        &mut self,
        statement: &'static str,
        count: i64,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Asks for a number.
    fn number(&mut self, query: &'static str) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// Asks for a text.
    fn text(&mut self, query: &'static str) -> impl Future<Output = sqlx::Result<String>> + Send;
}

on_all! {
    Sql {
        async fn run(&mut self, script: &'static str) -> sqlx::Result<()> {
            sqlx::raw_sql(script).execute(self).await?;
            Ok(())
        }

        async fn administrate(&mut self, statement: String) -> sqlx::Result<()> {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(self).await?;
            Ok(())
        }

        async fn insert(&mut self, statement: &'static str, count: i64) -> sqlx::Result<()> {
            sqlx::query(statement).bind(count).execute(self).await?;
            Ok(())
        }

        async fn number(&mut self, query: &'static str) -> sqlx::Result<i64> {
            sqlx::query_scalar(query).fetch_one(self).await
        }

        async fn text(&mut self, query: &'static str) -> sqlx::Result<String> {
            sqlx::query_scalar(query).fetch_one(self).await
        }
    }
}
