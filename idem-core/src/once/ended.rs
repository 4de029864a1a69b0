//! The end of a closure as a response, and back.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Failure, Once};
use crate::policy::Settle;
use crate::problem::Problem;
use crate::response::{Replayed, Response};

/// The statuses of records. They are in the log, and in what an operator finds.
pub(super) const DONE: StatusCode = StatusCode::OK;
const FINAL: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
/// A status that binds the key (rule M4): a redelivery has the same payload.
const AGAIN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// The response that stands for the end of a closure, how it is settled, and the end itself as it is read from
/// that response.
///
/// # Errors
///
/// If a value can't be written as JSON and read again.
pub fn record<V, E, F>(ended: Result<V, Failure<E, F>>) -> serde_json::Result<Recorded<V, E, F>>
where
    V: Serialize + DeserializeOwned,
    F: Serialize + DeserializeOwned,
{
    Ok(match ended {
        Ok(value) => {
            let (response, value) = written(DONE, &value)?;
            (response, Settle::Commit, Ok(value))
        }
        Err(Failure::Final(failure)) => {
            let (response, failure) = written(FINAL, &failure)?;
            (response, Settle::Final, Err(Failure::Final(failure)))
        }
        Err(again) => (
            with_body(AGAIN, Bytes::new()),
            Settle::Retriable,
            Err(again),
        ),
    })
}

/// A closure's end, as [`record`] returns it.
pub type Recorded<V, E, F> = (Response, Settle, Result<V, Failure<E, F>>);

/// The response with a value, and the value as it is read from there. A record that can't be read again would be
/// noticed too late.
fn written<T: Serialize + DeserializeOwned>(
    status: StatusCode,
    value: &T,
) -> serde_json::Result<(Response, T)> {
    let body = serde_json::to_vec(value)?;
    let value = serde_json::from_slice(&body)?;
    Ok((with_body(status, body.into()), value))
}

pub(super) fn with_body(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The caller's answer. `returned` is the end of the closure, if it has run.
///
/// # Errors
///
/// Why there is no value.
pub fn answer<V, E, F>(
    response: &Response,
    returned: Option<Result<V, Failure<E, F>>>,
) -> Result<Once<V>, Error<E, F>>
where
    V: DeserializeOwned,
    F: DeserializeOwned,
{
    let extensions = response.extensions();
    if let Some(problem) = extensions.get::<Problem>() {
        return Err((*problem).into());
    }
    if extensions.get::<Replayed>().is_some() {
        return match response.status() {
            DONE => read(response).map(Once::Replayed).map_err(Error::from),
            FINAL => Err(read(response).map_or_else(Error::from, Error::Final)),
            // The library's own record of a transaction that the closure has ended.
            _ => Err(Problem::TransactionEnded.into()),
        };
    }
    match returned {
        Some(Ok(value)) => Ok(Once::Fresh(value)),
        Some(Err(Failure::Again(error))) => Err(Error::Again(error)),
        Some(Err(Failure::Final(failure))) => Err(Error::Final(failure)),
        None => Err(Problem::OutcomeUnknown.into()),
    }
}

/// A recorded value. One of another type is never made again.
fn read<T: DeserializeOwned>(response: &Response) -> Result<T, Problem> {
    serde_json::from_slice(response.body()).map_err(|error| {
        tracing::error!(%error, "the recorded value is not of the type that is asked for");
        Problem::RecordUnreadable
    })
}
