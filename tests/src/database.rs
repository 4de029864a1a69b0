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
    /// What handlers write through.
    type Connection: Domain<Store = Self::Store>;

    /// What keeps the records.
    type Store: Store<Connection = Self::Connection> + Debug;

    /// The service's tables.
    const SCHEMA: &'static str = SCHEMA;

    /// The table of the records.
    const RECORDS: &'static str;

    /// A query for the state of every record, under its identity in hexadecimal digits.
    const STATES: &'static str;

    /// The time in microseconds since 1970, as the columns `settled_at` and `expires_at` have it.
    const NOW: &'static str;

    /// A second, as it can be added to these columns.
    const SECOND: &'static str;

    /// When a record expires, in whole seconds since 1970, rounded down.
    const EXPIRY_SECONDS: &'static str;

    /// A query for a text that is another one after anybody else has written.
    const WRITES: &'static str;

    /// Whether a statement that fails ends the transaction around it.
    const ERRORS_ABORT: bool;

    /// Whether what is written after the end of a transaction stands by itself.
    const AUTOCOMMITS: bool = true;

    /// Whether a second transaction that writes has to wait for the first.
    const ONE_WRITER: bool;

    /// SQL for some bytes.
    fn bytes(hex: &str) -> String;

    /// SQL that copies the one record there is so many times, under other identities.
    fn copies(count: usize) -> String;

    /// A query for the number of rows of a table that no transaction has written which also wrote a record, where the
    /// database can tell. Who writes in a savepoint of its own, or writes records behind idem's back, can't ask.
    fn strays(_table: &str) -> Option<String> {
        None
    }

    /// What makes the database refuse to commit.
    fn doom() -> Act {
        Act::run("INSERT INTO children (name) VALUES ('orphan')")
    }

    /// Creates it, with the tables of the service.
    fn create() -> impl Future<Output = Self> + Send;

    /// Its address, for another process.
    fn url(&self) -> String;

    /// Connects to it.
    fn connect(&self, wires: Wires) -> impl Future<Output = Pool<Driver<Self>>> + Send;

    /// The store of an instance, migrated.
    fn store(
        pool: Pool<Driver<Self>>,
        choices: Choices,
    ) -> impl Future<Output = Result<Self::Store, StoreError>> + Send;

    /// How many sessions are left inside a transaction.
    fn unfinished(connection: &mut Self::Connection) -> impl Future<Output = i64> + Send;

    /// Removes it.
    fn remove(self) -> impl Future<Output = ()> + Send;
}

/// A database on a server.
pub trait Served: Database {
    /// One on the server with this URL.
    fn on(url: &str) -> impl Future<Output = Self> + Send;

    /// The address of the server.
    fn address(&self) -> (String, u16);

    /// Has commits acknowledged before they are durable.
    fn weaken(connection: &mut Self::Connection) -> impl Future<Output = ()> + Send;

    /// Has the server end all sessions of this database that are inside a transaction.
    fn terminate(connection: &mut Self::Connection) -> impl Future<Output = ()> + Send;
}

/// A name that no other database of a server has.
fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_micros());
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("idem_test_{}_{now}_{next}", std::process::id())
}

/// What an instance chooses where its database leaves it a choice.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    /// Of the PostgreSQL store.
    pub postgres: fn(PostgresStore) -> PostgresStore,
}

impl Default for Choices {
    fn default() -> Self {
        Self { postgres: identity }
    }
}

/// How an instance connects to its database.
#[derive(Debug, Clone, Copy)]
pub struct Wires {
    /// The size of the pool.
    pub connections: u32,
    /// How long a request waits for a connection.
    pub patience: Duration,
    /// What stands between the instance and the database server.
    pub through: Option<SocketAddr>,
    /// What else is said at the start of a session of PostgreSQL.
    pub session: fn(PgConnectOptions) -> PgConnectOptions,
    /// What a session of MySQL runs first.
    pub opening: &'static str,
}

impl Default for Wires {
    fn default() -> Self {
        Self {
            connections: 4,
            patience: Duration::from_secs(10),
            through: None,
            session: identity,
            opening: "DO 0",
        }
    }
}
