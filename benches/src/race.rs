//! Runs contestants against each other, in short slices, in turn.

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use std::time::Duration;

use crate::database::{Bank, PoolOf};
use crate::load::{self, Client, HttpClient, Load, Service, Slice, StoreClient};
use crate::plan::{Entry, Keys, Level, Pace, Scenario};

/// How many requests each client sends before anything is measured.
const WARM_UP: usize = 48;

/// Where a scenario runs.
pub(crate) struct Ground<C: Bank> {
    /// The service's pool, possibly through a proxy that delays.
    pub(crate) pool: PoolOf<C>,
    /// The benchmark's own pool on the same database.
    pub(crate) direct: PoolOf<C>,
}

/// Runs a scenario.
pub(crate) async fn run<C: Bank>(
    ground: &Ground<C>,
    scenario: &Scenario,
    pace: Pace,
) -> Result<Vec<Tally>> {
    let mut runners = Vec::new();
    for entry in scenario.entries() {
        let name = entry.to_string();
        let runner = Runner::start(ground, scenario, entry).await;
        runners.extend(runner.context(name)?);
    }
    for runner in &mut runners {
        runner.warm_up().await?;
    }
    for round in 0..pace.rounds {
        ground.direct.acquire().await?.run(C::EMPTY).await?;
        by_turns(&mut runners, round, pace.slice).await?;
    }
    Ok(runners.into_iter().map(|runner| runner.tally).collect())
}

/// Runs every contestant once.
pub(crate) async fn by_turns<C: Bank>(
    runners: &mut [Runner<C>],
    round: usize,
    slice: Duration,
) -> Result<()> {
    let count = runners.len();
    for turn in 0..count {
        let runner = &mut runners[place(round, turn, count)];
        let done = runner.measure(slice).await;
        done.with_context(|| runner.tally.name.clone())?;
    }
    Ok(())
}

/// Whose turn it is. The order is another one each round, and every other round the reverse: what a contestant leaves the
/// server to do afterwards must not always meet the same one.
pub(crate) fn place(round: usize, turn: usize, count: usize) -> usize {
    let turn = if round.is_multiple_of(2) {
        turn
    } else {
        count - 1 - turn
    };
    (round + turn) % count
}

/// A contestant in a race.
pub(crate) struct Runner<C: Bank> {
    entry: Entry,
    team: Team<C>,
    direct: PoolOf<C>,
    tally: Tally,
    counts_records: bool,
}

enum Team<C: Bank> {
    Http(
        Vec<HttpClient>,
        #[expect(dead_code, reason = "dropping it ends it")] Service,
    ),
    Store(Vec<StoreClient<C>>),
}

impl<C: Bank> Runner<C> {
    /// Starts the contestant's service and clients; `None` if the database does not support it.
    pub(crate) async fn start(
        ground: &Ground<C>,
        scenario: &Scenario,
        entry: Entry,
    ) -> Result<Option<Self>> {
        let (contestant, business) = (entry.contestant, scenario.business);
        let team = match scenario.level {
            Level::Http => {
                let router = contestant.router::<C>(ground.pool.clone(), business);
                let Some(router) = router else {
                    return Ok(None);
                };
                let service = Service::start(router).await?;
                Team::Http(service.clients(scenario.clients).await?, service)
            }
            Level::Store => {
                let team = StoreClient::team(contestant, &ground.pool, business, scenario.clients);
                let Some(clients) = team else {
                    return Ok(None);
                };
                Team::Store(clients)
            }
        };
        Ok(Some(Self {
            entry,
            team,
            direct: ground.direct.clone(),
            tally: Tally::new(entry.to_string()),
            counts_records: true,
        }))
    }

    /// The same under another name, and without counting the records: for races with too many records, and for races
    /// during which records are deleted.
    pub(crate) fn named(mut self, name: String) -> Self {
        self.tally.name = name;
        self.counts_records = false;
        self
    }

    pub(crate) async fn warm_up(&mut self) -> Result<()> {
        match &mut self.team {
            Team::Http(clients, _) => warm_up(clients, self.entry.keys).await,
            Team::Store(clients) => warm_up(clients, self.entry.keys).await,
        }
    }

    /// Runs for one slice, and checks that everything was written that should have been.
    pub(crate) async fn measure(&mut self, length: Duration) -> Result<()> {
        let load = match &mut self.team {
            Team::Http(clients, _) => prepare(clients, self.entry.keys).await?,
            Team::Store(clients) => prepare(clients, self.entry.keys).await?,
        };
        let before = self.rows().await?;
        let slice = match &mut self.team {
            Team::Http(clients, _) => load::drive(clients, &load, length).await?,
            Team::Store(clients) => load::drive(clients, &load, length).await?,
        };
        let after = self.rows().await?;
        let executed = i64::try_from(slice.executed)?;
        let contestant = self.entry.contestant;
        if contestant.pays() {
            let paid = after.payments - before.payments;
            ensure!(paid == executed, "{paid} payments for {executed} requests");
        }
        if contestant.records::<C>().is_some() && self.counts_records {
            let recorded = after.records - before.records;
            ensure!(
                recorded == executed,
                "{recorded} records for {executed} requests"
            );
        }
        self.tally.add(&slice, length);
        Ok(())
    }

    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    async fn rows(&self) -> Result<Rows> {
        let mut connection = self.direct.acquire().await?;
        let records = self.entry.contestant.records::<C>();
        Ok(Rows {
            payments: connection.number("SELECT count(*) FROM payments").await?,
            records: match records {
                Some(query) if self.counts_records => connection.number(query).await?,
                _ => 0,
            },
        })
    }
}

struct Rows {
    payments: i64,
    records: i64,
}

/// Every statement has to be prepared on every connection, and each kind of work done once.
pub(crate) async fn warm_up<K: Client>(clients: &mut Vec<K>, keys: Keys) -> Result<()> {
    let count = clients.len() * WARM_UP.div_ceil(clients.len().min(8));
    load::record(clients, count).await?;
    let load = prepare(clients, keys).await?;
    load::drive(clients, &load, Duration::from_millis(20)).await?;
    Ok(())
}

/// The load of a slice, whose replays are of records written a moment before.
pub(crate) async fn prepare<K: Client>(clients: &mut Vec<K>, keys: Keys) -> Result<Load> {
    let recorded = load::recorded(clients.len());
    Ok(match keys {
        Keys::Fresh => Load::Fresh,
        Keys::Replay => Load::Replay(load::record(clients, recorded).await?),
        Keys::Mixed => Load::Mixed(load::record(clients, recorded).await?),
    })
}

/// The longest latency that is measured exactly, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// The results of a contestant.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) name: String,
    /// Requests per second, round by round, of all runs.
    pub(crate) rates: Vec<f64>,
    /// Nanoseconds.
    latencies: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            rates: Vec::new(),
            latencies: Histogram::new_with_max(LONGEST, 3).expect("three digits are possible"),
        }
    }

    pub(crate) fn add(&mut self, slice: &Slice, length: Duration) {
        let answered = f64::from(slice.answered);
        self.rates.push(answered / length.as_secs_f64());
        for latency in &slice.latencies {
            let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(nanoseconds);
        }
    }

    /// Adds the results of another run.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rates.extend_from_slice(&other.rates);
        let added = self.latencies.add(&other.latencies);
        added.expect("both histograms have the same range");
    }

    /// Requests per second, the median of the rounds.
    pub(crate) fn rate(&self) -> f64 {
        median(&self.rates)
    }

    /// The latency that this share of the requests did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(share))
    }

    /// The throughput as a ratio to another contestant's in the same rounds.
    pub(crate) fn ratio(&self, base: &Self) -> Ratio {
        Ratio::of(&self.rates, &base.rates)
    }
}

/// A ratio, taken in every round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Ratio {
    /// Of two values in each round.
    pub(crate) fn of(own: &[f64], base: &[f64]) -> Self {
        let rounds = own.iter().zip(base);
        let rounds: Vec<f64> = rounds.map(|(own, base)| own / base).collect();
        Self {
            median: median(&rounds),
            least: rounds.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: rounds.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// The median. The upper one of two in the middle; `NaN` if there is no value.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let tally = |rates: &[f64]| Tally {
            rates: rates.to_vec(),
            ..Tally::new(String::new())
        };
        let ratio = tally(&[90.0, 8.0, 700.0]).ratio(&tally(&[100.0, 10.0, 1000.0]));
        assert!((ratio.median - 0.8).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.least - 0.7).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.greatest - 0.9).abs() < 1e-9, "{ratio:?}");
    }

    #[test]
    fn latencies_up_to_a_minute_are_measured() {
        let mut tally = Tally::new(String::new());
        let latencies = vec![Duration::from_millis(1), Duration::from_secs(20)];
        let slice = Slice {
            latencies,
            ..Slice::default()
        };
        tally.add(&slice, Duration::from_secs(1));
        assert_eq!(tally.quantile(0.5).as_micros() / 10, 100);
        assert_eq!(tally.quantile(0.99).as_secs(), 20);
    }
}
