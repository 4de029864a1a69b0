//! A handler's outcome, and the completion of its response.

use crate::policy::{Misuse, Settle};
use crate::store::BoxError;

/// The outcome of a handler whose response is an `R`.
#[derive(Debug)]
pub enum HandlerOutcome<R> {
    /// It answered.
    Answered {
        response: R,
        /// How the attempt is settled.
        settle: Result<Settle, Misuse>,
        /// The result of [`Open::close`](crate::Open::close).
        closed: Result<(), BoxError>,
    },
    /// Its response is too large to be recorded.
    TooLarge,
    /// Its transaction could not be opened for it, or its response's body broke off.
    Broken(BoxError),
}

/// Whether a body of this type has no end.
pub fn is_endless(content_type: &[u8]) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let kind = content_type.get(..EVENT_STREAM.len());
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}
