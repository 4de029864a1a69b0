//! `cargo xtask serve`.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use xtask::interrupt;
use xtask::server::{Kind, Server};

/// Keeps a server until an interrupt, which is the usual end and therefore a success.
pub(crate) fn run(kind: &'static dyn Kind) -> Result<ExitCode> {
    let mut server = Server::start(kind)?;
    println!("{}", server.url());
    eprintln!("xtask: Ctrl-C ends the server and removes its data");
    while interrupt::check().is_ok() {
        if !server.is_running() {
            bail!(
                "{} has ended by itself; the end of its log:\n{}",
                kind.name(),
                server.log()
            );
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(ExitCode::SUCCESS)
}
