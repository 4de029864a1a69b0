//! The command line.

mod api;
mod bench;
mod cargo;
mod ci;
mod faults;
mod links;
mod packages;
mod rules;
mod serve;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use serve::Choice;
use xtask::interrupt::{self, Interrupted};
use xtask::server::{self, Kind, POSTGRES};

/// The exit code by which shells report the end by SIGINT.
const INTERRUPTED: u8 = 130;

const GALERA: &str = "galera";

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
    /// Runs every test, with throw-away servers if the environment names none.
    Test {
        /// Runs the tests of a Galera cluster instead, with a throw-away cluster.
        #[arg(long)]
        galera: bool,
        /// Arguments for `cargo test`, for instance `--test postgres -- --nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Checks everything: format, rules, lints, documentation, the public API, the packages and tests.
    Ci,
    /// Compares the public API of the published crates with the lists in `docs/api`.
    Api {
        /// Writes the lists instead.
        #[arg(long)]
        bless: bool,
    },
    /// Packs the published crates as for their registry, and builds and documents what the packages contain.
    Packages,
    /// Compares the tests that each rule has with the index in `docs/rules.md`, and fails for a rule without a test.
    Rules {
        /// Writes the index.
        #[arg(long)]
        bless: bool,
    },
    /// Measures what idem costs, prints the report, and writes it to `target/bench.md`.
    Bench {
        /// Arguments for the benchmark: `--quick`, and `--only` with a part of a title.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Injects random faults into requests, applications and servers, and checks that nothing is lost.
    Faults {
        /// Seeds bugs into a scratch copy of the tree instead, and runs for each the test that has to
        /// find it. Without names, all bugs in `tests/faults/seeded`.
        #[arg(long, num_args = 0.., value_name = "NAME")]
        seeded: Option<Vec<String>>,
        /// Arguments for the faults: `--minutes`, `--seed`, `--round`, and `--only` with a part of a
        /// round's name.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Starts a throw-away server, prints its URL, and keeps it until Ctrl-C.
    Serve {
        /// Which server; `galera` is a cluster, whose URLs come on one line.
        #[arg(default_value = POSTGRES.key(), value_parser = choice)]
        choice: Choice,
    },
}

fn run(task: &Task) -> Result<ExitCode> {
    interrupt::install()?;
    match task {
        Task::Test { galera, arguments } => test::run(*galera, arguments),
        Task::Ci => ci::run(),
        Task::Api { bless } => api::run(*bless),
        Task::Packages => packages::run(),
        Task::Rules { bless } => rules::run(*bless),
        Task::Bench { arguments } => bench::run(arguments),
        Task::Faults { seeded, arguments } => match seeded {
            Some(names) => faults::seeded(names),
            None => faults::storm(arguments),
        },
        Task::Serve { choice } => serve::run(*choice),
    }
}

fn choice(key: &str) -> Result<Choice, String> {
    if key == GALERA {
        return Ok(Choice::Galera);
    }
    let keys = server::KINDS.iter().map(|kind| kind.key());
    let keys: Vec<&str> = keys.chain([GALERA]).collect();
    server::by_key(key)
        .map(Choice::One)
        .ok_or_else(|| format!("the kinds are: {}", keys.join(", ")))
}

/// The parser removes a `--` before the arguments, but `cargo test` needs it.
fn keep_first_double_dash(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let is = |place: usize, text| {
        arguments
            .get(place)
            .is_some_and(|argument| argument == text)
    };
    let first = if is(2, "--galera") { 3 } else { 2 };
    if is(1, "test") && is(first, "--") {
        arguments.insert(first, "--".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn test_arguments(line: &[&str]) -> (bool, Vec<OsString>) {
        let line = ["xtask", "test"].iter().chain(line).map(OsString::from);
        match Cli::parse_from(keep_first_double_dash(line)).task {
            Task::Test { galera, arguments } => (galera, arguments),
            _ => panic!("another task"),
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
            let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
            assert_eq!(test_arguments(line), (false, arguments.clone()));
            let line = [&["--galera"], line].concat();
            assert_eq!(test_arguments(&line), (true, arguments));
        }
    }

    #[test]
    fn kinds_are_named_by_their_keys() {
        for (key, name) in [
            ("postgres", "PostgreSQL"),
            ("mariadb", "MariaDB"),
            ("redis", "Redis"),
            ("nats", "NATS"),
            ("rabbitmq", "RabbitMQ"),
            ("browser", "Chromium"),
        ] {
            assert!(matches!(choice(key), Ok(Choice::One(kind)) if kind.name() == name));
        }
        assert!(matches!(choice("galera"), Ok(Choice::Galera)));
        assert_eq!(
            choice("other").unwrap_err(),
            "the kinds are: postgres, mariadb, redis, nats, rabbitmq, browser, galera"
        );
    }
}
