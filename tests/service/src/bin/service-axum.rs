//! The ledger service on axum.

use clap::Parser as _;
use idem_service::database::Database;
use idem_service::serve::{Flags, log};
use idem_service::{axum, database};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log();
    let flags = Flags::parse();
    match flags.database() {
        Database::Postgres => axum::serve(&flags, database::postgres(&flags).await?).await,
        Database::Mysql => axum::serve(&flags, database::mysql(&flags).await?).await,
        Database::Sqlite => axum::serve(&flags, database::sqlite(&flags).await?).await,
    }
}
