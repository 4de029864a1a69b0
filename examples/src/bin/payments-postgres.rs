//! The ledger service on PostgreSQL.

use anyhow::Context as _;
use clap::Parser;
use idem_axum::{Engine, PostgresStore};
use idem_examples::api::App;
use idem_examples::serve::{Flags, log, serve};
use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;

#[derive(Parser)]
#[command(about)]
struct Command {
    #[command(flatten)]
    flags: Flags,

    /// The database, such as `postgres://user:password@127.0.0.1/payments`.
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
    let pool = PgPoolOptions::new()
        .connect(&database_url)
        .await
        .context("can't connect to the database")?;
    // Two instances that start at once must not create the tables at once.
    let schema = concat!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('payments schema')); ",
        include_str!("../../schema/postgres.sql"),
        "; COMMIT"
    );
    sqlx::raw_sql(schema).execute(&pool).await?;

    let store = PostgresStore::new(pool.clone());
    store.migrate().await?;
    let app = App::<PgConnection> {
        engine: Engine::new(store),
        pool,
        work: flags.work(),
    };
    serve(&flags, app).await
}
