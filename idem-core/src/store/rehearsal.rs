//! What a check claims and records, and then undoes.
#![cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    allow(dead_code, reason = "each store uses a part of it")
)]

use std::time::Duration;

use http::StatusCode;

use super::{BoxError, ClaimRequest, Draft, Opening, SettleError, StoreError};
use crate::fingerprint::{Content, Fingerprint, RequestParts};
use crate::identity::Identity;
use crate::operation::Operation;
use crate::policy::Isolation;
use crate::record::{Found, State, Version};
use crate::response::Recorded;

/// Of a record that is not found right after it was written.
pub(crate) const HIDDEN: &str =
    "a record can't be written or replaced; a trigger, a rule or row level security may hide it";

const TTL: Duration = Duration::from_mins(1);

/// A request whose identity nobody else has.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    pub(crate) identity: Identity,
    operation: Operation,
    fingerprint: Fingerprint,
    response: Vec<u8>,
}

impl Rehearsal {
    pub(crate) fn new() -> Self {
        let identity = Identity::random();
        let nothing = RequestParts {
            method: "",
            path: "",
            query: None,
            raw: Some(identity.as_bytes()),
        };
        Self {
            identity,
            operation: Operation::named("idem.check"),
            fingerprint: Fingerprint::new(nothing, &Content::Raw, None),
            response: Recorded::default().encode(&identity, StatusCode::OK),
        }
    }

    /// The first claim, or that of the record with the version `seen`.
    pub(crate) fn claim(&self, seen: Option<Version>) -> ClaimRequest<'_> {
        ClaimRequest {
            identity: &self.identity,
            operation: &self.operation,
            fingerprint: &self.fingerprint,
            attempt: 1,
            ttl: TTL,
            opening: Opening {
                isolation: Some(Isolation::ReadCommitted),
                deadline: TTL,
                lease: None,
            },
            seen,
            likely_taken: false,
        }
    }

    /// The first record, or the one that replaces it.
    pub(super) fn draft(&self, replaces: Option<Version>) -> Draft<'_> {
        Draft {
            identity: &self.identity,
            operation: &self.operation,
            state: State::Succeeded,
            attempts: replaces.map_or(1, |seen| seen.attempts + 1),
            status: StatusCode::OK,
            fingerprint: &self.fingerprint,
            response: Some(&self.response),
            ttl: TTL,
            replaces,
        }
    }

    /// Whether the record of this draft is the one that is read back.
    pub(super) fn compare(
        &self,
        found: Option<Found>,
        draft: &Draft<'_>,
    ) -> Result<(), StoreError> {
        let Some(Found { record, .. }) = found else {
            return Err(misconfigured(
                "a record that was just written can't be read",
            ));
        };
        let is_same = record.state == draft.state
            && record.attempts == draft.attempts
            && record.status == draft.status
            && record.fingerprint == self.fingerprint
            && record.settled_at < record.expires_at;
        if is_same {
            Ok(())
        } else {
            Err(misconfigured(
                "a record that was just written is read with other values; a trigger or a rule may change it",
            ))
        }
    }
}

/// What an error of the rehearsed settlement says of the database. `is_refusal` as in
/// [`migrate_error`](super::migrate::migrate_error).
pub(super) fn settle_failure(
    error: SettleError,
    is_refusal: impl FnOnce(&sqlx::Error) -> bool,
) -> StoreError {
    match error {
        SettleError::Misconfigured(cause) => StoreError::Misconfigured(cause),
        SettleError::Aborted(cause) | SettleError::Refused(cause) | SettleError::Unknown(cause) => {
            store_failure(StoreError::Unavailable(cause), is_refusal)
        }
        SettleError::Ended | SettleError::Superseded => misconfigured(HIDDEN),
    }
}

/// What an error of the rehearsed claim says of the database: a refusal lasts.
pub(super) fn store_failure(
    error: StoreError,
    is_refusal: impl FnOnce(&sqlx::Error) -> bool,
) -> StoreError {
    match error {
        StoreError::Unavailable(cause) if cause.downcast_ref().is_some_and(is_refusal) => {
            StoreError::Misconfigured(cause)
        }
        StoreError::Unreadable(column) => StoreError::Misconfigured(column.into()),
        other => other,
    }
}

pub(crate) fn misconfigured(text: impl Into<BoxError>) -> StoreError {
    StoreError::Misconfigured(text.into())
}
