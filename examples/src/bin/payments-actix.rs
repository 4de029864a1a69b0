//! The ledger service on actix-web.

use clap::Parser;
use idem_examples::serve::{Flags, log};
use idem_examples::{actix, database};

#[derive(Parser)]
#[command(about)]
struct Command {
    #[command(flatten)]
    flags: Flags,

    /// The database: an SQLite file, created if it is missing, `postgres://…` or `mysql://…`.
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
    match database_url.split(':').next() {
        Some("postgres" | "postgresql") => {
            let app = database::postgres(&database_url, flags.work()).await?;
            actix::serve(&flags, app).await
        }
        Some("mysql" | "mariadb") => {
            let app = database::mysql(&database_url, flags.work()).await?;
            actix::serve(&flags, app).await
        }
        _ => {
            let app = database::sqlite(&database_url, flags.work()).await?;
            actix::serve(&flags, app).await
        }
    }
}
