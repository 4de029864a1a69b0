//! `cargo xtask bench` runs this.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use idem_benches::Options;

/// Measures the cost of a protected handler.
#[derive(Parser)]
struct Arguments {
    /// A few minutes in place of a quarter of an hour: less of everything.
    #[arg(long)]
    quick: bool,

    /// How often to measure everything.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,

    /// Only the parts whose titles contain this.
    #[arg(long)]
    only: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { quick, runs, only } = Arguments::parse();
    let target = target()?;
    let path = target.join("bench.md");
    let options = Options {
        quick,
        runs: usize::from(runs),
        only,
        target,
    };
    let report = idem_benches::run(options).await?;
    std::fs::write(&path, &report)?;
    println!("{report}");
    eprintln!("written to {}", path.display());
    Ok(())
}

/// Cargo's target folder, two folders above this program.
fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2);
    Ok(target.context("the program is nowhere")?.to_owned())
}
