//! What a table of records holds, in numbers.

use crate::operation::Operation;
use crate::record::{State, Timestamp};

/// Reads the rows of the statement that counts: the macro `found!` says why it is one.
///
/// The columns are those of [`Tally`], and the database's time. The only row of an empty table has just
/// the time.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
macro_rules! stats {
    ($rows:expr) => {{
        let mut stats = crate::store::Stats {
            tallies: Vec::new(),
            now: crate::record::Timestamp(0),
        };
        for row in $rows {
            let number = |column: usize| row.try_get::<Option<i64>, _>(column);
            let count = |column| number(column).map(|count| count.map_or(0, i64::unsigned_abs));
            let time = |column| number(column).map(|time| time.map(crate::record::Timestamp));
            let unknown = crate::record::Timestamp(0);
            stats.now = time(9)?.unwrap_or(unknown);
            let Some(operation) = row.try_get::<Option<String>, _>(0)? else {
                continue;
            };
            let code = number(1)?.and_then(|code| i16::try_from(code).ok());
            stats.tallies.push(crate::store::Tally {
                operation: crate::operation::Operation::named(&operation),
                state: code.and_then(crate::record::State::from_code),
                records: count(2)?,
                expired: count(3)?,
                attempts: count(4)?,
                response_bytes: count(5)?,
                oldest_settled: time(6)?.unwrap_or(unknown),
                newest_settled: time(7)?.unwrap_or(unknown),
                oldest_expired: time(8)?,
            });
        }
        Ok(stats)
    }};
}

/// The records of a table, or of one scope, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// One for each operation and state that has records.
    pub tallies: Vec<Tally>,
    /// The database's time when it counted.
    pub now: Timestamp,
}

/// The records of one operation in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The endpoint.
    pub operation: Operation,
    /// How the last attempt of each record ended; `None` for states that this release doesn't know.
    pub state: Option<State>,
    /// The number of records, expired or not.
    pub records: u64,
    /// The number of records that are expired and not purged yet.
    pub expired: u64,
    /// The attempts of all these records: more than one for a record is a retry that ran.
    pub attempts: u64,
    /// The bytes of the stored responses.
    pub response_bytes: u64,
    /// The time at which the oldest record was settled.
    pub oldest_settled: Timestamp,
    /// The time at which the newest record was settled.
    pub newest_settled: Timestamp,
    /// The earliest expiry of the records that are expired and not purged yet.
    pub oldest_expired: Option<Timestamp>,
}

impl Stats {
    /// The number of records, expired or not.
    pub fn records(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.records).sum()
    }

    /// The number of records that are expired and not purged yet.
    pub fn expired(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.expired).sum()
    }
}
