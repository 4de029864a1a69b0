//! The instructions that PostgreSQL executes for a request: its work, without the noise of times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use xtask::server::{POSTGRES, Server};

use crate::business::Business;
use crate::contestant::Contestant::{self, Bare, Floor, Fused, Idem, ZeroToProduction};
use crate::database::{Cluster, Created, Sql as _};
use crate::load::{self, Answer, Client as _, Service};
use crate::plan::Keys;
use crate::report::Table;

/// How many requests a connection executes. The difference of a long and a short life is free of the costs of a
/// connection's start and of its first statements.
const FEW: usize = 60;
const MANY: usize = 260;

const FRESH: &str = "fresh, one statement";

const PARTS: &[Part] = &[
    Part {
        name: FRESH,
        business: Business::One,
        keys: Keys::Fresh,
        contestants: &[Bare, Floor, ZeroToProduction, Idem, Fused],
    },
    Part {
        name: "fresh, five statements",
        business: Business::Five,
        keys: Keys::Fresh,
        contestants: &[Bare, Floor, ZeroToProduction, Idem, Fused],
    },
    Part {
        name: "replay",
        business: Business::One,
        keys: Keys::Replay,
        contestants: &[ZeroToProduction, Idem],
    },
];

struct Part {
    name: &'static str,
    business: Business,
    keys: Keys,
    contestants: &'static [Contestant],
}

/// The results.
pub(crate) struct Cost {
    /// idem's instructions to those of *Zero To Production*, if valgrind is there.
    pub(crate) ratio: Option<f64>,
    /// The section of the report.
    pub(crate) text: String,
}

/// Counts the instructions of the server's process that serves the only connection of a service.
pub(crate) async fn run() -> Result<Cost> {
    if !has_valgrind() {
        return Ok(Cost {
            ratio: None,
            text: "Not measured: valgrind is not installed.\n".to_owned(),
        });
    }
    let server = spawn_blocking(|| Server::start_under(&POSTGRES, valgrind())).await??;
    let cluster = Cluster::<PgConnection>::of(server.url())?;
    let database = cluster.create().await?;
    let mut rows = Vec::new();
    for part in PARTS {
        for contestant in part.contestants {
            let few = life(&database, *contestant, part, FEW).await?;
            let many = life(&database, *contestant, part, MANY).await?;
            #[expect(clippy::cast_precision_loss, reason = "less than 2^52")]
            let each = (many - few) as f64 / (MANY - FEW) as f64;
            rows.push((part.name, *contestant, each));
        }
    }
    cluster.remove().await?;
    spawn_blocking(|| drop(server)).await?;

    let each = |part, contestant| {
        let found = rows.iter().find(|row| (row.0, row.1) == (part, contestant));
        found.map_or(f64::NAN, |row| row.2)
    };
    let mut table = Table::new(&["", "thousands", "to Zero To Production"]);
    for (part, contestant, instructions) in &rows {
        let ratio = instructions / each(*part, ZeroToProduction);
        table.row([
            format!("{part}, {}", contestant.name()),
            format!("{:.0}", instructions / 1000.0),
            format!("{ratio:.2}"),
        ]);
    }
    let ratio = each(FRESH, Idem) / each(FRESH, ZeroToProduction);
    Ok(Cost {
        ratio: Some(ratio),
        text: format!("{INTRODUCTION}\n{table}"),
    })
}

const INTRODUCTION: &str = "For one request, counted by valgrind. System calls, the network and the \
     other processes of the server are not in it.\n";

fn has_valgrind() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Writes a file for each process into the server's folder when the process ends.
fn valgrind() -> Vec<String> {
    let arguments = [
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
        "--log-file=instructions.%p",
    ];
    arguments.map(str::to_owned).into()
}

/// The instructions of a connection that executes this many requests.
async fn life(
    database: &Created<PgConnection>,
    contestant: Contestant,
    part: &Part,
    requests: usize,
) -> Result<u64> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false);
    let pool = pool.connect_with(database.options()).await?;
    let mut connection = pool.acquire().await?;
    let process = connection.number("SELECT pg_backend_pid()::int8").await?;
    let data = connection.text("SHOW data_directory").await?;
    drop(connection);
    let router = contestant.router::<PgConnection>(pool.clone(), part.business);
    let service = Service::start(router.context("it is everywhere")?).await?;
    let mut clients = service.clients(1).await?;
    let fresh = if part.keys == Keys::Replay {
        1
    } else {
        requests
    };
    let asks = load::record(&mut clients, fresh).await?;
    if part.keys == Keys::Replay {
        for _ in 0..requests {
            let answer = clients[0].call(&asks[0]).await?;
            ensure!(answer == Answer::Replayed, "a recorded key was executed");
        }
    }
    pool.close().await;
    let folder = Path::new(&data)
        .parent()
        .context("a folder of the server")?;
    counted(&folder.join(format!("instructions.{process}"))).await
}

/// The count in a file of valgrind, which comes when the process ends.
async fn counted(file: &PathBuf) -> Result<u64> {
    for _ in 0..300 {
        let log = fs::read_to_string(file).unwrap_or_default();
        if let Some((_, count)) = log.split_once("refs:") {
            let digits: String = count
                .lines()
                .take(1)
                .flat_map(str::chars)
                .filter(char::is_ascii_digit)
                .collect();
            return Ok(digits.parse()?);
        }
        sleep(Duration::from_millis(100)).await;
    }
    bail!("valgrind did not write {}", file.display())
}
