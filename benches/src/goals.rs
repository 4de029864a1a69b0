//! What idem sets out to reach, as ratios within one run.

use crate::business::Business;
use crate::contestant::Contestant::{self, Bare, Cached, Fused, Idem, Stateless, ZeroToProduction};
use crate::plan::{Entry, Keys, Level, Network, Scenario};
use crate::race::{Ratio, Tally};
use crate::report::Table;

/// A goal and its result.
#[derive(Debug)]
struct Goal {
    name: &'static str,
    wanted: Wanted,
    source: Source,
    measured: Option<Measured>,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    overall: f64,
    /// The least and the greatest of the rounds.
    spread: Option<(f64, f64)>,
}

impl Measured {
    fn of(ratio: Ratio) -> Self {
        Self {
            overall: ratio.median,
            spread: Some((ratio.least, ratio.greatest)),
        }
    }
}

/// Where a goal's number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The ratio of two throughputs in a scenario on PostgreSQL.
    Race {
        conditions: Conditions,
        who: Entry,
        to: Entry,
    },
    /// The median of fresh requests at 10 M records to that at none.
    Growth,
    /// The canonical digest's speed at 1 MiB to that of SHA-256 over the same bytes of JSON.
    Fingerprint,
}

/// The properties that identify a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conditions {
    network: Network,
    clients: usize,
    business: Business,
    keys: Keys,
}

/// All goals.
#[derive(Debug)]
pub(crate) struct Goals(Vec<Goal>);

const fn fresh(contestant: Contestant) -> Entry {
    Entry {
        contestant,
        keys: Keys::Fresh,
    }
}

const fn replay(contestant: Contestant) -> Entry {
    Entry {
        contestant,
        keys: Keys::Replay,
    }
}

const SATURATED: Conditions = Conditions {
    network: Network::Loopback,
    clients: 64,
    business: Business::One,
    keys: Keys::Fresh,
};

const NETWORK: Conditions = Conditions {
    network: Network::Delayed,
    clients: 1,
    ..SATURATED
};

const REPLAYS: Conditions = Conditions {
    keys: Keys::Replay,
    ..SATURATED
};

impl Goals {
    /// The goals without results.
    pub(crate) fn new() -> Self {
        use Wanted::{AtLeast, AtMost};

        let race = |conditions, who, to| Source::Race {
            conditions,
            who,
            to,
        };
        let five = Conditions {
            business: Business::Five,
            ..SATURATED
        };
        let (bare, book) = (fresh(Bare), fresh(ZeroToProduction));
        let goals = [
            (
                "fresh, saturated, one statement / bare",
                AtLeast(0.80),
                race(SATURATED, fresh(Idem), bare),
            ),
            (
                "fresh, saturated, five statements / bare",
                AtLeast(0.92),
                race(five, fresh(Idem), bare),
            ),
            (
                "fresh, 0.5 ms network, 1 client, default / bare",
                AtLeast(0.76),
                race(NETWORK, fresh(Idem), bare),
            ),
            (
                "the same, record in COMMIT's message / bare",
                AtLeast(0.95),
                race(NETWORK, fresh(Fused), bare),
            ),
            (
                "the same, default / Zero To Production",
                AtLeast(1.2),
                race(NETWORK, fresh(Idem), book),
            ),
            (
                "the same, record in COMMIT's message / Zero To Production",
                AtLeast(1.4),
                race(NETWORK, fresh(Fused), book),
            ),
            (
                "replay from the cache / a handler without a database",
                AtLeast(0.90),
                race(REPLAYS, replay(Cached), fresh(Stateless)),
            ),
            (
                "replay from the database / fresh, saturated",
                AtLeast(1.5),
                race(REPLAYS, replay(Idem), fresh(Idem)),
            ),
            (
                "fresh p50 at 10 M records / at 0",
                AtMost(1.10),
                Source::Growth,
            ),
            (
                "fingerprint at 1 MiB / plain SHA-256",
                AtLeast(0.80),
                Source::Fingerprint,
            ),
        ];
        let goal = |(name, wanted, source)| Goal {
            name,
            wanted,
            source,
            measured: None,
        };
        Self(goals.into_iter().map(goal).collect())
    }

    /// Takes the results of a scenario on PostgreSQL.
    pub(crate) fn of_race(&mut self, scenario: &Scenario, tallies: &[Tally]) {
        if scenario.level != Level::Http {
            return;
        }
        let held = Conditions {
            network: scenario.network,
            clients: scenario.clients,
            business: scenario.business,
            keys: scenario.keys,
        };
        let tally = |entry: Entry| tallies.iter().find(|tally| tally.name == entry.to_string());
        for goal in &mut self.0 {
            if let Source::Race {
                conditions,
                who,
                to,
            } = goal.source
                && conditions == held
                && let (Some(who), Some(to)) = (tally(who), tally(to))
            {
                goal.measured = Some(Measured::of(who.ratio(to)));
            }
        }
    }

    /// Takes a result that comes from another part.
    pub(crate) fn set(&mut self, source: Source, overall: f64) {
        for goal in self.0.iter_mut().filter(|goal| goal.source == source) {
            goal.measured = Some(Measured {
                overall,
                spread: None,
            });
        }
    }

    /// The goals as a table.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&["goal", "wanted", "measured", "rounds", ""]);
        for goal in &self.0 {
            let wanted = match goal.wanted {
                Wanted::AtLeast(least) => format!(">= {least:.2}"),
                Wanted::AtMost(most) => format!("<= {most:.2}"),
            };
            let spread = goal.measured.and_then(|measured| measured.spread);
            let spread = spread.map(|(least, greatest)| format!("{least:.2} to {greatest:.2}"));
            let (measured, verdict) = match goal.measured {
                None => ("-".to_owned(), "not measured"),
                Some(measured) => {
                    let reached = match goal.wanted {
                        Wanted::AtLeast(least) => measured.overall >= least,
                        Wanted::AtMost(most) => measured.overall <= most,
                    };
                    let verdict = if reached { "reached" } else { "MISSED" };
                    (format!("{:.2}", measured.overall), verdict)
                }
            };
            table.row([
                goal.name.to_owned(),
                wanted,
                measured,
                spread.unwrap_or_default(),
                verdict.to_owned(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_of_a_race_has_its_scenario_in_both_runs() {
        for quick in [false, true] {
            for goal in Goals::new().0 {
                let Source::Race {
                    conditions,
                    who,
                    to,
                } = goal.source
                else {
                    continue;
                };
                let found = crate::plan::postgres(quick).any(|scenario| {
                    let held = Conditions {
                        network: scenario.network,
                        clients: scenario.clients,
                        business: scenario.business,
                        keys: scenario.keys,
                    };
                    let entries = scenario.entries();
                    scenario.level == Level::Http
                        && held == conditions
                        && entries.contains(&who)
                        && entries.contains(&to)
                });
                assert!(found, "{}", goal.name);
            }
        }
    }

    #[test]
    fn a_goal_is_reached_at_its_limit() {
        let mut goals = Goals::new();
        goals.set(Source::Growth, 1.10);
        goals.set(Source::Fingerprint, 0.79);
        let table = goals.table().to_string();
        let verdict = |name: &str| {
            let line = table.lines().find(|line| line.contains(name)).unwrap();
            line.rsplit('|').nth(1).unwrap().trim().to_owned()
        };
        assert_eq!(verdict("10 M records"), "reached");
        assert_eq!(verdict("1 MiB"), "MISSED");
        assert_eq!(verdict("from the cache"), "not measured");
    }
}
