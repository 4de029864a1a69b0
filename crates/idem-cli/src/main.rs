//! `idem`: an operator's work on the records of idem, from the command line.
//!
//! Everything goes through `Engine` and `Store`: there is no SQL here.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::arguments::{Arguments, Command};
use self::failure::Failure;

mod arguments;
mod commands;
mod database;
mod failure;
mod output;
mod progress;
mod runs;
mod text;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Completions { shell } = arguments.command {
        let mut command = Arguments::command();
        clap_complete::generate(shell, &mut command, "idem", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    log_warnings();
    let done = run(&arguments);
    output::print(&arguments, &done)
}

fn run(arguments: &Arguments) -> Result<output::Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::unavailable(&error))?;
    runtime.block_on(database::run(arguments))
}

/// Shows what `check` warns of. Only idem's own lines: sqlx logs parts of a URL that it does not know.
fn log_warnings() {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    use tracing_subscriber::util::SubscriberInitExt as _;

    let own = Targets::new()
        .with_target("idem_core", LevelFilter::WARN)
        .with_target("idem_redis", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false);
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(own));
    // There is no other subscriber in this process.
    let _ = subscriber.try_init();
}
