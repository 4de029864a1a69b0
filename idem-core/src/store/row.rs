//! A record's columns.

use http::StatusCode;

use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::record::{Record, State, Timestamp, Unreadable};
use crate::response::Recorded;

/// Reads a record out of a row of any database; sqlx's traits would need a page of bounds for it.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
macro_rules! found {
    ($row:expr, $identity:expr) => {{
        let row = $row;
        let read = || {
            let record = crate::store::Row {
                state: row.try_get(0)?,
                attempts: row.try_get(1)?,
                status: row.try_get(2)?,
                fingerprint: row.try_get(3)?,
                response: row.try_get(4)?,
                settled_at: row.try_get(5)?,
                expires_at: row.try_get(6)?,
            };
            Ok::<_, sqlx::Error>((record, crate::record::Timestamp(row.try_get(7)?)))
        };
        let (record, now) = read().map_err(store_error)?;
        Ok(Found {
            record: record.decode($identity)?,
            now,
        })
    }};
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
        // A response beside a state without one is a sign of tampering: 1 turned into 3 would run
        // the handler again.
        let response = match (self.response, state.is_replayed()) {
            (Some(encoding), true) => Recorded::decode(encoding, identity, status)?,
            (None, false) => Recorded::default(),
            (None, true) => return Err(Unreadable("response is missing")),
            (Some(_), false) => return Err(Unreadable("response where none is replayed")),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::IdempotencyKey;
    use crate::operation::Operation;

    proptest! {
        #[test]
        fn x21_a_row_is_read_exactly_if_every_column_is_what_this_release_writes(
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
                        (1..=2).contains(&state) && (is_own || readable == Some(StatusCode::IM_USED))
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
