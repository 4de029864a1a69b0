//! `cargo xtask bench`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::cargo;
use xtask::process;
use xtask::server::{DATABASES, Server};

/// Builds the benchmark, and runs it with a server of each database. The benchmark writes its report itself.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let mut build = cargo::command();
    build.args(["build", "--release", "--package", "idem-benches"]);
    let status = process::run(&mut build)?;
    if !status.success() {
        return Ok(cargo::exit_code(status));
    }
    let servers = Server::find_or_start_all(DATABASES)?;
    let mut command = cargo::command();
    command
        .args(["run", "--quiet", "--release", "--package", "idem-benches"])
        .arg("--")
        .args(arguments)
        .envs(servers.iter().map(Server::variable));
    Ok(cargo::exit_code(process::run(&mut command)?))
}
