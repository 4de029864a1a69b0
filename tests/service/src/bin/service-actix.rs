//! The ledger service on actix-web.

use clap::Parser as _;
use idem_service::database::Database;
use idem_service::serve::{Flags, log};
use idem_service::{actix, database};

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    log();
    let flags = Flags::parse();
    match flags.database() {
        Database::Postgres => actix::serve(&flags, database::postgres(&flags).await?).await,
        Database::Mysql => actix::serve(&flags, database::mysql(&flags).await?).await,
        Database::Sqlite => actix::serve(&flags, database::sqlite(&flags).await?).await,
    }
}
