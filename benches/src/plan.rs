//! The scenarios, their contestants and their durations.

use std::fmt;
use std::time::Duration;

use crate::business::Business;
use crate::contestant::Contestant;

/// The durations of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long one contestant runs before the next one.
    pub(crate) slice: Duration,
    /// How often each contestant runs.
    pub(crate) rounds: usize,
}

impl Pace {
    pub(crate) const FULL: Self = Self {
        slice: Duration::from_millis(200),
        rounds: 7,
    };

    /// On SQLite a slice ends late, after the last waiting client had the lock.
    pub(crate) fn of_sqlite(self) -> Self {
        Self {
            rounds: self.rounds.min(5),
            ..self
        }
    }

    pub(crate) const QUICK: Self = Self {
        slice: Duration::from_millis(100),
        rounds: 5,
    };
}

/// The path between the clients and the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Http,
    Store,
}

/// The path between the service and its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Loopback,
    Delayed,
}

/// The keys that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Fresh,
    Replay,
    Mixed,
}

/// A contestant's part in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) contestant: Contestant,
    pub(crate) keys: Keys,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.contestant.name();
        match (self.contestant, self.keys) {
            (Contestant::Stateless, _) | (_, Keys::Fresh) => f.write_str(name),
            (_, Keys::Replay) => write!(f, "{name}, replay"),
            (_, Keys::Mixed) => write!(f, "{name}, mixed"),
        }
    }
}

/// Contestants that are compared, and the conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) level: Level,
    pub(crate) network: Network,
    pub(crate) clients: usize,
    pub(crate) business: Business,
    pub(crate) keys: Keys,
}

use Business::{Five, One};
use Keys::{Fresh, Mixed, Replay};
use Level::{Http, Store};
use Network::{Delayed, Loopback};

pub(crate) const fn scenario(
    level: Level,
    network: Network,
    clients: usize,
    business: Business,
    keys: Keys,
) -> Scenario {
    Scenario {
        level,
        network,
        clients,
        business,
        keys,
    }
}

/// Whether the quick run includes a scenario.
type Quick = bool;

const POSTGRES: &[(Scenario, Quick)] = &[
    (scenario(Http, Loopback, 1, One, Fresh), true),
    (scenario(Http, Loopback, 16, One, Fresh), true),
    (scenario(Http, Loopback, 64, One, Fresh), true),
    (scenario(Http, Loopback, 1, Five, Fresh), false),
    (scenario(Http, Loopback, 16, Five, Fresh), false),
    (scenario(Http, Loopback, 64, Five, Fresh), true),
    (scenario(Http, Delayed, 1, One, Fresh), true),
    (scenario(Http, Delayed, 16, One, Fresh), false),
    (scenario(Http, Delayed, 64, One, Fresh), false),
    (scenario(Http, Delayed, 1, Five, Fresh), false),
    (scenario(Http, Delayed, 16, Five, Fresh), false),
    (scenario(Http, Delayed, 64, Five, Fresh), false),
    (scenario(Http, Loopback, 1, One, Replay), false),
    (scenario(Http, Loopback, 16, One, Replay), false),
    (scenario(Http, Loopback, 64, One, Replay), true),
    (scenario(Http, Delayed, 1, One, Replay), false),
    (scenario(Http, Loopback, 16, One, Mixed), true),
    (scenario(Store, Loopback, 1, One, Fresh), false),
    (scenario(Store, Loopback, 16, One, Fresh), true),
    (scenario(Store, Loopback, 16, Five, Fresh), false),
    (scenario(Store, Delayed, 1, One, Fresh), false),
];

const MYSQL: &[(Scenario, Quick)] = &[
    (scenario(Http, Loopback, 1, One, Fresh), false),
    (scenario(Http, Loopback, 64, One, Fresh), true),
    (scenario(Http, Loopback, 64, Five, Fresh), true),
    (scenario(Http, Delayed, 1, One, Fresh), true),
    (scenario(Http, Delayed, 1, Five, Fresh), true),
    (scenario(Http, Loopback, 64, One, Replay), true),
];

const SQLITE: &[(Scenario, Quick)] = &[
    (scenario(Http, Loopback, 1, One, Fresh), true),
    (scenario(Http, Loopback, 16, One, Fresh), true),
    (scenario(Http, Loopback, 64, One, Fresh), false),
    (scenario(Http, Loopback, 1, Five, Fresh), false),
    (scenario(Http, Loopback, 16, Five, Fresh), false),
    (scenario(Http, Loopback, 16, One, Replay), false),
    (scenario(Http, Loopback, 16, One, Mixed), false),
    (scenario(Store, Loopback, 1, One, Fresh), false),
    (scenario(Store, Loopback, 16, One, Fresh), false),
];

/// How many records the tables have when the growth is measured. The others are compared to the first.
pub(crate) const fn sizes(quick: bool) -> &'static [i64] {
    if quick {
        &[0, 100_000]
    } else {
        &[0, 1_000_000, 10_000_000]
    }
}

/// How many clients send requests to the contestants whose keys are in Redis.
pub(crate) const REDIS: [usize; 3] = [1, 16, 64];

/// How many records in Redis the memory is the mean of, and how many there are when the growth is measured.
pub(crate) const fn redis(quick: bool) -> (usize, u32) {
    if quick {
        (10_000, 100_000)
    } else {
        (50_000, 1_000_000)
    }
}

/// How long each situation of the hot key lasts, and how often.
pub(crate) const fn hot(quick: bool) -> (Duration, usize) {
    if quick {
        (Duration::from_millis(250), 4)
    } else {
        (Duration::from_millis(500), 20)
    }
}

/// How many requests of each contestant the stages are the medians of.
pub(crate) const fn requests(quick: bool) -> usize {
    if quick { 200 } else { 2_000 }
}

/// How many messages relays find, and how often.
pub(crate) const fn outbox(quick: bool) -> (u32, usize) {
    if quick { (1_000, 2) } else { (5_000, 5) }
}

/// How many expired records a purge finds, and how many purges are run.
pub(crate) const fn purge(quick: bool) -> (i64, usize) {
    if quick { (20_000, 2) } else { (200_000, 3) }
}

/// The same for databases on which a purge is slower.
pub(crate) const fn small_purge(quick: bool) -> (i64, usize) {
    if quick { (10_000, 2) } else { (50_000, 3) }
}

/// Fresh requests, or replays, of one statement over HTTP on loopback.
pub(crate) const fn plain(clients: usize, keys: Keys) -> Scenario {
    scenario(Http, Loopback, clients, One, keys)
}

/// The scenarios on PostgreSQL.
pub(crate) fn postgres(quick: bool) -> impl Iterator<Item = Scenario> {
    of_run(POSTGRES, quick)
}

/// The scenarios on MariaDB or MySQL.
pub(crate) fn mysql(quick: bool) -> impl Iterator<Item = Scenario> {
    of_run(MYSQL, quick)
}

/// The scenarios on SQLite.
pub(crate) fn sqlite(quick: bool) -> impl Iterator<Item = Scenario> {
    of_run(SQLITE, quick)
}

fn of_run(scenarios: &[(Scenario, Quick)], quick: bool) -> impl Iterator<Item = Scenario> {
    let all = scenarios.iter().copied();
    all.filter_map(move |(scenario, in_quick)| (in_quick || !quick).then_some(scenario))
}

impl Scenario {
    /// Its name in the table of the goals, all of which are measured over HTTP.
    pub(crate) fn short(&self) -> String {
        let name = self.to_string();
        name.trim_start_matches("HTTP, ").to_owned()
    }

    /// The contestants. The others are compared to the first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        use Contestant::{
            Bare, Cached, Floor, Fused, Idem, Lease, Peer, Stateless, ZeroToProduction,
        };

        let with = |keys, contestants: &[Contestant]| -> Vec<Entry> {
            let entry = |&contestant| Entry { contestant, keys };
            contestants.iter().map(entry).collect()
        };
        match (self.level, self.keys) {
            (Store, _) => with(Fresh, &[Bare, Floor, Idem, Fused]),
            (Http, Fresh) => with(
                Fresh,
                &[Bare, Floor, ZeroToProduction, Lease, Peer, Idem, Fused],
            ),
            (Http, Mixed) => {
                // The bare handler can't replay: it executes all of them.
                let mut entries = with(Fresh, &[Bare]);
                entries.extend(with(
                    Mixed,
                    &[ZeroToProduction, Lease, Peer, Idem, Fused, Cached],
                ));
                entries
            }
            (Http, Replay) => {
                let mut entries = with(Fresh, &[Stateless, Idem]);
                entries.extend(with(Replay, &[Idem, Cached, ZeroToProduction, Lease, Peer]));
                entries
            }
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Http => "HTTP",
            Store => "store",
        };
        let network = match self.network {
            Loopback => "loopback",
            Delayed => "0.5 ms network",
        };
        let clients = match self.clients {
            1 => "1 client".to_owned(),
            clients => format!("{clients} clients"),
        };
        let business = match self.business {
            One => "one statement",
            Five => "five statements",
        };
        let keys = match self.keys {
            Fresh => "fresh",
            Replay => "replays",
            Mixed => "95 % fresh, 5 % replays",
        };
        write!(f, "{level}, {network}, {clients}, {business}, {keys}")
    }
}
