//! Flags, logs and signals.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::database::Database;

/// How often expired records are purged.
pub(crate) const PURGE_EVERY: Duration = Duration::from_mins(1);

/// The flags of the service.
#[derive(Debug, Parser)]
#[command(about = "A small ledger service, protected by idem")]
pub struct Flags {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,

    /// The database: an SQLite file, created if it is missing, `postgres://…` or `mysql://…`.
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite:payments.sqlite")]
    pub(crate) database_url: String,

    /// Milliseconds of pretended work inside a handler's transaction, to see duplicates meet.
    #[arg(long, default_value_t = 0)]
    work_ms: u64,

    /// The payment provider of rides, which keeps keys.
    #[arg(long, default_value = "http://127.0.0.1:3001")]
    pub(crate) provider: String,

    /// The sender of their receipts, which takes no key and can be asked.
    #[arg(long, default_value = "http://127.0.0.1:3002")]
    pub(crate) sender: String,
}

impl Flags {
    /// The kind of the database, by the scheme of its URL.
    pub fn database(&self) -> Database {
        match self.database_url.split(':').next() {
            Some("postgres" | "postgresql") => Database::Postgres,
            Some("mysql" | "mariadb") => Database::Mysql,
            _ => Database::Sqlite,
        }
    }

    /// The pretended work.
    pub(crate) fn work(&self) -> Duration {
        Duration::from_millis(self.work_ms)
    }
}

/// Logs to stderr, filtered by `RUST_LOG`.
pub fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
}

pub(crate) fn introduce(address: SocketAddr) {
    println!("listening on http://{address}");
}
