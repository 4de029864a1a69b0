//! `cargo xtask test`.

use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};

use anyhow::Result;

use super::cargo;
use xtask::process;
use xtask::server::{Cluster, KINDS, Server, TOOLS, Tool};

pub(crate) fn run(galera: bool, arguments: &[OsString]) -> Result<ExitCode> {
    let run = if galera { galera_status } else { status };
    run(arguments).map(cargo::exit_code)
}

/// Finds or starts every kind of server, finds or installs every tool, and runs the tests with all of them.
pub(crate) fn status(arguments: &[OsString]) -> Result<ExitStatus> {
    let found = |tool: &Tool| Ok((tool.variable(), tool.find_or_install()?));
    let tools: Vec<_> = TOOLS.iter().map(found).collect::<Result<_>>()?;
    let mut servers = Server::find_or_start_all(KINDS)?;
    let mut command = cargo::command();
    command
        .arg("test")
        .args(selection(arguments))
        .arg("--all-features")
        .args(arguments);
    command.envs(
        tools
            .into_iter()
            .filter_map(|(variable, path)| Some((variable?, path))),
    );
    command.envs(servers.iter().map(Server::variable));
    let status = process::run(&mut command)?;
    servers.iter_mut().for_each(report_if_ended);
    Ok(status)
}

/// Finds or starts a Galera cluster, and runs the tests that need one.
pub(crate) fn galera_status(arguments: &[OsString]) -> Result<ExitStatus> {
    let mut cluster = Cluster::find_or_start()?;
    let mut command = cargo::command();
    command
        .args(["test", "-p", "idem-tests", "--all-features"])
        .args(["--test", "galera"])
        .args(arguments)
        .env(Cluster::VARIABLE, cluster.urls().join(" "));
    let status = process::run(&mut command)?;
    if let Some(log) = cluster.log_of_ended() {
        eprintln!("xtask: a node has ended during the tests; the end of the log of {log}");
    }
    Ok(status)
}

/// The whole workspace, unless the arguments select packages themselves.
fn selection(arguments: &[OsString]) -> Option<&'static str> {
    let of_cargo = arguments.iter().take_while(|argument| *argument != "--");
    let selects = of_cargo
        .filter_map(|argument| argument.to_str())
        .any(|argument| {
            argument.starts_with("--package")
                || (argument.starts_with("-p") && !argument.starts_with("--"))
        });
    (!selects).then_some("--workspace")
}

/// If a server dies, tests fail without knowing the reason.
fn report_if_ended(server: &mut Server) {
    if !server.is_running() {
        let name = server.kind().name();
        eprintln!(
            "xtask: {name} has ended during the tests; the end of its log:\n{}",
            server.log()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection_of(arguments: &[&str]) -> Option<&'static str> {
        selection(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn everything_is_tested_unless_packages_are_selected() {
        for all in [
            &[][..],
            &["name"],
            &["--test", "a"],
            &["--", "-p"],
            &["--profile", "release"],
        ] {
            assert_eq!(selection_of(all), Some("--workspace"), "{all:?}");
        }
        for some in [
            &["-p", "idem-core"][..],
            &["--package=idem-core"],
            &["name", "-pidem-core"],
        ] {
            assert_eq!(selection_of(some), None, "{some:?}");
        }
    }
}
