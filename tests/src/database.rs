//! The databases that the suite runs on.

use std::convert::identity;
use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use idem_core::{PostgresStore, Store, StoreError};
use sqlx::Pool;
use sqlx::postgres::PgConnectOptions;

use crate::domain::Domain;
use crate::scene::Act;

mod mysql;
mod postgres;
mod sqlite;

pub use self::mysql::{Galera, Mysql};
pub use self::postgres::{Postgres, RecordInCommit};
pub use self::sqlite::Sqlite;

/// sqlx's type for the database of a [`Database`].
pub type Driver<D> = <<D as Database>::Connection as sqlx::Connection>::Database;

const SCHEMA: &str = "
    CREATE TABLE effects (tenant TEXT NOT NULL, label TEXT NOT NULL);
    CREATE TABLE names (name TEXT NOT NULL PRIMARY KEY);
    CREATE TABLE children (name TEXT NOT NULL REFERENCES names (name) DEFERRABLE INITIALLY DEFERRED);
";

/// A fresh database, for one test alone.
pub trait Database: Sized + Send + Sync + 'static {
    /// The connection through which handlers write.
    type Connection: Domain<Store = Self::Store>;

    /// The store of the records.
    type Store: Store<Connection = Self::Connection> + Clone + Debug;

    /// The service's tables.
    const SCHEMA: &'static str = SCHEMA;

    /// The table of the records.
    const RECORDS: &'static str;

    /// A query for the state of every record, under its identity in hexadecimal digits.
    const STATES: &'static str;

    /// The time in microseconds since 1970, as in the columns `settled_at` and `expires_at`.
    const NOW: &'static str;

    /// One second, in the unit of these columns.
    const SECOND: &'static str;

    /// A record's expiry in whole seconds since 1970, rounded down.
    const EXPIRY_SECONDS: &'static str;

    /// A query for a text that changes whenever another session has written.
    const WRITES: &'static str;

    /// Whether a failed statement ends the transaction around it.
    const ERRORS_ABORT: bool;

    /// Whether writes after the end of a transaction are committed by themselves.
    const AUTOCOMMITS: bool = true;

    /// Whether a second writing transaction waits for the first.
    const ONE_WRITER: bool;

    /// An SQL literal for some bytes.
    fn bytes(hex: &str) -> String;

    /// A condition: the stored response contains some bytes.
    fn has(hex: &str) -> String;

    /// SQL that copies the only record this many times, under other identities.
    fn copies(count: usize) -> String;

    /// A query for the number of rows that were written by transactions without a record, if the
    /// database can tell. A test that writes in its own savepoint, or writes records without idem,
    /// can't use it.
    fn strays(_table: &str) -> Option<String> {
        None
    }

    /// An act after which the database refuses to commit.
    fn doom() -> Act {
        Act::run("INSERT INTO children (name) VALUES ('orphan')")
    }

    /// Creates the database, with the tables of the service.
    fn create() -> impl Future<Output = Self> + Send;

    /// The URL of the database, for another process.
    fn url(&self) -> String;

    /// Connects to the database.
    fn connect(&self, wires: Wires) -> impl Future<Output = Pool<Driver<Self>>> + Send;

    /// The store of an instance, migrated.
    fn store(
        pool: Pool<Driver<Self>>,
        choices: Choices,
    ) -> impl Future<Output = Result<Self::Store, StoreError>> + Send;

    /// The number of sessions that are still inside a transaction.
    fn unfinished(connection: &mut Self::Connection) -> impl Future<Output = i64> + Send;

    /// Removes the database.
    fn remove(self) -> impl Future<Output = ()> + Send;
}

/// A database on a server.
pub trait Served: Database {
    /// A database on the server with this URL.
    fn on(url: &str) -> impl Future<Output = Self> + Send;

    /// The address of the server.
    fn address(&self) -> (String, u16);

    /// Makes the server acknowledge commits before they are durable.
    fn weaken(connection: &mut Self::Connection) -> impl Future<Output = ()> + Send;

    /// Makes the server end all sessions of this database that are inside a transaction.
    fn terminate(connection: &mut Self::Connection) -> impl Future<Output = ()> + Send;
}

/// A name that is unique on a server.
fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_micros());
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("idem_test_{}_{now}_{next}", std::process::id())
}

/// The settings of an instance's store.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    /// The settings of a PostgreSQL store.
    pub postgres: fn(PostgresStore) -> PostgresStore,
}

impl Default for Choices {
    fn default() -> Self {
        Self { postgres: identity }
    }
}

/// The connections of an instance to its database.
#[derive(Debug, Clone, Copy)]
pub struct Wires {
    /// The size of the pool.
    pub connections: u32,
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// An address between the instance and the database server.
    pub through: Option<SocketAddr>,
    /// More options for the start of a PostgreSQL session.
    pub session: fn(PgConnectOptions) -> PgConnectOptions,
    /// The first statements of a session on a server.
    pub opening: &'static str,
}

impl Default for Wires {
    fn default() -> Self {
        Self {
            connections: 4,
            acquire_timeout: Duration::from_secs(10),
            through: None,
            session: identity,
            opening: "",
        }
    }
}
