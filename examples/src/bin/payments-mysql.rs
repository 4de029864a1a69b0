//! The ledger service on axum and MariaDB or MySQL.

use clap::Parser;
use idem_examples::serve::{Flags, log};
use idem_examples::{axum, database};

#[derive(Parser)]
#[command(about)]
struct Command {
    #[command(flatten)]
    flags: Flags,

    /// The database, such as `mysql://user:password@127.0.0.1/payments`.
    #[arg(long, env = "DATABASE_URL")]
    database_url: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let Command {
        flags,
        database_url,
    } = Command::parse();
    let app = database::mysql(&database_url, flags.work()).await?;
    axum::serve(&flags, app).await
}
