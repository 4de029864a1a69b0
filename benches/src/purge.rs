//! How fast expired records are purged, and how that affects requests.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use idem_axum::Engine;

use crate::contestant::Contestant;
use crate::database::Bank;
use crate::plan::{self, Entry, Keys};
use crate::race::{Ground, Runner, median};
use crate::report::{Table, milliseconds};

/// How many clients send fresh requests.
const CLIENTS: usize = 16;

/// How long they do so between two checks for the end of the purge.
const SLICE: Duration = Duration::from_millis(50);

/// Purges this many records this often, with and without requests at the same time.
pub(crate) async fn run<C: Bank>(
    ground: &Ground<C>,
    (records, rounds): (i64, usize),
) -> Result<String> {
    let mut without = start(ground, "without a purge").await?;
    let mut during = start(ground, "during a purge").await?;
    without.warm_up().await?;
    during.warm_up().await?;
    let engine = Engine::new(C::store(ground.direct.clone()));
    let (mut alone, mut shared) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        expire(ground, records).await?;
        alone.push(purge::<C>(&engine, records).await?);
        expire(ground, records).await?;
        for _ in 0..10 {
            without.measure(SLICE).await?;
        }
        let engine = engine.clone();
        let purging = tokio::spawn(async move { purge::<C>(&engine, records).await });
        while !purging.is_finished() {
            during.measure(SLICE).await?;
        }
        shared.push(purging.await??);
    }
    let mut table = Table::new(&["fresh requests", "p50 ms", "p99 ms", "per second"]);
    for tally in [without.into_tally(), during.into_tally()] {
        table.row([
            tally.name.clone(),
            milliseconds(tally.quantile(0.5)),
            milliseconds(tally.quantile(0.99)),
            format!("{:.0}", tally.rate()),
        ]);
    }
    Ok(format!(
        "Records purged per second: {:.0} alone, {:.0} with {CLIENTS} clients that send fresh \
         requests. Medians of {rounds} purges of {records} records.\n\n{table}",
        median(&alone),
        median(&shared),
    ))
}

async fn start<C: Bank>(ground: &Ground<C>, name: &str) -> Result<Runner<C>> {
    let (contestant, keys) = (Contestant::Idem, Keys::Fresh);
    let entry = Entry { contestant, keys };
    let runner = Runner::start(ground, &plan::plain(CLIENTS, keys), entry).await?;
    Ok(runner.context("idem is everywhere")?.named(name.to_owned()))
}

async fn expire<C: Bank>(ground: &Ground<C>, records: i64) -> Result<()> {
    let mut connection = ground.direct.acquire().await?;
    connection.insert(C::INSERT_EXPIRED, records).await?;
    Ok(())
}

/// Records per second.
async fn purge<C: Bank>(engine: &Engine<C::Store>, records: i64) -> Result<f64> {
    let start = Instant::now();
    let purged = engine.purge_expired().await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(i64::try_from(purged)? == records, "{purged} were purged");
    #[expect(clippy::cast_precision_loss, reason = "thousands of records")]
    let purged = purged as f64;
    Ok(purged / seconds)
}
