//! What a record means for a request. The cache, waiters, claims, recovery and the loser of a race
//! all ask here, and nowhere else.

use crate::fingerprint::Fingerprint;
use crate::policy::is_transient;
use crate::record::{Record, State, Timestamp};

/// What a record means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The handler runs, as this attempt.
    Execute {
        /// The attempt's number, from 1.
        attempt: i32,
    },
    /// The recorded response is the answer.
    Replay,
    /// The key was used for something else.
    Mismatch,
    /// The handler is never run again, though there is no response: see [`State::Ended`].
    Ended,
}

/// Decides what `record` means at `now`, by the database's clock, for a request with `fingerprint`.
pub(crate) fn decide(record: &Record, fingerprint: &Fingerprint, now: Timestamp) -> Decision {
    if record.expires_at <= now {
        return Decision::Execute { attempt: 1 };
    }
    if !record.fingerprint.matches(fingerprint) && binds(record) {
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

/// Whether a request with another content is a mismatch. A failure that blames the content, and may be
/// retried, asks for another content.
fn binds(record: &Record) -> bool {
    record.state != State::FailedRetriable || is_transient(record.status)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::fingerprint::{Content, RequestParts};
    use crate::record::{State, Stored};

    fn fingerprint(body: u8) -> Fingerprint {
        let asked = RequestParts {
            method: "POST",
            path: "/",
            query: None,
            raw: Some(&[body]),
        };
        Fingerprint::new(asked, &Content::Raw, None)
    }

    prop_compose! {
        fn record()(state in 1..=4_i16, attempts in 1..100, status in select(&[200, 303, 401, 404, 422, 500][..]), body in 0..3_u8, settled_at in 0..50_i64, ttl in 1..50_i64)
            -> Record
        {
            Record {
                state: State::from_code(state).unwrap(),
                attempts,
                status: StatusCode::from_u16(status).unwrap(),
                fingerprint: fingerprint(body),
                response: Stored::default(),
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
                (false, State::FailedRetriable) if matches!(record.status.as_u16(), 200 | 303 | 404 | 422) => {
                    Decision::Execute { attempt: record.attempts + 1 }
                }
                (false, _) => Decision::Mismatch,
                (true, State::FailedRetriable) => Decision::Execute { attempt: record.attempts + 1 },
                (true, State::Ended) => Decision::Ended,
                (true, _) => Decision::Replay,
            };
            prop_assert_eq!(decide(&record, &asked, now), expected);
        }
    }
}
