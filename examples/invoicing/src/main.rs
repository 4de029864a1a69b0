//! Invoices by jobs of `graphile_worker`, whose queue is in the same PostgreSQL: `cargo run -p invoicing`.
//!
//! The queue removes a job in another transaction than the job's own. A worker that dies between the two has done the
//! job, and the queue runs it again. `write_invoice` is `#[idempotent]`, so the second run finds the record of the first
//! one, which is in one commit with the invoice.
//!
//! To enqueue a job needs no outbox here: `graphile_worker.add_job` is a function of the database, so a request's
//! handler calls it in its own transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use graphile_worker::{
    IntoTaskHandlerResult, TaskHandler, WorkerContext, WorkerOptions, WorkerUtils,
};
use idem_consume::{
    Consumer, Delivery, Engine, Event, Failure, MessageId, PostgresStore, Verdict, idempotent,
};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

/// The key is the job's id. The number of its retry is no part of it. The queue tries a job for three days.
#[idempotent(ttl = "4d", operation = "write_invoice", key = "job", unscoped)]
async fn write_invoice(
    tx: &mut PgConnection,
    job: MessageId,
    shipped: Event<OrderShipped>,
) -> Result<(), Failure> {
    if shipped.cents <= 0 {
        return Err(Failure::dead(format_args!(
            "order {} has no price",
            shipped.order
        )));
    }
    sqlx::query("INSERT INTO invoices (order_id, cents, job) VALUES ($1, $2, $3)")
        .bind(&shipped.order)
        .bind(shipped.cents)
        .bind(&job.0)
        .execute(tx)
        .await?; // an error of the database: the queue tries again
    Ok(())
}

/// The payload of a job. `Serialize` binds it to the job's id.
#[derive(Serialize, Deserialize)]
struct OrderShipped {
    order: String,
    cents: i64,
}

/// What a task finds in its context.
#[derive(Debug, Clone)]
struct Invoicing {
    consumer: Consumer<Engine<PostgresStore>>,
    pool: PgPool,
    /// How many more jobs this process does, if it is to die.
    left: Option<Arc<AtomicU32>>,
}

impl Invoicing {
    /// The worst time to die: the job is done, and the queue does not know of it.
    fn live_on(&self) {
        let left = self.left.as_ref();
        if left.is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) == 1) {
            std::process::abort();
        }
    }
}

impl TaskHandler for OrderShipped {
    const IDENTIFIER: &'static str = "order_shipped";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        run(&context).await.map_err(|error| format!("{error:#}"))
    }
}

/// Runs the consumer, and tells the queue what the verdict says: an error is another try.
async fn run(context: &WorkerContext) -> anyhow::Result<()> {
    let invoicing = context.get_ext::<Invoicing>();
    let invoicing = invoicing.context("the worker has no consumer")?;
    let job = context.job();
    let delivery = Delivery::new(job.payload().to_string()).with_id(job.id());
    match invoicing.consumer.run(write_invoice, delivery).await {
        Verdict::Done { .. } => {
            invoicing.live_on();
            Ok(())
        }
        Verdict::Again { cause, .. } => Err(cause.into()),
        Verdict::Dead(cause) => {
            // The letter comes first: if the job then runs again, its letter is already there.
            let letter = "INSERT INTO dead_jobs (job, payload, cause) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            sqlx::query(letter)
                .bind(job.id())
                .bind(job.payload().to_string())
                .bind(cause.to_string())
                .execute(&invoicing.pool)
                .await?;
            Ok(())
        }
    }
}

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS invoices (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        order_id text NOT NULL, cents bigint NOT NULL, job text NOT NULL);
    CREATE TABLE IF NOT EXISTS dead_jobs (job bigint PRIMARY KEY, payload text NOT NULL, cause text NOT NULL);";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::read().unwrap_or_else(|error| {
        eprintln!("{error}\n\n{}", Flags::HELP);
        std::process::exit(2);
    });
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO) // the level of idem's one line for each job
        .with_writer(std::io::stderr)
        .init();
    let pool = PgPool::connect(&flags.database_url).await?;
    WorkerUtils::new(pool.clone(), "graphile_worker")
        .migrate()
        .await?;
    if let Some(order) = &flags.enqueue {
        let add = "SELECT graphile_worker.add_job('order_shipped', json_build_object('order', $1::text, 'cents', $2))";
        let add = sqlx::query(add).bind(order).bind(flags.cents);
        add.execute(&pool).await?;
        println!("{order} is enqueued");
        return Ok(());
    }

    let store = PostgresStore::new(pool.clone());
    store.migrate().await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let invoicing = Invoicing {
        consumer: Consumer::new(Engine::new(store)),
        pool: pool.clone(),
        left: flags.die_after.map(|jobs| Arc::new(AtomicU32::new(jobs))),
    };
    // A worker that has not been heard of for so long is dead, and its jobs are tried again.
    let dead_after = Duration::from_secs(flags.dead_after);
    let worker = WorkerOptions::default()
        .pg_pool(pool)
        .concurrency(4)
        .heartbeat_interval(dead_after / 4)
        .sweep_interval(dead_after / 2)
        .sweep_threshold(dead_after)
        .recovery_delay(Duration::ZERO)
        .add_extension(invoicing)
        .define_job::<OrderShipped>()
        .init()
        .await?;
    println!("working\n\n{}", introduction(&flags.database_url));
    // It ends at SIGINT and SIGTERM.
    worker.run().await?;
    Ok(())
}

struct Flags {
    database_url: String,
    enqueue: Option<String>,
    cents: i64,
    dead_after: u64,
    die_after: Option<u32>,
}

impl Flags {
    const HELP: &str = "\
--database-url URL       a database of PostgreSQL (required)
--enqueue ORDER          enqueue a job for this order, and end
--cents AMOUNT           the price of the order [500]
--dead-after SECONDS     when a silent worker is taken for dead [60]
--die-after JOBS         die as soon as so many jobs are done, before the queue knows of the last one";

    fn read() -> Result<Self, lexopt::Error> {
        let (mut database_url, mut enqueue, mut cents, mut dead_after) = (None, None, 500, 60);
        let mut die_after = None;
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("database-url") => database_url = Some(arguments.value()?.string()?),
                Long("enqueue") => enqueue = Some(arguments.value()?.string()?),
                Long("cents") => cents = arguments.value()?.parse()?,
                Long("dead-after") => dead_after = arguments.value()?.parse()?,
                Long("die-after") => die_after = Some(arguments.value()?.parse()?),
                Long("help") | Short('h') => {
                    println!("{}", Self::HELP);
                    std::process::exit(0);
                }
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Self {
            database_url: database_url.ok_or("`--database-url` is missing")?,
            enqueue,
            cents,
            dead_after,
            die_after,
        })
    }
}

/// Commands to try.
fn introduction(url: &str) -> String {
    let enqueue = format!("cargo run -p invoicing -- --database-url {url} --enqueue order-1");
    format!(
        "\
# A shipped order is invoiced.
{enqueue}

# The same order again is another job, and another invoice: what the order's own id should prevent is a matter of the
# data, by UNIQUE (order_id).
{enqueue}

# An order without a price is a dead letter, in the table dead_jobs.
{enqueue} --cents 0

# Kill this program at any time, or let it die at the worst one by `--die-after 3`: the next one gets the jobs that it had not ended, and invoices none of them twice."
    )
}
