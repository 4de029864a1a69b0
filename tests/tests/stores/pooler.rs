//! `PgBouncer` between the pool and the server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::str::FromStr as _;
use std::time::Duration;

use idem_core::PostgresStore;
use idem_tests::{Database as _, Postgres, Wires};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::Fresh;
use super::checks::assert_misconfigured;

/// The path of the program.
const PROGRAM: &str = "IDEM_TEST_PGBOUNCER";

/// A pooler in front of a database. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Pooler {
    address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Pooler {
    async fn start(database: &Postgres, mode: &str) -> Self {
        let program = std::env::var(PROGRAM)
            .unwrap_or_else(|_| panic!("set {PROGRAM} or run `cargo xtask test`"));
        let server = PgConnectOptions::from_str(&database.url()).expect("a URL");
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let address = free
            .and_then(|free| free.local_addr())
            .expect("a free port");
        let settings = format!(
            "[databases]\n* = host={host} port={server_port} user={user}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {mode}\nignore_startup_parameters = extra_float_digits\n",
            host = server.get_host(),
            server_port = server.get_port(),
            user = server.get_username(),
            port = address.port(),
        );
        let path = folder.path().join("pgbouncer.ini");
        fs::write(&path, settings).expect("the settings are written");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("a mode");
        let mut command = Command::new(program);
        if fs::metadata(&path).expect("the file").uid() == 0 {
            // It refuses to run as root.
            command.args(["-u", "nobody"]);
        }
        let process = command.arg("--quiet").arg(path).kill_on_drop(true).spawn();
        let ready = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let process = process.expect("the pooler starts");
        let is_ready = timeout(Duration::from_secs(10), ready).await;
        is_ready.expect("the pooler accepts connections");
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }

    async fn pool(&self, database: &Postgres) -> PgPool {
        let wires = Wires {
            through: Some(self.address),
            ..Wires::default()
        };
        database.connect(wires).await
    }
}

impl Fresh<Postgres> {
    /// Through a pooler that gives each transaction any session.
    pub(crate) async fn pooled() -> Self {
        let mut this = Self::create().await;
        let pooler = Pooler::start(&this.database, "transaction").await;
        this.pool = pooler.pool(&this.database).await;
        this.store = PostgresStore::new(this.pool.clone()).with_unnamed_statements();
        this.pooler = Some(pooler);
        this
    }
}

#[tokio::test]
async fn p5_pooler_that_loses_statements_or_transactions_is_found() {
    let fresh = Fresh::<Postgres>::create().await;
    for (mode, unnamed, refusal) in [
        ("session", false, None),
        ("transaction", true, None),
        ("transaction", false, Some("`with_unnamed_statements()`")),
        ("statement", false, Some("pool_mode = statement")),
        ("statement", true, Some("pool_mode = statement")),
    ] {
        let pooler = Pooler::start(&fresh.database, mode).await;
        let pool = pooler.pool(&fresh.database).await;
        let mut store = PostgresStore::new(pool.clone());
        if unnamed {
            store = store.with_unnamed_statements();
        }
        let checked = store.check().await;
        match refusal {
            None => checked.unwrap_or_else(|error| panic!("{mode}: {error}")),
            Some(reason) => assert_misconfigured(checked, reason),
        }
        pool.close().await;
    }
    fresh.remove().await;
}
