//! The ledger service on axum and an SQLite file, which is created on the first start.

use clap::Parser;
use idem_examples::serve::{Flags, log};
use idem_examples::{axum, database};

#[derive(Parser)]
#[command(about)]
struct Command {
    #[command(flatten)]
    flags: Flags,

    /// The database; created if it is missing.
    #[arg(long, default_value = "sqlite:payments.sqlite")]
    database_url: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let Command {
        flags,
        database_url,
    } = Command::parse();
    let app = database::sqlite(&database_url, flags.work()).await?;
    axum::serve(&flags, app).await
}
