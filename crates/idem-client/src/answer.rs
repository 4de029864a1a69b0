//! The outcomes of an intent.

use std::error::Error as StdError;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::key::Key;
use crate::problem::Problem;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The service's answer to an intent, with any status.
///
/// A status of 400 or more is the application's own "no": it is final, and the same request gets it again.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The answer with its whole body.
    pub response: Response<Bytes>,
    /// Whether the answer is that of an earlier attempt (`Idempotency-Replayed`).
    pub replayed: bool,
    /// Whether the service keeps the answer for the same request (`Idempotency-Expires`). An answer above 299
    /// that is not kept says nothing about attempts of an earlier process.
    pub recorded: bool,
    /// The number of attempts of this `send`.
    pub attempts: u32,
    /// The idempotency key.
    pub key: Key,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// If the body is not JSON of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.response.body())
    }
}

/// An intent without an answer of the application.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service refused the request because of its key, and will refuse it again.
    #[error(transparent)]
    Refused(#[from] Box<Refused>),
    /// Nobody knows whether the request has had its effect. Ask again in the same words.
    #[error(transparent)]
    Unfinished(#[from] Box<Unfinished>),
    /// The request can't be made, and nothing was sent.
    #[error("the request can't be made")]
    Unsent(#[source] BoxError),
}

/// A refusal by the service's protection, as a problem document with `retryable` and `safe_new_key`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the service refuses the request: {problem}")]
#[non_exhaustive]
pub struct Refused {
    /// The problem.
    pub problem: Problem,
    /// Whether other words can't double the effect: the request has changed nothing under its key.
    pub safe_new_key: bool,
    /// The number of attempts of this `send`.
    pub attempts: u32,
    /// The idempotency key.
    pub key: Key,
}

/// The end of the time, the retries or the record, before an answer that says how the request went.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unfinished {
    /// The idempotency key.
    pub key: Key,
    /// The outcome of the last attempt.
    pub last: Last,
    /// The time of the first attempt of this `send`. After the endpoint's TTL from here on, the same request
    /// can run again.
    pub since: SystemTime,
    /// The number of attempts of this `send`.
    pub attempts: u32,
}

/// The outcome of the last attempt of an [`Unfinished`] intent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Last {
    /// An answer that asks for a retry, or, after an attempt without an answer, one that says nothing about
    /// that attempt, such as a 401.
    Answer(Response<Bytes>),
    /// No answer, or not all of it.
    NoAnswer(BoxError),
    /// The answer, with this status, is longer than [`Client::with_response_limit`] allows.
    ///
    /// [`Client::with_response_limit`]: crate::Client::with_response_limit
    TooLong(StatusCode),
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.attempts;
        write!(
            f,
            "after {attempts} attempts nobody knows how the request went; "
        )?;
        match &self.last {
            Last::Answer(response) => write!(f, "the last answer is {}", response.status()),
            Last::NoAnswer(_) => f.write_str("the last attempt has no answer"),
            Last::TooLong(status) => write!(f, "the last answer, {status}, is too long"),
        }
    }
}

impl StdError for Unfinished {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.last {
            Last::NoAnswer(error) => Some(&**error),
            Last::Answer(_) | Last::TooLong(_) => None,
        }
    }
}
