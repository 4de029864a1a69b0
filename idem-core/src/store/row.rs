//! A record's columns.

use http::StatusCode;

use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::record::{Record, State, Stored, Timestamp, Unreadable};
use crate::response::Recorded;
use crate::seal;

/// Reads a record from a row of any database; sqlx's traits would need a page of bounds for it.
///
/// A column that holds another type than it should makes the record unreadable.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
macro_rules! found {
    ($row:expr, $identity:expr) => {
        found!($row, $identity, sqlx::Row::try_get)
    };
    ($row:expr, $identity:expr, $time:path) => {{
        let row = $row;
        let time = |column: usize| -> sqlx::Result<i64> { $time(row, column) };
        let unreadable = |column: &'static str| {
            move |error: sqlx::Error| {
                tracing::warn!(%error, "a column of a record can't be read");
                crate::record::Unreadable(column)
            }
        };
        let record = crate::store::Row {
            state: row.try_get(0).map_err(unreadable("state"))?,
            attempts: row.try_get(1).map_err(unreadable("attempts"))?,
            status: row.try_get(2).map_err(unreadable("status"))?,
            fingerprint: row.try_get(3).map_err(unreadable("fingerprint"))?,
            response: row.try_get(4).map_err(unreadable("response"))?,
            settled_at: time(5).map_err(unreadable("settled_at"))?,
            expires_at: time(6).map_err(unreadable("expires_at"))?,
        };
        let now = time(7).map_err(unreadable("the database's time"))?;
        Ok(Found {
            record: record.decode($identity)?,
            now: crate::record::Timestamp(now),
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
    /// [`Recorded::encode`], or the same in a sealed form; `None` where nothing is replayed.
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
    /// [`Unreadable`] if this release did not write the row. Such a record is never treated as a
    /// missing one.
    pub fn decode(self, identity: &Identity) -> Result<Record, Unreadable> {
        let state = State::from_code(self.state).ok_or(Unreadable("state"))?;
        let status = u16::try_from(self.status).ok();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or(Unreadable("status"))?;
        let fingerprint =
            Fingerprint::from_bytes(&self.fingerprint).ok_or(Unreadable("fingerprint"))?;
        // A response in a state that has none is a sign of tampering: a 1 changed to 3 would run the
        // handler again.
        let response = match (self.response, state.is_replayed()) {
            (Some(sealed), true) if sealed.first() == Some(&seal::FORMAT) => {
                Stored::Sealed(sealed.into())
            }
            (Some(encoding), true) => Recorded::decode(encoding, identity, status)?.into(),
            (None, false) => Stored::default(),
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
