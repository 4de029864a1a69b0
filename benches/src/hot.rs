//! What one client that sends one key at full speed costs the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Config, Engine, RateLimit, idempotent};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::business::{Business, NewPayment, Receipt};
use crate::contestant::{Failure, PATH, Tenant};
use crate::database::{Bank, PoolOf};
use crate::load::{Ask, Client as _, HttpClient, Service};
use crate::race::{Ground, Ratio, median};
use crate::report::Table;

/// How many other clients there are, and how often each of them sends a fresh request. They leave the machine time, so
/// that their latencies show what the hot key costs, and not the speed of the machine.
const CLIENTS: usize = 8;
const PERIOD: Duration = Duration::from_millis(10);

/// Where the handler waits until it is let go.
const GATED: &str = "/gated";

/// Where nothing is done at all.
const REFUSED: &str = "/refused";

/// The state of the hot key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hot {
    Absent,
    /// The same client on a route without idem: what its requests cost by themselves.
    Elsewhere,
    Settled,
    InFlight,
}

/// The others' latencies with a hot key and without it, with a rate limit and without it.
pub(crate) async fn run<C: Bank>(
    ground: &Ground<C>,
    slice: Duration,
    rounds: usize,
) -> Result<String> {
    let limit = Config::new().with_key_rate(RateLimit::per_second(5));
    let (free, limited) = (Config::new(), limit);
    let mut situations = Vec::new();
    for (name, hot, config) in [
        ("no hot key", Hot::Absent, &free),
        ("a route without idem", Hot::Elsewhere, &free),
        ("settled", Hot::Settled, &free),
        ("settled, 5 per second", Hot::Settled, &limited),
        ("in flight", Hot::InFlight, &free),
        ("in flight, 5 per second", Hot::InFlight, &limited),
    ] {
        let situation = Situation::start::<C>(name, hot, ground.pool.clone(), config).await;
        situations.push(situation.context(name)?);
    }
    for round in 0..=rounds {
        ground.direct.acquire().await?.run(C::EMPTY).await?;
        let count = situations.len();
        for turn in 0..count {
            let situation = &mut situations[(round + turn) % count];
            let done = situation.measure(slice).await;
            done.with_context(|| situation.name)?;
            if round == 0 {
                // To warm up.
                situation.rounds.clear();
                situation.sent = 0;
            }
        }
    }
    let mut table = Table::new(&[
        "hot key",
        "p99, to none",
        "rounds",
        "p50 ms",
        "p99 ms",
        "its requests per second",
    ]);
    let base = situations[0].percentiles(99);
    for situation in &situations {
        let p99 = situation.percentiles(99);
        let ratio = Ratio::of(&p99, &base);
        let seconds = slice.as_secs_f64() * f64::from(u32::try_from(rounds)?);
        table.row([
            situation.name.to_owned(),
            format!("{:.2}", ratio.median),
            format!("{:.2} to {:.2}", ratio.least, ratio.greatest),
            format!("{:.3}", median(&situation.percentiles(50))),
            format!("{:.3}", median(&p99)),
            format!("{:.0}", f64::from(situation.sent) / seconds),
        ]);
    }
    Ok(format!(
        "{CLIENTS} clients send a fresh request every {} ms each. One more client sends one key at full speed, \
         on one connection; it does not wait for `Retry-After`. Percentiles are the medians of {rounds} rounds. The \
         goal with a limit is at most 1.10; the second line is what the hot client's requests cost without idem, as \
         clients and service share the processors.\n\n{table}",
        PERIOD.as_millis(),
    ))
}

/// A service, and its clients.
struct Situation {
    name: &'static str,
    hot: Hot,
    gate: Arc<Semaphore>,
    service: Service,
    others: Vec<HttpClient>,
    /// The latencies of the others in milliseconds, sorted, round by round.
    rounds: Vec<Vec<f64>>,
    /// How many requests with the hot key were answered.
    sent: u32,
}

impl Situation {
    async fn start<C: Bank>(
        name: &'static str,
        hot: Hot,
        pool: PoolOf<C>,
        config: &Config,
    ) -> Result<Self> {
        let gate = Arc::new(Semaphore::new(0));
        let service = Service::start(router::<C>(pool, config.clone(), Arc::clone(&gate))).await?;
        let others = service.clients(CLIENTS).await?;
        Ok(Self {
            name,
            hot,
            gate,
            service,
            others,
            rounds: Vec::new(),
            sent: 0,
        })
    }

    async fn measure(&mut self, slice: Duration) -> Result<()> {
        let done = Arc::new(AtomicBool::new(false));
        let hot = self.heat(&done).await?;
        let end = Instant::now() + slice;
        let others = self.others.drain(..).enumerate();
        let others: Vec<_> = others
            .map(|(index, client)| tokio::spawn(send_until(end, index, client)))
            .collect();
        let mut round = Vec::new();
        for task in others {
            let (client, latencies) = task.await??;
            self.others.push(client);
            round.extend(latencies);
        }
        round.sort_unstable_by(f64::total_cmp);
        self.rounds.push(round);
        done.store(true, Ordering::Relaxed);
        if let Some((first, hammering)) = hot {
            self.sent += hammering.await??;
            self.gate.add_permits(1);
            let status = first.await??;
            ensure!(!status.is_server_error(), "{status}");
            self.gate.forget_permits(1);
        }
        Ok(())
    }

    /// Sends the first request with a new key, and then the same one again and again.
    async fn heat(&self, done: &Arc<AtomicBool>) -> Result<Option<(Task<StatusCode>, Task<u32>)>> {
        let path = match self.hot {
            Hot::Absent => return Ok(None),
            Hot::Elsewhere => REFUSED,
            Hot::Settled => PATH,
            Hot::InFlight => GATED,
        };
        let ask = Ask::fresh();
        let mut clients = self.service.clients(2).await?.into_iter();
        let mut client = || clients.next().context("there are two");
        let (mut first, mut hammer) = (client()?, client()?);
        let asked = ask.clone();
        let first = tokio::spawn(async move { first.status(path, &asked).await });
        // Until it is settled, or waits.
        sleep(Duration::from_millis(50)).await;
        let done = Arc::clone(done);
        let hammering = tokio::spawn(async move {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                let status = hammer.status(path, &ask).await?;
                ensure!(!status.is_server_error(), "{status}");
                sent += 1;
            }
            Ok(sent)
        });
        Ok(Some((first, hammering)))
    }

    /// The latency in milliseconds that this share of the requests did not exceed, round by round. A pause of the disk
    /// is then one round's, and not everybody's.
    fn percentiles(&self, percent: usize) -> Vec<f64> {
        let of_round = |round: &Vec<f64>| {
            let last = round.len().saturating_sub(1);
            round.get(last * percent / 100).copied()
        };
        self.rounds.iter().filter_map(of_round).collect()
    }
}

type Task<T> = JoinHandle<Result<T>>;

/// Fresh requests at fixed times. A request that is sent late, as the one before took too long, counts from its time.
async fn send_until(
    end: Instant,
    index: usize,
    mut client: HttpClient,
) -> Result<(HttpClient, Vec<f64>)> {
    sleep(PERIOD * u32::try_from(index)? / u32::try_from(CLIENTS)?).await;
    let mut times = interval(PERIOD);
    times.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let time = times.tick().await;
        client.call(&Ask::fresh()).await?;
        latencies.push(1000.0 * time.elapsed().as_secs_f64());
    }
    Ok((client, latencies))
}

struct App<C: Bank> {
    engine: Engine<C::Store>,
    gate: Arc<Semaphore>,
}

impl<C: Bank> Clone for App<C> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            gate: Arc::clone(&self.gate),
        }
    }
}

impl<C: Bank> FromRef<App<C>> for Engine<C::Store> {
    fn from_ref(app: &App<C>) -> Self {
        app.engine.clone()
    }
}

fn router<C: Bank>(pool: PoolOf<C>, config: Config, gate: Arc<Semaphore>) -> Router {
    let engine = Engine::with_config(C::store(pool), config);
    Router::new()
        .route(PATH, post(pay::<C>))
        .route(GATED, post(gated::<C>))
        .route(REFUSED, post(async || StatusCode::TOO_MANY_REQUESTS))
        .with_state(App::<C> { engine, gate })
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn pay<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Receipt>), Failure> {
    let id = tx.pay(Business::One, &tenant.0, &payment).await?;
    let receipt = Receipt::new(id, &tenant.0, payment);
    Ok((StatusCode::CREATED, Json(receipt)))
}

/// Its duplicates are answered at once.
#[idempotent(ttl = "24h", scope = "tenant", wait = "0s", deadline = "1h")]
async fn gated<C: Bank>(
    tx: &mut C,
    tenant: Tenant,
    State(app): State<App<C>>,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Receipt>), Failure> {
    let id = tx.pay(Business::One, &tenant.0, &payment).await?;
    let _open = app.gate.acquire().await?;
    let receipt = Receipt::new(id, &tenant.0, payment);
    Ok((StatusCode::CREATED, Json(receipt)))
}
