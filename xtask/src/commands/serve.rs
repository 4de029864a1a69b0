//! `cargo xtask serve`.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use xtask::interrupt;
use xtask::server::{Cluster, Kind, Server};

/// The servers that can be started.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice {
    One(&'static dyn Kind),
    Galera,
}

pub(crate) fn run(choice: Choice) -> Result<ExitCode> {
    match choice {
        Choice::One(kind) => {
            let mut server = Server::start(kind)?;
            println!("{}", server.url());
            keep(|| {
                let log = (!server.is_running()).then(|| server.log())?;
                Some(format!("{}:\n{log}", kind.name()))
            })
        }
        Choice::Galera => {
            let mut cluster = Cluster::start()?;
            println!("{}", cluster.urls().join(" "));
            keep(|| cluster.log_of_ended())
        }
    }
}

/// Waits for an interrupt. An interrupt is the usual end, and so a success.
fn keep(mut log_of_ended: impl FnMut() -> Option<String>) -> Result<ExitCode> {
    eprintln!("xtask: Ctrl-C ends what was started and removes its data");
    while interrupt::check().is_ok() {
        if let Some(log) = log_of_ended() {
            bail!("a server has ended by itself; the end of the log of {log}");
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(ExitCode::SUCCESS)
}
