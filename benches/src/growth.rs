//! How a large table changes what requests cost.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use idem_core::store::ScopeDigest;
use sqlx::{PgConnection, PgPool};

use crate::business::CUSTOMERS;
use crate::contestant::Contestant;
use crate::database::{Cluster, Sql as _};
use crate::load::tenant;
use crate::plan::{self, Entry, Keys, Pace};
use crate::race::{self, Ground, Runner, Tally};
use crate::report::{Table, milliseconds};

/// The results.
pub(crate) struct Growth {
    /// The median of fresh requests in the largest table to that in the empty one.
    pub(crate) ratio: f64,
    /// The section of the report.
    pub(crate) text: String,
}

/// A database with this many records.
struct Size {
    name: String,
    ground: Ground<PgConnection>,
    bytes_per_record: Option<i64>,
}

/// Measures databases of all sizes, in turn.
pub(crate) async fn run(
    cluster: &Cluster<PgConnection>,
    sizes: &[i64],
    pace: Pace,
) -> Result<Growth> {
    let mut grown = Vec::new();
    for &records in sizes {
        grown.push(Size::create(cluster, records).await?);
    }
    let mut growth = Growth {
        ratio: f64::NAN,
        text: INTRODUCTION.to_owned(),
    };
    for keys in [Keys::Fresh, Keys::Replay] {
        for clients in [1, 16] {
            let tallies = by_turns(&grown, clients, keys, pace).await?;
            let table = table(&grown, &tallies);
            let what = match keys {
                Keys::Replay => "replays",
                Keys::Fresh | Keys::Mixed => "fresh requests",
            };
            let plural = if clients == 1 { "" } else { "s" };
            let _ = write!(
                growth.text,
                "\n{clients} client{plural}, {what}:\n\n{table}"
            );
            if let ([first, .., last], 1, Keys::Fresh) = (&tallies[..], clients, keys) {
                growth.ratio = p50_ratio(last, first);
            }
        }
    }
    for Size { ground, .. } in grown {
        ground.direct.close().await;
    }
    Ok(growth)
}

const INTRODUCTION: &str = "Over HTTP on loopback, one statement. The records are of the same \
     tenants that send the requests, none has expired, and replays are of records written a \
     moment before. The ratio is of the medians of latencies. The records were inserted without \
     the indexes, which were then built.\n";

impl Size {
    async fn create(cluster: &Cluster<PgConnection>, records: i64) -> Result<Self> {
        let database = cluster.create().await?;
        let pool = database.pool(None).await?;
        let direct = pool.clone();
        let ground = Ground { pool, direct };
        // Writes the record that the others are copied from.
        start(&ground, 1, Keys::Fresh).await?.warm_up().await?;
        let mut bytes_per_record = None;
        if records > 0 {
            fill(&ground.direct, records).await?;
            let mut connection = ground.direct.acquire().await?;
            bytes_per_record = Some(connection.number(BYTES_PER_RECORD).await?);
        }
        Ok(Self {
            name: match records {
                0 => "no records".to_owned(),
                1_000_000.. => format!("{} M records", records / 1_000_000),
                _ => format!("{records} records"),
            },
            ground,
            bytes_per_record,
        })
    }
}

const BYTES_PER_RECORD: &str =
    "SELECT pg_total_relation_size('idem.records') / count(*) FROM idem.records";

const WITHOUT_INDEXES: &str = "ALTER TABLE idem.records DROP CONSTRAINT records_pkey; \
     DROP INDEX idem.records_expires_at";

/// Identities as those of live records: a scope's digest, and half a digest of all.
const INSERT: &str = "INSERT INTO idem.records \
     SELECT scopes.digest || substr(sha256(int8send(number)), 1, 16), \
     operation, state, attempts, status, fingerprint, response, settled_at, \
     expires_at + number % 86400 * interval '1 second' \
     FROM generate_series($1::bigint, $2) AS number \
     JOIN unnest($3::bytea[]) WITH ORDINALITY AS scopes (digest, scope) \
     ON scope = 1 + number % cardinality($3::bytea[]) \
     CROSS JOIN (SELECT * FROM idem.records LIMIT 1) AS record";

const INDEXES: &str = "SET maintenance_work_mem = '512MB'; \
     ALTER TABLE idem.records ADD CONSTRAINT records_pkey PRIMARY KEY (identity); \
     CREATE INDEX records_expires_at ON idem.records (expires_at); \
     RESET maintenance_work_mem";

/// Inserts this many records. The indexes are dropped first, because building them afterwards takes
/// a fraction of the time.
async fn fill(pool: &PgPool, records: i64) -> Result<()> {
    let mut connection = pool.acquire().await?;
    connection.run(WITHOUT_INDEXES).await?;
    let digest = |customer| ScopeDigest::new(Some(&tenant(customer))).first()[..16].to_vec();
    let scopes: Vec<Vec<u8>> = (0..CUSTOMERS).map(digest).collect();
    let half = records / 2;
    let insert = async |from: i64, to: i64| -> sqlx::Result<()> {
        let mut connection = pool.acquire().await?;
        let insert = sqlx::query(INSERT).bind(from).bind(to).bind(&scopes);
        insert.execute(&mut *connection).await?;
        Ok(())
    };
    tokio::try_join!(insert(1, half), insert(half + 1, records))?;
    connection.run(INDEXES).await?;
    connection.run("VACUUM ANALYZE idem.records").await?;
    connection.run("CHECKPOINT").await?;
    Ok(())
}

async fn start(
    ground: &Ground<PgConnection>,
    clients: usize,
    keys: Keys,
) -> Result<Runner<PgConnection>> {
    let contestant = Contestant::Idem;
    let entry = Entry { contestant, keys };
    let runner = Runner::start(ground, &plan::plain(clients, keys), entry).await?;
    runner.context("idem is on PostgreSQL")
}

async fn by_turns(sizes: &[Size], clients: usize, keys: Keys, pace: Pace) -> Result<Vec<Tally>> {
    let mut runners = Vec::new();
    for Size { name, ground, .. } in sizes {
        let mut runner = start(ground, clients, keys).await?.named(name.clone());
        runner.warm_up().await?;
        runners.push(runner);
    }
    for round in 0..pace.rounds {
        race::by_turns(&mut runners, round, pace.slice).await?;
    }
    Ok(runners.into_iter().map(Runner::into_tally).collect())
}

fn p50_ratio(tally: &Tally, base: &Tally) -> f64 {
    tally.quantile(0.5).as_secs_f64() / base.quantile(0.5).as_secs_f64()
}

fn table(sizes: &[Size], tallies: &[Tally]) -> Table {
    let mut table = Table::new(&[
        "",
        "ratio",
        "p50 ms",
        "p99 ms",
        "per second",
        "bytes per record",
    ]);
    for (size, tally) in sizes.iter().zip(tallies) {
        let bytes = size.bytes_per_record;
        table.row([
            tally.name.clone(),
            format!("{:.2}", p50_ratio(tally, &tallies[0])),
            milliseconds(tally.quantile(0.5)),
            milliseconds(tally.quantile(0.99)),
            format!("{:.0}", tally.rate()),
            bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
        ]);
    }
    table
}
