//! The goals of idem: figures within one run, and never times of one machine.

use crate::business::Business::{self, Five, One};
use crate::contestant::Contestant::{
    self, Bare, Cached, Floor, Fused, Idem, Stateless, ZeroToProduction,
};
use crate::database::Bank as _;
use crate::plan::Keys::{self, Fresh, Replay};
use crate::plan::Level::Http;
use crate::plan::Network::{self, Delayed, Loopback};
use crate::plan::{self, Entry, Scenario};
use crate::race::{Ratio, Tally, median};
use crate::report::Table;

/// A goal and its results.
#[derive(Debug)]
struct Goal {
    name: String,
    wanted: Wanted,
    source: Source,
    /// One figure of each run.
    runs: Vec<f64>,
    /// The least and the greatest of all rounds.
    rounds: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Wanted {
    fn is_reached(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(least) => measured >= least,
            Self::AtMost(most) => measured <= most,
        }
    }
}

/// The part of the benchmark that measures a goal's figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The ratio of two throughputs in a scenario.
    Race {
        database: &'static str,
        scenario: Scenario,
        who: Entry,
        to: Entry,
    },
    /// PostgreSQL's instructions for a fresh request, to those with *Zero To Production*.
    Instructions,
    /// The adapter's and the engine's microseconds for a fresh request.
    Engine,
    /// The kilobytes of a waiting duplicate.
    Waiter,
    /// The median of fresh requests at 10 M records to that at none.
    Growth,
    /// The canonical digest's speed for 1 MiB of objects to that of SHA-256 over the same bytes of JSON.
    Fingerprint,
    /// The seconds of `cargo check` that protected handlers take beyond bare ones.
    Compile,
}

/// All goals.
#[derive(Debug, Default)]
pub(crate) struct Goals(Vec<Goal>);

const fn fresh(contestant: Contestant) -> Entry {
    let keys = Fresh;
    Entry { contestant, keys }
}

const fn replay(contestant: Contestant) -> Entry {
    let keys = Replay;
    Entry { contestant, keys }
}

impl Goals {
    /// The goals without results.
    pub(crate) fn new() -> Self {
        use Wanted::{AtLeast, AtMost};

        let mut goals = Self::default();
        let all = [1, 16, 64];
        let (bare, floor, book) = (fresh(Bare), fresh(Floor), fresh(ZeroToProduction));
        let (idem, fused) = (fresh(Idem), fresh(Fused));

        let other = "PostgreSQL's instructions, fresh: idem / Zero To Production";
        goals.add(other.to_owned(), AtMost(1.10), Source::Instructions);
        let mut on_postgres = Cells::new(&mut goals, sqlx::PgConnection::NAME);
        on_postgres.add(Loopback, &all, One, Fresh, (idem, book), 1.05);
        on_postgres.add(Loopback, &all, One, Fresh, (idem, floor), 0.88);
        on_postgres.add(Loopback, &all, Five, Fresh, (idem, floor), 0.95);
        on_postgres.add(Delayed, &[1], One, Fresh, (idem, floor), 0.97);
        on_postgres.add(Delayed, &[1], One, Fresh, (fused, bare), 0.93);
        on_postgres.add(Loopback, &[64], One, Fresh, (fused, idem), 1.10);
        let replays = (replay(Idem), replay(ZeroToProduction));
        on_postgres.add(Loopback, &[64], One, Replay, replays, 1.10);
        let cached = (replay(Cached), fresh(Stateless));
        on_postgres.add(Loopback, &all, One, Replay, cached, 0.92);
        let mut on_mysql = Cells::new(&mut goals, sqlx::MySqlConnection::NAME);
        for scenario in plan::mysql(false) {
            let pair = match scenario.keys {
                Replay => replays,
                _ => (idem, book),
            };
            on_mysql.one(scenario, pair, 1.0);
        }
        let mut on_sqlite = Cells::new(&mut goals, sqlx::SqliteConnection::NAME);
        on_sqlite.add(Loopback, &all, One, Fresh, (idem, floor), 0.92);
        for (name, wanted, source) in [
            (
                "fingerprint of 1 MiB of objects, speed / SHA-256",
                AtLeast(0.80),
                Source::Fingerprint,
            ),
            (
                "PostgreSQL, fresh p50 at 10 M records / at none",
                AtMost(1.10),
                Source::Growth,
            ),
            (
                "`cargo check` of 100 handlers beyond bare ones, s",
                AtMost(1.0),
                Source::Compile,
            ),
            (
                "adapter and engine, one client, beyond the store, µs",
                AtMost(60.0),
                Source::Engine,
            ),
            (
                "memory of a waiting duplicate, kB",
                AtMost(8.0),
                Source::Waiter,
            ),
        ] {
            goals.add(name.to_owned(), wanted, source);
        }
        goals
    }

    fn add(&mut self, name: String, wanted: Wanted, source: Source) {
        self.0.push(Goal {
            name,
            wanted,
            source,
            runs: Vec::new(),
            rounds: None,
        });
    }

    /// Takes the results of a scenario in one run.
    pub(crate) fn of_race(&mut self, held: (&str, &Scenario), tallies: &[Tally]) {
        let tally = |entry: Entry| tallies.iter().find(|tally| tally.name == entry.to_string());
        for goal in &mut self.0 {
            if let Source::Race {
                database,
                scenario,
                who,
                to,
            } = goal.source
                && (database, &scenario) == held
                && let (Some(who), Some(to)) = (tally(who), tally(to))
            {
                goal.take(who.ratio(to));
            }
        }
    }

    /// Takes a result that comes from another part.
    pub(crate) fn set(&mut self, source: Source, figure: f64) {
        for goal in self.0.iter_mut().filter(|goal| goal.source == source) {
            goal.runs.push(figure);
        }
    }

    /// The goals as a table.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&["goal", "wanted", "measured", "runs", "rounds", ""]);
        for goal in &self.0 {
            let measured = median(&goal.runs);
            let verdict = match (goal.runs.is_empty(), goal.wanted.is_reached(measured)) {
                (true, _) => "not measured",
                (false, true) => "reached",
                (false, false) => "MISSED",
            };
            let wanted = match goal.wanted {
                Wanted::AtLeast(least) => format!(">= {least:.2}"),
                Wanted::AtMost(most) => format!("<= {most:.2}"),
            };
            let number = |figure: f64| format!("{figure:.2}");
            let runs: Vec<String> = goal.runs.iter().copied().map(number).collect();
            let rounds = goal.rounds;
            table.row([
                goal.name.clone(),
                wanted,
                if runs.is_empty() {
                    "-".to_owned()
                } else {
                    number(measured)
                },
                if runs.len() > 1 {
                    runs.join(", ")
                } else {
                    String::new()
                },
                rounds.map_or_else(String::new, |(least, greatest)| {
                    format!("{least:.2} to {greatest:.2}")
                }),
                verdict.to_owned(),
            ]);
        }
        table
    }
}

impl Goal {
    fn take(&mut self, ratio: Ratio) {
        self.runs.push(ratio.median);
        let (least, greatest) = self.rounds.unwrap_or((f64::INFINITY, 0.0));
        self.rounds = Some((least.min(ratio.least), greatest.max(ratio.greatest)));
    }
}

/// Adds goals of races on one database.
struct Cells<'a> {
    goals: &'a mut Goals,
    database: &'static str,
}

impl<'a> Cells<'a> {
    fn new(goals: &'a mut Goals, database: &'static str) -> Self {
        Self { goals, database }
    }

    fn add(
        &mut self,
        network: Network,
        clients: &[usize],
        business: Business,
        keys: Keys,
        pair: (Entry, Entry),
        least: f64,
    ) {
        for &clients in clients {
            let scenario = plan::scenario(Http, network, clients, business, keys);
            self.one(scenario, pair, least);
        }
    }

    fn one(&mut self, scenario: Scenario, (who, to): (Entry, Entry), least: f64) {
        let database = self.database;
        let name = format!("{database}, {}: {who} / {to}", scenario.short());
        let source = Source::Race {
            database,
            scenario,
            who,
            to,
        };
        self.goals.add(name, Wanted::AtLeast(least), source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_of_a_race_has_its_scenario_in_the_full_run() {
        let plans: [(&str, Vec<Scenario>); 3] = [
            (sqlx::PgConnection::NAME, plan::postgres(false).collect()),
            (sqlx::MySqlConnection::NAME, plan::mysql(false).collect()),
            (sqlx::SqliteConnection::NAME, plan::sqlite(false).collect()),
        ];
        for goal in Goals::new().0 {
            if let Source::Race {
                database,
                scenario,
                who,
                to,
            } = goal.source
            {
                let (_, plan) = plans.iter().find(|(name, _)| *name == database).unwrap();
                assert!(plan.contains(&scenario), "{}", goal.name);
                let entries = scenario.entries();
                assert!(
                    entries.contains(&who) && entries.contains(&to),
                    "{}",
                    goal.name
                );
            }
        }
    }

    #[test]
    fn a_goal_is_reached_by_the_median_of_the_runs() {
        let mut goals = Goals::new();
        for run in [2.0, 1.10, 0.5] {
            goals.set(Source::Growth, run);
        }
        goals.set(Source::Fingerprint, 0.79);
        let table = goals.table().to_string();
        let verdict = |name: &str| {
            let line = table.lines().find(|line| line.contains(name)).unwrap();
            line.rsplit('|').nth(1).unwrap().trim().to_owned()
        };
        assert_eq!(verdict("10 M records"), "reached");
        assert_eq!(verdict("1 MiB"), "MISSED");
        assert_eq!(verdict("waiting duplicate"), "not measured");
    }
}
