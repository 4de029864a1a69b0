//! The stored row of an identity.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::StatusCode;

use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::key::IdempotencyKey;
use crate::response::Recorded;
use crate::seal::{Bound, Seal};

/// Microseconds since 1970 by the database's clock. No other clock decides expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time from this timestamp to `later`; zero if `later` is earlier.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// The timestamp after `elapsed`.
    pub(crate) fn plus(self, elapsed: Duration) -> Self {
        let micros = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let distance = Duration::from_micros(timestamp.0.unsigned_abs());
        if timestamp.0 < 0 {
            UNIX_EPOCH - distance
        } else {
            UNIX_EPOCH + distance
        }
    }
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The writes were committed, and the response is replayed.
    Succeeded,
    /// The writes were undone, and the response is replayed.
    FailedFinal,
    /// The writes were undone, and the request may run again.
    FailedRetriable,
    /// The handler ended the transaction itself and the outcome was not recorded; its writes may
    /// have been committed. Only a store that writes when it claims leaves this state.
    Ended,
}

impl State {
    /// The number in the database.
    pub const fn code(self) -> i16 {
        match self {
            Self::Succeeded => 1,
            Self::FailedFinal => 2,
            Self::FailedRetriable => 3,
            Self::Ended => 4,
        }
    }

    /// The state with this number; `None` if this release doesn't know it.
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Succeeded),
            2 => Some(Self::FailedFinal),
            3 => Some(Self::FailedRetriable),
            4 => Some(Self::Ended),
            _ => None,
        }
    }

    /// Whether the record has a response to replay.
    pub const fn is_replayed(self) -> bool {
        matches!(self, Self::Succeeded | Self::FailedFinal)
    }
}

/// The version of a record. Settling replaces exactly the version that the claim has read.
///
/// A record that was purged and written again has another `settled_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The number of attempts in the record.
    pub attempts: i32,
    /// The time at which the record was settled.
    pub settled_at: Timestamp,
}

/// The record of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// How the last attempt ended.
    pub state: State,
    /// The number of attempts since the identity was new or expired.
    pub attempts: i32,
    /// The status of the last attempt's response.
    pub status: StatusCode,
    pub(crate) fingerprint: Fingerprint,
    /// Empty unless the state is replayed.
    pub(crate) response: Stored,
    /// The time at which the last attempt was settled.
    pub settled_at: Timestamp,
    /// The time until which the record is replayed.
    pub expires_at: Timestamp,
}

/// The response of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    Readable(Recorded),
    /// The request's key opens it.
    Sealed(Bytes),
}

impl Stored {
    /// The response, unless it is sealed.
    pub(crate) fn readable(&self) -> Option<&Recorded> {
        match self {
            Self::Readable(recorded) => Some(recorded),
            Self::Sealed(_) => None,
        }
    }
}

impl Default for Stored {
    fn default() -> Self {
        Recorded::default().into()
    }
}

impl From<Recorded> for Stored {
    fn from(recorded: Recorded) -> Self {
        Self::Readable(recorded)
    }
}

impl Record {
    /// The response that is replayed; `None` if the state has none, or if it is sealed.
    pub fn response(&self) -> Option<&Recorded> {
        self.response
            .readable()
            .filter(|_| self.state.is_replayed())
    }

    /// Opens a sealed response.
    pub(crate) fn open(
        &mut self,
        identity: &Identity,
        key: &IdempotencyKey,
        seal: Option<&Seal>,
    ) -> Result<(), Unreadable> {
        let Stored::Sealed(sealed) = &self.response else {
            return Ok(());
        };
        let seal = seal.ok_or(Unreadable(
            "response is sealed, and the engine has no `Seal`",
        ))?;
        let bound = Bound {
            identity,
            state: self.state,
            status: self.status,
            fingerprint: &self.fingerprint,
        };
        let encoding = seal.open(key, bound, sealed)?;
        self.response = Recorded::decode(encoding, identity, self.status)?.into();
        Ok(())
    }

    /// The version of the record.
    pub fn version(&self) -> Version {
        Version {
            attempts: self.attempts,
            settled_at: self.settled_at,
        }
    }
}

/// A stored record that can't be read: tampered with, cut short, or written by a later release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record can't be read: {0}")]
pub struct Unreadable(pub(crate) &'static str);

impl Unreadable {
    /// A record whose `part` can't be read.
    pub const fn new(part: &'static str) -> Self {
        Self(part)
    }
}

/// A record, and the time of its read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// The database's time when it read the record.
    pub now: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_points_of_the_calendar_before_and_after_1970() {
        let elapsed = Duration::from_millis(1_500);
        assert_eq!(SystemTime::from(Timestamp(1_500_000)), UNIX_EPOCH + elapsed);
        assert_eq!(
            SystemTime::from(Timestamp(-1_500_000)),
            UNIX_EPOCH - elapsed
        );
    }
}
