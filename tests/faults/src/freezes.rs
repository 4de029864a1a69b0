//! Services that are stopped by SIGSTOP in the middle of rides, until another one has taken over.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::{join, join_all};
use idem_tests::{Answer, Database};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::history::History;
use crate::report::Report;
use crate::ride::micros;
use crate::rides::{Fleet, Keys, Peers, hex, numbers, ride};

/// The lease of the test services' rides.
const LEASE: Duration = Duration::from_secs(1);

/// How long a takeover may take: the server ends the transactions of a frozen process after the `deadline` of
/// rides plus one second.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The number of freezes, and the load.
#[derive(Debug, Clone)]
pub struct Freezes {
    /// The number of freezes during which others can write.
    pub times: usize,
    /// The number of rides that begin before each.
    pub rides: u64,
    /// The time within which they begin. At its end the service is frozen.
    pub within: Duration,
    /// The time that a handler works in each transaction, and after each step.
    pub work: Duration,
    /// The time before a charge, and after it.
    pub delay: Duration,
    /// Decides when each ride begins.
    pub rng: Rng,
}

impl Freezes {
    /// Rides for a database. Where there is one writer, they are few and mostly wait for the services that they call.
    /// So not each freeze hits the writer.
    pub fn some<D: Database>(times: usize, rng: Rng) -> Self {
        let [rides, within, work, delay] = if D::ONE_WRITER {
            [6, 600, 1, 60]
        } else {
            [16, 400, 15, 10]
        };
        Self {
            times,
            rides,
            within: Duration::from_millis(within),
            work: Duration::from_millis(work),
            delay: Duration::from_millis(delay),
            rng,
        }
    }
}

/// When a frozen service continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wakes {
    /// As soon as another attempt has taken over.
    DuringTakeover,
    /// When all its rides are answered.
    AfterTakeover,
}

/// A ride has four steps.
const ALL_HALVES: i64 = 8;

/// Where a ride was when its service was frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing of it was committed: it was not claimed, or in the transaction of its claim.
    Unclaimed,
    /// In another transaction, after this many halves of a step; an intent is a half.
    Inside(i64),
    /// In no transaction, after this many halves of a step.
    Between(i64),
    /// After its last step: in the transaction of the record, or before it.
    Settling,
    /// On its way to the client.
    Recorded,
}

/// What idem's tables say, by identity.
struct Standing {
    /// The attempts of runs.
    runs: HashMap<String, i64>,
    /// Those that no transaction has locked.
    free: HashMap<String, i64>,
    halves: HashMap<String, i64>,
    /// The attempts of records.
    records: HashMap<String, i64>,
}

impl Standing {
    async fn read<D: Database>(fleet: &Fleet<D>) -> Self {
        // One file has one lock for all its rows.
        let skip = if D::ONE_WRITER {
            ""
        } else {
            " FOR UPDATE SKIP LOCKED"
        };
        let runs = numbers::<D>("runs", "attempts");
        let halves = numbers::<D>("steps", "sum(CASE WHEN result IS NULL THEN 1 ELSE 2 END)");
        Self {
            free: fleet.numbers(&format!("{runs}{skip}")).await,
            runs: fleet.numbers(&runs).await,
            halves: fleet.numbers(&format!("{halves} GROUP BY identity")).await,
            records: fleet.numbers(&numbers::<D>("records", "attempts")).await,
        }
    }

    fn phase(&self, label: &str) -> Phase {
        let hex = hex(label);
        let halves = self.halves.get(&hex).copied().unwrap_or_default();
        if self.records.contains_key(&hex) {
            Phase::Recorded
        } else if halves == ALL_HALVES {
            Phase::Settling
        } else if self.free.contains_key(&hex) {
            Phase::Between(halves)
        } else if self.runs.contains_key(&hex) {
            Phase::Inside(halves)
        } else {
            Phase::Unclaimed
        }
    }

    /// The number of the last attempt.
    fn attempt(&self, label: &str) -> i64 {
        let hex = hex(label);
        let attempt = self.records.get(&hex).or_else(|| self.runs.get(&hex));
        attempt.copied().unwrap_or_default()
    }
}

/// X27: freezes one of two services, again and again.
pub async fn freeze_riders<D: Database>(program: &'static str, freezes: Freezes) -> Report {
    let peers = Peers {
        keys: Keys::Kept,
        delay: freezes.delay,
        are_lossy: false,
    };
    let fleet = Fleet::<D>::start(program, peers, freezes.work).await;
    let mut riding = Riding {
        fleet,
        freezes,
        history: History::default(),
        late: HashMap::new(),
        report: Report::default(),
    };
    let wakes = [Wakes::DuringTakeover, Wakes::AfterTakeover];
    let mut all = 0;
    while all < riding.freezes.times + riding.report.rides.blocked {
        assert!(
            all < 10 * riding.freezes.times,
            "each freeze hits the writer"
        );
        let taken_over = all - riding.report.rides.blocked;
        riding.freeze(all, wakes[taken_over % 2]).await;
        all += 1;
    }
    let Riding {
        fleet,
        history,
        late,
        report,
        ..
    } = riding;
    report.and(fleet.check(&history, &late).await)
}

struct Riding<D: Database> {
    fleet: Fleet<D>,
    freezes: Freezes,
    history: History,
    late: HashMap<String, u64>,
    report: Report,
}

impl<D: Database> Riding<D> {
    async fn freeze(&mut self, number: usize, wakes: Wakes) {
        let addresses = self.fleet.addresses();
        let (frozen, other) = (number % 2, addresses[1 - number % 2]);
        let mut pending = BTreeMap::new();
        let within = self.freezes.within;
        for client in 0..self.freezes.rides {
            let label = format!("ride-{number}-{client}");
            let request = ride(addresses[frozen], &label);
            let begins = within.mul_f64(self.freezes.rng.f64());
            let asked = tokio::spawn(async move {
                sleep(begins).await;
                request.attempt().await
            });
            pending.insert(label, asked);
        }
        sleep(within).await;
        let (stopped, since) = (micros(), Instant::now());
        self.fleet.services[frozen].freeze();
        // What was on the wire arrives.
        sleep(Duration::from_millis(50)).await;
        let before = Standing::read(&self.fleet).await;
        // A frozen writer keeps all others from writing, so nobody can take over.
        let is_blocked = D::ONE_WRITER && self.is_writing().await;
        let in_flight = pending.iter().filter(|(_, asked)| !asked.is_finished());
        let phases: BTreeMap<String, Phase> = in_flight
            .map(|(label, _)| (label.clone(), before.phase(label)))
            .collect();
        let unanswered = Cell::new(phases.len());
        let retries = phases.keys().map(async |label| {
            let request = ride(other, label);
            let ask = async || request.attempt().await;
            let took = self.history.persist(label, ask).await;
            unanswered.set(unanswered.get() - 1);
            took
        });
        let labels: Vec<String> = pending.keys().cloned().collect();
        let sleeping = async {
            if is_blocked {
                sleep((LEASE + LEASE / 4).saturating_sub(since.elapsed())).await;
            } else {
                self.taken_over(wakes, &phases, &before, &unanswered).await;
            }
            let asleep = Standing::read(&self.fleet).await;
            let written = self.written(frozen).await;
            self.fleet.services[frozen].thaw();
            (asleep, written, self.answers(pending).await)
        };
        let (recoveries, slept) = join(join_all(retries), sleeping).await;
        let (asleep, written, answers) = slept;
        for label in &labels {
            let request = ride(other, label);
            let ask = async || request.attempt().await;
            self.history.persist(label, ask).await;
        }
        let awake = Standing::read(&self.fleet).await;
        let wrote = self.written(frozen).await;
        for label in phases.keys() {
            let taken = asleep.attempt(label) > before.attempt(label);
            let rows = |of: &HashMap<String, i64>| of.get(label).copied().unwrap_or_default();
            let late = rows(&wrote) - rows(&written)
                + i64::from(awake.attempt(label) < asleep.attempt(label));
            if taken && late > 0 {
                self.late.insert(label.clone(), late.unsigned_abs());
            }
        }
        self.report.faults += 1;
        self.report.recoveries.extend(recoveries);
        let rides = &mut self.report.rides;
        for label in phases.keys() {
            *rides.own.entry(kind(answers[label].as_ref())).or_default() += 1;
        }
        rides.frozen += phases.len();
        rides.blocked += usize::from(is_blocked);
        if wakes == Wakes::AfterTakeover && !is_blocked {
            rides.measure(stopped, &phases, &self.history.answered());
        }
        for phase in phases.into_values() {
            *rides.phases.entry(phase).or_default() += 1;
        }
    }

    async fn is_writing(&self) -> bool {
        let mut connection = self.fleet.pool.acquire().await.expect("a connection");
        D::unfinished(&mut connection).await > 0
    }

    /// Waits for the first ride that is taken over, or until all have been answered.
    async fn taken_over(
        &self,
        wakes: Wakes,
        phases: &BTreeMap<String, Phase>,
        before: &Standing,
        unanswered: &Cell<usize>,
    ) {
        let between = phases
            .iter()
            .filter(|(_, phase)| matches!(phase, Phase::Between(_)));
        let between: Vec<_> = between.map(|(label, _)| label).collect();
        let start = Instant::now();
        while unanswered.get() > 0 {
            if wakes == Wakes::DuringTakeover {
                let standing = Standing::read(&self.fleet).await;
                let is_taken = |label: &&String| standing.attempt(label) > before.attempt(label);
                if between.iter().any(is_taken) {
                    return;
                }
            }
            assert!(start.elapsed() < TIMEOUT, "no takeover: {phases:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The rows that first attempts of a service have written.
    async fn written(&self, service: usize) -> HashMap<String, i64> {
        let instance = self.fleet.services[service].id();
        let rows = format!(
            "SELECT note, count(*) FROM legs WHERE instance = {instance} AND attempt = 1 GROUP BY note"
        );
        self.fleet.numbers(&rows).await
    }

    /// The answers of the service that was frozen.
    async fn answers(
        &self,
        pending: BTreeMap<String, JoinHandle<Option<Answer>>>,
    ) -> BTreeMap<String, Option<Answer>> {
        let mut answers = BTreeMap::new();
        for (label, asked) in pending {
            let answer = asked.await.expect("a client does not panic");
            self.history.add(&label, answer.clone());
            answers.insert(label, answer);
        }
        answers
    }
}

/// A word for an answer.
fn kind(answer: Option<&Answer>) -> String {
    match answer {
        None => "nothing".to_owned(),
        Some(answer) if answer.status == 201 && answer.is_replay() => "replay".to_owned(),
        Some(answer) if answer.status == 201 => "success".to_owned(),
        Some(answer) => {
            let problem = answer.json();
            let name = problem["type"]
                .as_str()
                .and_then(|url| url.rsplit(['#', '/']).next());
            name.map_or_else(|| answer.status.to_string(), str::to_owned)
        }
    }
}
