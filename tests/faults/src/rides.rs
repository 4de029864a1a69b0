//! Rides in steps: two services on one database, and the two services that they call, each a process. And the
//! invariants of a ride.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_tests::{Answer, Database, Domain as _, Driver, Request, Service, Site, Wires};
use sqlx::Pool;

use crate::checker::{Answered, Violation, is_lasting};
use crate::history::History;
use crate::kills::{Kills, lock};
use crate::lane::{TENANT, identity};
use crate::load::Load;
use crate::report::Report;

/// The endpoint of the test services.
const PATH: &str = "/rides";

/// The steps that write a row each.
const LEGS: [&str; 2] = ["ride", "paid"];

/// What the payment provider makes of a key that it has seen. The sender of receipts never looks a key up, but can be
/// asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// It answers as before.
    Kept,
    /// It charges again: the limit of a `call`.
    Forgotten,
}

/// The two services that are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peers {
    /// Of the payment provider.
    pub(crate) keys: Keys,
    /// Before a charge, and after it.
    pub(crate) delay: Duration,
    /// Whether they lose one of seven answers.
    pub(crate) are_lossy: bool,
}

/// All facts that can be seen about one ride, once everything is quiet.
#[derive(Debug, Clone, Default)]
pub struct RideEvidence {
    /// The key, which is also the note of its rows.
    pub label: String,
    /// The results of its requests, in the order of their ends.
    pub answered: Vec<Answered>,
    /// Whether there is a record of a success.
    pub is_recorded: bool,
    /// Whether there is a run.
    pub is_left: bool,
    /// The committed rows of the steps `ride` and `paid`.
    pub legs: [u64; 2],
    /// The charges under its key at the provider.
    pub charges: u64,
    /// The receipts under its key at their sender.
    pub receipts: u64,
    /// The rows and records of an attempt that came after another attempt had taken over.
    pub late: u64,
}

impl Display for RideEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            label,
            answered,
            is_recorded,
            is_left,
            legs,
            charges,
            receipts,
            late,
        } = self;
        write!(
            f,
            "{label}: rows {legs:?}, {charges} charges, {receipts} receipts, {late} late writes, a record: {is_recorded}, \
             a run: {is_left}; its clients got"
        )?;
        answered
            .iter()
            .try_for_each(|answered| write!(f, "\n  {answered}"))
    }
}

/// The violations of a ride.
pub fn check_ride(evidence: &RideEvidence, keys: Keys) -> Vec<Violation> {
    let RideEvidence {
        label,
        answered,
        is_recorded,
        is_left,
        legs,
        charges,
        receipts,
        late,
    } = evidence;
    let answers = answered.iter().filter_map(|answered| match answered {
        Answered::Answer(answer) if is_lasting(answer) => Some(answer),
        _ => None,
    });
    let lasting: Vec<&Answer> = answers.collect();
    let mut effects = legs.iter().chain([charges, receipts]);
    let is_left = *is_left && *is_recorded;
    let wrong = [
        (
            Violation::SecondStep,
            legs.iter().any(|rows| *rows > 1) || *receipts > 1,
        ),
        (Violation::SecondCharge, *charges > 1 && keys == Keys::Kept),
        (
            Violation::HalfDone,
            *is_recorded && effects.any(|effects| *effects == 0),
        ),
        (Violation::Late, *late > 0),
        (Violation::Left, is_left),
        (Violation::Lost, !lasting.is_empty() && !is_recorded),
        (
            Violation::Differs,
            lasting.iter().any(|answer| {
                (answer.status, &answer.body) != (lasting[0].status, &lasting[0].body)
            }),
        ),
        (
            Violation::Foreign,
            lasting
                .iter()
                .any(|answer| !answer.text().contains(&format!("\"{label}\""))),
        ),
    ];
    let wrong = wrong.into_iter().filter(|(_, wrong)| *wrong);
    wrong.map(|(violation, _)| violation).collect()
}

/// Two services on one database, the services that they call, and a pool beside theirs.
pub(crate) struct Fleet<D: Database> {
    site: Site<D>,
    work: Duration,
    keys: Keys,
    peers: [Service; 2],
    pub(crate) services: [Service; 2],
    pub(crate) pool: Pool<Driver<D>>,
}

impl<D: Database> Fleet<D> {
    /// Starts all processes. Handlers work for `work` in each transaction, and after each step.
    pub(crate) async fn start(program: &'static str, peers: Peers, work: Duration) -> Self {
        let database = D::create().await;
        let site = Site { database, program };
        let keys = peers.keys;
        let delay = peers.delay.as_millis().to_string();
        let peer = async |keys| {
            let mut arguments = vec!["--delay-ms", &delay];
            if peers.are_lossy {
                arguments.extend(["--lose-answers", "7"]);
            }
            if keys == Keys::Forgotten {
                arguments.push("--forget");
            }
            Service::run("provider", &arguments).await
        };
        let peers = [peer(keys).await, peer(Keys::Forgotten).await];
        let start = async || start(&site, work, &peers).await;
        let services = [start().await, start().await];
        let pool = site.database.connect(Wires::default()).await;
        Self {
            site,
            work,
            keys,
            peers,
            services,
            pool,
        }
    }

    /// Kills a service, and starts another one in its place.
    async fn kill(&mut self, service: usize) {
        let started = start(&self.site, self.work, &self.peers).await;
        std::mem::replace(&mut self.services[service], started)
            .kill()
            .await;
    }

    pub(crate) fn addresses(&self) -> [SocketAddr; 2] {
        [0, 1].map(|service: usize| self.services[service].address)
    }

    /// The numbers of a query, under the identities in the column with this name.
    pub(crate) async fn numbers(&self, sql: &str) -> HashMap<String, i64> {
        let mut connection = self.pool.acquire().await.expect("a connection");
        connection.numbers(sql).await.expect("numbers")
    }

    /// Checks all rides of the history, of which some have late writes, and ends all processes.
    pub(crate) async fn check(self, history: &History, late: &HashMap<String, u64>) -> Report {
        let mut facts = Facts::read(&self).await;
        let mut report = Report::default();
        report.rides.requests = facts.requests;
        for (label, answered) in history.answered() {
            report.requests += answered.len();
            let answers = answered.iter().filter(|end| end.is_lasting()).count();
            report.acknowledged += usize::from(answers > 0);
            report.replays += answers.saturating_sub(1);
            let late = late.get(&label).copied().unwrap_or_default();
            let evidence = facts.evidence(label, answered, late);
            report.effects += evidence.legs.iter().sum::<u64>();
            report.rides.charges += evidence.charges;
            report.rides.receipts += evidence.receipts;
            let violations = check_ride(&evidence, self.keys).into_iter();
            let violations = violations.map(|found| (found, evidence.to_string()));
            report.violations.extend(violations);
        }
        report.violations.extend(facts.rest());
        for process in self.services.into_iter().chain(self.peers) {
            process.kill().await;
        }
        self.pool.close().await;
        self.site.database.remove().await;
        report
    }
}

async fn start<D: Database>(site: &Site<D>, work: Duration, peers: &[Service; 2]) -> Service {
    let [provider, sender] = [0, 1].map(|peer: usize| format!("http://{}", peers[peer].address));
    let arguments = ["--provider", &provider, "--sender", &sender];
    Service::with(site, work, &arguments).await
}

/// A request for a ride. Its key is also its note.
pub(crate) fn ride(address: SocketAddr, label: &str) -> Request {
    Request::new(address, "POST", PATH)
        .without("x-tenant")
        .header("authorization", format!("Bearer {TENANT}"))
        .key(label)
        .json(&format!(r#"{{"note":"{label}"}}"#))
}

/// The identity of a ride, in hexadecimal digits.
pub(crate) fn hex(label: &str) -> String {
    format!("{:?}", identity(PATH, label))
}

/// A query for a number of each row in one of idem's tables, under its identity.
pub(crate) fn numbers<D: Database>(table: &str, number: &str) -> String {
    D::STATES.replace("state", number).replace("records", table)
}

/// All rows and charges, read without idem once everything is quiet.
struct Facts {
    legs: Vec<HashMap<String, i64>>,
    records: HashMap<String, i64>,
    runs: HashMap<String, i64>,
    /// The identities that have steps.
    steps: HashMap<String, i64>,
    peers: Vec<Book>,
    /// The requests at the provider.
    requests: u64,
}

/// The charges at a peer.
struct Book {
    /// For each key, their number.
    by_key: BTreeMap<String, u64>,
    /// For each charge, its key.
    key_of: HashMap<String, String>,
}

impl Facts {
    async fn read<D: Database>(fleet: &Fleet<D>) -> Self {
        let mut legs = Vec::new();
        for step in LEGS {
            let rows =
                format!("SELECT note, count(*) FROM legs WHERE step = '{step}' GROUP BY note");
            legs.push(fleet.numbers(&rows).await);
        }
        let mut peers = Vec::new();
        for peer in &fleet.peers {
            peers.push(Book::read(peer).await);
        }
        let counts = fleet.peers[0].get("/counts").await;
        Self {
            legs,
            records: fleet.numbers(D::STATES).await,
            runs: fleet.numbers(&numbers::<D>("runs", "attempts")).await,
            steps: fleet.numbers(&numbers::<D>("steps", "epoch")).await,
            peers,
            requests: counts["requests"].as_u64().expect("a number"),
        }
    }

    fn evidence(&mut self, label: String, answered: Vec<Answered>, late: u64) -> RideEvidence {
        let hex = hex(&label);
        let ride = answered.iter().find_map(|end| match end {
            Answered::Answer(answer) if answer.status == 201 => Some(answer.json()),
            _ => None,
        });
        let mut taken = ["charge", "receipt"]
            .iter()
            .zip(&mut self.peers)
            .map(|(name, peer)| {
                let id = ride.as_ref().and_then(|ride| ride[*name].as_str());
                id.map_or(0, |id| peer.take(id))
            });
        let [charges, receipts] = [taken.next(), taken.next()].map(Option::unwrap_or_default);
        let legs = [0, 1].map(|step: usize| self.legs[step].get(&label).copied());
        RideEvidence {
            legs: legs.map(|rows| u64::try_from(rows.unwrap_or(0)).expect("not negative")),
            is_recorded: self.records.get(&hex) == Some(&1),
            is_left: self.runs.contains_key(&hex) || self.steps.contains_key(&hex),
            label,
            answered,
            charges,
            receipts,
            late,
        }
    }

    /// The charges under keys that no ride has: a ride has had two keys.
    fn rest(&self) -> impl Iterator<Item = (Violation, String)> {
        let keys = self.peers.iter().flat_map(|peer| peer.by_key.keys());
        keys.map(|key| {
            (
                Violation::SecondCharge,
                format!("no ride has the key {key}"),
            )
        })
    }
}

impl Book {
    async fn read(peer: &Service) -> Self {
        let (mut by_key, mut key_of) = (BTreeMap::new(), HashMap::new());
        let all = peer.get("/charges").await;
        for (key, charges) in all.as_object().expect("an object") {
            for charge in charges.as_array().expect("a list") {
                let id = charge["id"].as_str().expect("a text");
                key_of.insert(id.to_owned(), key.clone());
                *by_key.entry(key.clone()).or_default() += 1;
            }
        }
        Self { by_key, key_of }
    }

    /// The number of the charges that have the key of this one.
    fn take(&mut self, id: &str) -> u64 {
        let key = self.key_of.get(id);
        key.and_then(|key| self.by_key.remove(key)).unwrap_or(0)
    }
}

/// X25 and X26: kills one of two services, again and again.
pub async fn kill_riders<D: Database>(
    program: &'static str,
    keys: Keys,
    mut kills: Kills,
) -> Report {
    let peers = Peers {
        keys,
        delay: Duration::from_millis(10),
        are_lossy: true,
    };
    let mut fleet = Fleet::<D>::start(program, peers, kills.work).await;
    let addresses = Arc::new(Mutex::new(fleet.addresses()));
    let current = Arc::clone(&addresses);
    let request = move |label: &str, number: usize| ride(lock(&current)[number % 2], label);
    let load = Load::start(kills.clients, "ride", request.clone());
    for _ in 0..kills.times {
        kills.pause().await;
        let killed = kills.rng.usize(..2);
        fleet.kill(killed).await;
        *lock(&addresses) = fleet.addresses();
    }
    kills.pause().await;
    let history = load.stop().await;
    let retry = async |label: &str| request(label, 0).attempt().await;
    let recoveries = history.persist_all(retry).await;
    let mut report = fleet.check(&history, &HashMap::new()).await;
    report.faults = kills.times;
    report.recoveries = recoveries;
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answered {
        Answered::Answer(Answer {
            status,
            headers: Vec::new(),
            body: body.to_owned().into(),
        })
    }

    fn paid() -> RideEvidence {
        RideEvidence {
            label: "k".to_owned(),
            answered: vec![
                Answered::Nothing,
                answer(409, "{}"),
                answer(201, r#"{"note":"k","attempt":2}"#),
                answer(201, r#"{"note":"k","attempt":2}"#),
            ],
            is_recorded: true,
            is_left: false,
            legs: [1, 1],
            charges: 1,
            receipts: 1,
            late: 0,
        }
    }

    #[test]
    fn what_is_right_is_right() {
        let unfinished = RideEvidence {
            answered: vec![answer(503, "{}")],
            is_recorded: false,
            is_left: true,
            legs: [1, 0],
            receipts: 0,
            ..paid()
        };
        for right in [paid(), unfinished, RideEvidence::default()] {
            assert_eq!(check_ride(&right, Keys::Kept), [], "{right}");
        }
        let twice = RideEvidence {
            charges: 2,
            ..paid()
        };
        assert_eq!(check_ride(&twice, Keys::Forgotten), []);
    }

    #[test]
    fn every_violation_is_found() {
        let with = |change: fn(&mut RideEvidence)| {
            let mut ride = paid();
            change(&mut ride);
            check_ride(&ride, Keys::Kept)
        };
        let other = |ride: &mut RideEvidence| {
            ride.answered
                .push(answer(201, r#"{"note":"k","attempt":1}"#));
        };
        let foreign = |ride: &mut RideEvidence| {
            ride.answered = vec![answer(201, r#"{"note":"l","attempt":1}"#)];
        };
        for (found, expected) in [
            (with(|ride| ride.legs[0] = 2), Violation::SecondStep),
            (with(|ride| ride.legs[1] = 2), Violation::SecondStep),
            (with(|ride| ride.receipts = 2), Violation::SecondStep),
            (with(|ride| ride.charges = 2), Violation::SecondCharge),
            (with(|ride| ride.legs[1] = 0), Violation::HalfDone),
            (with(|ride| ride.charges = 0), Violation::HalfDone),
            (with(|ride| ride.receipts = 0), Violation::HalfDone),
            (with(|ride| ride.late = 1), Violation::Late),
            (with(|ride| ride.is_left = true), Violation::Left),
            (with(|ride| ride.is_recorded = false), Violation::Lost),
            (with(other), Violation::Differs),
            (with(foreign), Violation::Foreign),
        ] {
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn charges_under_a_key_of_no_ride_are_found() {
        let by_key = [("a".to_owned(), 2), ("b".to_owned(), 1)];
        let key_of = [("1".to_owned(), "a".to_owned())];
        let mut book = Book {
            by_key: by_key.into(),
            key_of: key_of.into(),
        };
        assert_eq!(book.take("1"), 2);
        let facts = Facts {
            legs: Vec::new(),
            records: HashMap::new(),
            runs: HashMap::new(),
            steps: HashMap::new(),
            peers: vec![book],
            requests: 0,
        };
        let rest: Vec<_> = facts.rest().collect();
        let expected = (Violation::SecondCharge, "no ride has the key b".to_owned());
        assert_eq!(rest, [expected]);
    }
}
