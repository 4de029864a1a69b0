//! The ledger service on actix-web.

use clap::Parser;
use idem_examples::serve::{Flags, log};
use idem_examples::{actix, database};

#[derive(Parser)]
#[command(about)]
struct Command {
    #[command(flatten)]
    flags: Flags,

    /// The database: an SQLite file, created if it is missing, or `postgres://…`.
    #[arg(long, default_value = "sqlite:payments.sqlite")]
    database_url: String,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    log();
    let Command {
        flags,
        database_url,
    } = Command::parse();
    if database_url.starts_with("postgres") {
        let app = database::postgres(&database_url, flags.work()).await?;
        actix::serve(&flags, app).await
    } else {
        let app = database::sqlite(&database_url, flags.work()).await?;
        actix::serve(&flags, app).await
    }
}
