//! The machine and the tools of the measurement.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use sqlx::{MySqlConnection, PgConnection, SqliteConnection};

use crate::database::Sql as _;

/// A name and a value, to be printed.
pub(crate) type Fact = (&'static str, String);

/// The facts of the machine and of the tools.
pub(crate) fn facts() -> Vec<Fact> {
    let cores = std::thread::available_parallelism().map(std::num::NonZero::get);
    vec![
        ("processor", processor().unwrap_or_else(unknown)),
        (
            "cores",
            cores.map_or_else(|_| unknown(), |cores| cores.to_string()),
        ),
        ("memory", memory().unwrap_or_else(unknown)),
        ("system", output("uname", &["-srm"]).unwrap_or_else(unknown)),
        (
            "compiler",
            output("rustc", &["--version"]).unwrap_or_else(unknown),
        ),
        ("commit", commit().unwrap_or_else(unknown)),
    ]
}

/// The facts of a PostgreSQL server.
pub(crate) async fn postgres(connection: &mut PgConnection) -> Result<Vec<Fact>> {
    let settings = "SELECT string_agg(name || ' = ' || current_setting(name), ', ' ORDER BY name) \
         FROM pg_settings WHERE name IN \
         ('fsync', 'synchronous_commit', 'shared_buffers', 'max_wal_size', 'full_page_writes')";
    Ok(vec![
        ("PostgreSQL", connection.text("SHOW server_version").await?),
        ("its settings", connection.text(settings).await?),
    ])
}

/// The facts of a MariaDB or MySQL server.
pub(crate) async fn mysql(connection: &mut MySqlConnection) -> Result<Vec<Fact>> {
    let settings = "SELECT CONCAT_WS(', ', \
         CONCAT('innodb_flush_log_at_trx_commit = ', @@innodb_flush_log_at_trx_commit), \
         CONCAT('innodb_buffer_pool_size = ', @@innodb_buffer_pool_size), \
         CONCAT('innodb_doublewrite = ', @@innodb_doublewrite), \
         CONCAT('log_bin = ', @@log_bin), CONCAT('sync_binlog = ', @@sync_binlog))";
    Ok(vec![
        ("MariaDB/MySQL", connection.text("SELECT VERSION()").await?),
        ("its settings", connection.text(settings).await?),
    ])
}

/// The facts of SQLite.
pub(crate) async fn sqlite(connection: &mut SqliteConnection) -> Result<Vec<Fact>> {
    let version = connection.text("SELECT sqlite_version()").await?;
    let journal = connection.text("PRAGMA journal_mode").await?;
    let synchronous = connection.number("PRAGMA synchronous").await?;
    let settings = format!("journal_mode = {journal}, synchronous = {synchronous} (2 is full)");
    Ok(vec![("SQLite", version), ("its settings", settings)])
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn processor() -> Option<String> {
    let of_linux = line_after("/proc/cpuinfo", "model name");
    of_linux.or_else(|| output("sysctl", &["-n", "machdep.cpu.brand_string"]))
}

fn memory() -> Option<String> {
    let total = line_after("/proc/meminfo", "MemTotal")?;
    let kibibytes: u64 = total.trim_end_matches(" kB").parse().ok()?;
    Some(format!("{} GiB", kibibytes.div_ceil(1024 * 1024)))
}

fn line_after(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once(':')?;
    Some(value.trim().to_owned())
}

fn commit() -> Option<String> {
    let commit = output("git", &["rev-parse", "--short", "HEAD"])?;
    let changes = output("git", &["status", "--porcelain"])?;
    Some(if changes.is_empty() {
        commit
    } else {
        format!("{commit}, with changes")
    })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(program);
    let output = command
        .args(arguments)
        .current_dir(workspace)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
