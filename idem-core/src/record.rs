//! The stored row of an identity, and the one decision that is made from it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use crate::call::Identity;
use crate::fingerprint::Fingerprint;
use crate::response::Recorded;

/// Microseconds since 1970 by the database's clock, the only clock that decides expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// How long before `later` this was; zero if it was not.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// The time so much later.
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

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Its writes were committed and its response is replayed.
    Succeeded,
    /// Its writes were undone and its response is replayed.
    FailedFinal,
    /// Its writes were undone and it may run again.
    FailedRetriable,
    /// Its handler ended the transaction itself, and nobody has written down how it went on: what
    /// it wrote may stand. Only a store that writes when it claims can leave this behind.
    Ended,
}

impl State {
    /// The number that is stored.
    pub const fn code(self) -> i16 {
        match self {
            Self::Succeeded => 1,
            Self::FailedFinal => 2,
            Self::FailedRetriable => 3,
            Self::Ended => 4,
        }
    }

    const fn from_code(code: i16) -> Option<Self> {
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

/// Which writing of a record is meant: settling replaces exactly the one that the claim saw.
///
/// A record that was purged and written anew has another time of settling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The attempts that the record counts.
    pub attempts: i32,
    /// When it was settled.
    pub settled_at: Timestamp,
}

/// What is remembered of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// How the last attempt ended.
    pub state: State,
    /// How many attempts there were since the identity was new or expired.
    pub attempts: i32,
    /// The status that the last attempt answered with.
    pub status: StatusCode,
    /// What the key is bound to.
    pub fingerprint: Fingerprint,
    /// What is replayed; empty where nothing is.
    pub response: Recorded,
    /// When the last attempt was settled.
    pub settled_at: Timestamp,
    /// Until when the record answers.
    pub expires_at: Timestamp,
}

impl Record {
    /// This writing of the record.
    pub fn version(&self) -> Version {
        Version {
            attempts: self.attempts,
            settled_at: self.settled_at,
        }
    }
}

/// A record's columns, as every store has them.
#[derive(Debug, Clone)]
pub struct Row {
    /// [`State::code`].
    pub state: i16,
    /// [`Record::attempts`].
    pub attempts: i32,
    /// [`Record::status`].
    pub status: i16,
    /// [`Fingerprint::to_bytes`].
    pub fingerprint: Vec<u8>,
    /// [`Recorded::encode`]; `None` where nothing is replayed.
    pub response: Option<Vec<u8>>,
    /// [`Timestamp`] of the settling.
    pub settled_at: i64,
    /// [`Timestamp`] of the expiry.
    pub expires_at: i64,
}

impl Row {
    /// Reads the record of `identity`.
    ///
    /// # Errors
    ///
    /// [`Unreadable`], for whatever this release did not write: such a record is never taken for
    /// a missing one.
    pub fn decode(self, identity: &Identity) -> Result<Record, Unreadable> {
        let state = State::from_code(self.state).ok_or(Unreadable("state"))?;
        let status = u16::try_from(self.status).ok();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or(Unreadable("status"))?;
        let fingerprint =
            Fingerprint::from_bytes(&self.fingerprint).ok_or(Unreadable("fingerprint"))?;
        let response = match self.response {
            Some(encoding) => Recorded::decode(encoding, identity, status)?,
            None if state.is_replayed() => return Err(Unreadable("response is missing")),
            None => Recorded::default(),
        };
        Ok(Record {
            state,
            attempts: self.attempts,
            status,
            fingerprint,
            response,
            settled_at: Timestamp(self.settled_at),
            expires_at: Timestamp(self.expires_at),
        })
    }
}

/// A stored record that this release can't read: tampered with, cut short, or of a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record can't be read: {0}")]
pub struct Unreadable(pub(crate) &'static str);

/// A record with the time at which the database read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// The database's time.
    pub now: Timestamp,
}

/// What a record means for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The handler runs, as this attempt.
    Execute {
        /// The attempt's number, from 1.
        attempt: i32,
    },
    /// The recorded response is the answer.
    Replay,
    /// The key was used for something else.
    Mismatch,
    /// It is never run again, though there is no response: see [`State::Ended`].
    Ended,
}

/// Decides what a record that was read at `now` means for a call with this fingerprint.
pub fn decide(record: &Record, fingerprint: &Fingerprint, now: Timestamp) -> Decision {
    if record.expires_at <= now {
        return Decision::Execute { attempt: 1 };
    }
    if !record.fingerprint.matches(fingerprint) {
        return Decision::Mismatch;
    }
    match record.state {
        State::Succeeded | State::FailedFinal => Decision::Replay,
        State::FailedRetriable => Decision::Execute {
            attempt: record.attempts.saturating_add(1),
        },
        State::Ended => Decision::Ended,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::call::Operation;
    use crate::fingerprint::{Asked, Content};
    use crate::key::IdempotencyKey;

    fn fingerprint(body: u8) -> Fingerprint {
        let asked = Asked {
            method: "POST",
            path: "/",
            query: None,
            raw: &[body],
        };
        Fingerprint::new(asked, &Content::Raw, None)
    }

    #[test]
    fn timestamps_are_points_of_the_calendar_before_and_behind_1970() {
        let elapsed = Duration::from_millis(1_500);
        assert_eq!(SystemTime::from(Timestamp(1_500_000)), UNIX_EPOCH + elapsed);
        assert_eq!(
            SystemTime::from(Timestamp(-1_500_000)),
            UNIX_EPOCH - elapsed
        );
    }

    prop_compose! {
        fn record()(state in 1..=4_i16, attempts in 1..100, body in 0..3_u8, settled_at in 0..50_i64, ttl in 1..50_i64)
            -> Record
        {
            Record {
                state: State::from_code(state).unwrap(),
                attempts,
                status: StatusCode::OK,
                fingerprint: fingerprint(body),
                response: Recorded::default(),
                settled_at: Timestamp(settled_at),
                expires_at: Timestamp(settled_at + ttl),
            }
        }
    }

    proptest! {
        #[test]
        fn e1_an_expired_record_is_none(record in record(), body in 0..3_u8, late in 0..9_i64) {
            let now = Timestamp(record.expires_at.0 + late);
            prop_assert_eq!(decide(&record, &fingerprint(body), now), Decision::Execute { attempt: 1 });
        }

        #[test]
        fn m1_m4_a_living_record_binds_its_key(record in record(), body in 0..3_u8, early in 1..9_i64) {
            let now = Timestamp(record.expires_at.0 - early);
            let asked = fingerprint(body);
            let expected = match (record.fingerprint == asked, record.state) {
                (false, _) => Decision::Mismatch,
                (true, State::FailedRetriable) => Decision::Execute { attempt: record.attempts + 1 },
                (true, State::Ended) => Decision::Ended,
                (true, _) => Decision::Replay,
            };
            prop_assert_eq!(decide(&record, &asked, now), expected);
        }

        #[test]
        fn f21_a_row_is_read_exactly_if_every_column_is_what_this_release_writes(
            state in -1..7_i16,
            status in prop_oneof![90..610_i16, any::<i16>()],
            (version, length) in prop_oneof![3 => Just((1, 65)), 1 => (any::<u8>(), 60..70_usize)],
            response in prop::option::weighted(0.8, any::<bool>()),
        ) {
            let identity = Identity::new(None, &Operation::named("o"), &IdempotencyKey::parse(b"k").unwrap());
            let readable = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
            let encoding = |is_own: bool| {
                let status = readable.filter(|_| is_own).unwrap_or(StatusCode::IM_USED);
                Recorded::default().encode(&identity, status)
            };
            let row = Row {
                state,
                attempts: 1,
                status,
                fingerprint: vec![version; length],
                response: response.map(encoding),
                settled_at: 0,
                expires_at: 1,
            };
            let is_read = readable.is_some()
                && (version, length) == (1, 65)
                && match response {
                    None => (3..=4).contains(&state),
                    Some(is_own) => {
                        (1..=4).contains(&state) && (is_own || readable == Some(StatusCode::IM_USED))
                    }
                };
            let record = row.decode(&identity);
            prop_assert_eq!(record.is_ok(), is_read);
            if let Ok(record) = record {
                prop_assert_eq!(record.state.code(), state);
                prop_assert_eq!(Some(record.status), readable);
                prop_assert_eq!(record.fingerprint.to_bytes().to_vec(), vec![version; length]);
            }
        }
    }
}
