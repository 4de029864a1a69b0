//! How fast relays publish, by the size of a batch and the number of relays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use idem_core::once::{Failure, Key, Policy};
use idem_core::{Attempt, Engine};
use idem_outbox::{Outbox, PushError, Relay};
use tokio::time::sleep;
use uuid::Uuid;

use crate::database::{Bank, PoolOf};
use crate::race::{Ratio, median, place};
use crate::report::Table;

/// The messages of a batch, and the relays. The others are compared to the first, which has the default batch.
const SITUATIONS: [(u32, u32); 7] = [
    (100, 1),
    (1, 1),
    (10, 1),
    (1_000, 1),
    (100, 2),
    (100, 4),
    (100, 8),
];

/// The time of a confirmation by the broker, rounded up by tokio's timers.
const CONFIRMED_AFTER: Duration = Duration::from_millis(1);

/// The messages that one request pushes.
const MESSAGES: u32 = 100;

/// The most batches that a relay publishes in a round.
const BATCHES: u32 = 100;

static FILL: Policy = Policy::new("fill", Duration::from_hours(1));

/// Publishes this many messages this often in each situation, in another order each round.
pub(crate) async fn run<C: Bank>(
    pool: PoolOf<C>,
    (messages, rounds): (u32, usize),
) -> Result<String> {
    let outbox = Outbox::new(C::store(pool.clone()));
    outbox.migrate().await?;
    let engine = Engine::new(C::store(pool));
    let mut rates = SITUATIONS.map(|_| Vec::new());
    for round in 0..rounds {
        for turn in 0..SITUATIONS.len() {
            let place = place(round, turn, SITUATIONS.len());
            let (batch, relays) = SITUATIONS[place];
            let messages = messages.min(batch * relays * BATCHES);
            for _ in 0..messages / MESSAGES {
                push::<C>(&engine, &outbox).await?;
            }
            rates[place].push(publish::<C>(&outbox, batch, relays, messages).await?);
        }
    }
    let mut table = Table::new(&["", "ratio", "rounds", "messages per second"]);
    for ((batch, relays), own) in SITUATIONS.iter().zip(&rates) {
        let ratio = Ratio::of(own, &rates[0]);
        let plural = if *relays == 1 { "" } else { "s" };
        table.row([
            format!("{relays} relay{plural}, batches of {batch}"),
            format!("{:.2}", ratio.median),
            format!("{:.2} to {:.2}", ratio.least, ratio.greatest),
            format!("{:.0}", median(own)),
        ]);
    }
    Ok(format!(
        "Relays in one process publish what is in the outbox, to a broker that confirms after {} ms. Medians of \
         {rounds} rounds with at most {messages} messages.\n\n{table}",
        CONFIRMED_AFTER.as_millis(),
    ))
}

async fn push<C: Bank>(engine: &Engine<C::Store>, outbox: &Outbox<C::Store>) -> Result<()> {
    let push = async |tx: &mut C, attempt: &Attempt| -> Result<(), Failure<PushError, String>> {
        for number in 0..MESSAGES {
            outbox.push(tx, attempt, "orders", &number).await?;
        }
        Ok(())
    };
    let key = Key::new("acme", Uuid::new_v4());
    engine.once(&FILL, key, "", push).await?;
    Ok(())
}

/// Messages per second.
async fn publish<C: Bank>(
    outbox: &Outbox<C::Store>,
    batch: u32,
    relays: u32,
    messages: u32,
) -> Result<f64> {
    let start = Instant::now();
    let relays = (0..relays).map(|_| {
        let confirm = async |_| {
            sleep(CONFIRMED_AFTER).await;
            Ok(())
        };
        let relay = Relay::new(outbox.clone(), confirm).with_batch(batch);
        tokio::spawn(async move {
            let mut published = 0;
            loop {
                match relay.run_once().await?.published {
                    0 => return anyhow::Ok(published),
                    more => published += more,
                }
            }
        })
    });
    let published = try_join_all(relays).await?;
    let seconds = start.elapsed().as_secs_f64();
    let published: u32 = published
        .into_iter()
        .sum::<Result<u32>>()
        .context("a relay")?;
    ensure!(published == messages, "{published} were published");
    Ok(f64::from(published) / seconds)
}
