//! The command line.

mod bench;
mod cargo;
mod ci;
mod serve;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use xtask::interrupt::{self, Interrupted};
use xtask::server::{self, Kind, POSTGRES};

/// What a shell reports of a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse_from(keep_first_double_dash(std::env::args_os()));
    run(&cli.task).unwrap_or_else(|error| {
        if error.is::<Interrupted>() {
            eprintln!("xtask: interrupted");
            return ExitCode::from(INTERRUPTED);
        }
        eprintln!("xtask: error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The development tasks of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every test, with throw-away servers where the environment names none.
    Test {
        /// Arguments for `cargo test`, for instance `--test postgres -- --nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Checks everything: format, lints, documentation and tests.
    Ci,
    /// Measures what idem costs, prints the report, and writes it to `target/bench.md`.
    Bench {
        /// Arguments for the benchmark: `--quick`, and `--only` with a part of a title.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Starts a throw-away server, prints its URL, and keeps it until Ctrl-C.
    Serve {
        /// Which server.
        #[arg(default_value = POSTGRES.key(), value_parser = kind)]
        kind: &'static dyn Kind,
    },
}

fn run(task: &Task) -> Result<ExitCode> {
    interrupt::install()?;
    match task {
        Task::Test { arguments } => test::run(arguments),
        Task::Ci => ci::run(),
        Task::Bench { arguments } => bench::run(arguments),
        Task::Serve { kind } => serve::run(*kind),
    }
}

fn kind(key: &str) -> Result<&'static dyn Kind, String> {
    let keys: Vec<&str> = server::KINDS.iter().map(|kind| kind.key()).collect();
    server::by_key(key).ok_or_else(|| format!("the kinds are: {}", keys.join(", ")))
}

/// A parser of arguments swallows a `--` in front of them, which `cargo test` needs to see.
fn keep_first_double_dash(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|task| task == "test")
        && arguments.get(2).is_some_and(|first| first == "--")
    {
        arguments.insert(2, "--".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn test_arguments(line: &[&str]) -> Vec<OsString> {
        let line = ["xtask", "test"].iter().chain(line).map(OsString::from);
        match Cli::parse_from(keep_first_double_dash(line)).task {
            Task::Test { arguments } => arguments,
            Task::Ci | Task::Bench { .. } | Task::Serve { .. } => panic!("another task"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_reach_cargo_test_unchanged() {
        for line in [
            &[][..],
            &["name"],
            &["--", "--nocapture"],
            &["--test", "a", "--", "-q"],
            &["-p", "idem-core"],
        ] {
            assert_eq!(test_arguments(line), line);
        }
    }

    #[test]
    fn kinds_are_named_by_their_keys() {
        assert_eq!(kind("postgres").unwrap().name(), "PostgreSQL");
        assert_eq!(kind("mariadb").unwrap().name(), "MariaDB");
        assert_eq!(
            kind("other").unwrap_err(),
            "the kinds are: postgres, mariadb"
        );
    }
}
