//! Attempts of one request, until there is an answer or no time is left.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::{Instant, sleep_until};

use crate::answer::{Answer, BoxError, Error, Last, Refused, Unfinished};
use crate::budget::Budget;
use crate::headers;
use crate::key::Key;
use crate::problem::Document;

/// Sends the request once.
pub(crate) trait Transport {
    fn attempt(&self, within: Duration) -> impl Future<Output = Outcome> + Send;
}

/// The outcome of one attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Response<Bytes>),
    Lost {
        error: BoxError,
        /// Whether the service may have got the request.
        is_sent: bool,
        /// The remaining lifetime of the record, if the headers came through.
        lifetime: Option<Duration>,
    },
    TooLong(StatusCode),
    Unsent(BoxError),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) within: Duration,
    pub(crate) attempt: Duration,
    /// The longest random pause after the first attempt. It doubles with each one.
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

/// Whether an answer ends the attempts.
enum Verdict {
    Final(Option<Document>),
    /// The service works on it.
    Pending,
    Again {
        /// Whether it proves that the request has had no effect.
        is_harmless: bool,
    },
}

fn judge(response: &Response<Bytes>) -> Verdict {
    if response.status() == StatusCode::ACCEPTED && headers::is_pending(response.headers()) {
        return Verdict::Pending;
    }
    let document = Document::of(response);
    let is_refusal = document
        .as_ref()
        .is_some_and(|it| it.retryable == Some(false));
    let is_in_flight = document.as_ref().is_some_and(Document::is_in_flight);
    let is_repeatable = match response.status() {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::CONFLICT => is_in_flight,
        status => status.is_server_error(),
    };
    if is_recorded(response) || is_refusal || !is_repeatable {
        return Verdict::Final(document);
    }
    let is_unchanged = document.is_some_and(|it| it.safe_new_key == Some(true));
    Verdict::Again {
        is_harmless: is_unchanged || response.status() == StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Whether the same request gets the same answer again.
fn is_recorded(response: &Response<Bytes>) -> bool {
    let headers = response.headers();
    headers.contains_key(headers::EXPIRES) || headers::is_replayed(headers)
}

pub(crate) async fn send(
    transport: &impl Transport,
    key: Key,
    host: &str,
    limits: Limits,
    budget: &Budget,
) -> Result<Answer, Error> {
    let (start, since) = (Instant::now(), SystemTime::now());
    let deadline = start.checked_add(limits.within);
    let deadline = deadline.unwrap_or_else(|| start + FAR);
    // A retry after this time could run again.
    let mut end = deadline;
    let mut attempts = 0;
    let mut is_in_doubt = false;
    budget.earn(host);
    loop {
        attempts += 1;
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = transport.attempt(left.min(limits.attempt)).await;
        let now = Instant::now();
        let unfinished = |last| {
            let unfinished = Unfinished {
                key,
                last,
                since,
                attempts,
            };
            Err(Box::new(unfinished).into())
        };
        let mut is_pending = false;
        let (last, wait) = match outcome {
            Outcome::Answer(response) => match judge(&response) {
                Verdict::Pending => {
                    (is_pending, is_in_doubt) = (true, true);
                    let wait = headers::retry_after(response.headers());
                    (Last::Answer(response), wait.unwrap_or(POLL))
                }
                Verdict::Final(document) => {
                    return match conclude(response, document, key, attempts, is_in_doubt) {
                        Ok(concluded) => concluded,
                        Err(response) => unfinished(Last::Answer(response)),
                    };
                }
                Verdict::Again { is_harmless } => {
                    is_in_doubt |= !is_harmless;
                    let wait = headers::retry_after(response.headers());
                    (Last::Answer(response), wait.unwrap_or_default())
                }
            },
            Outcome::Lost {
                error,
                is_sent,
                lifetime,
            } => {
                is_in_doubt |= is_sent;
                let expiry = lifetime.and_then(|lifetime| now.checked_add(lifetime));
                end = expiry.map_or(end, |expiry| end.min(expiry));
                (Last::NoAnswer(error), Duration::ZERO)
            }
            Outcome::TooLong(status) => return unfinished(Last::TooLong(status)),
            Outcome::Unsent(error) if attempts == 1 => return Err(Error::Unsent(error)),
            Outcome::Unsent(error) => return unfinished(Last::NoAnswer(error)),
        };
        let due = if is_pending {
            now.checked_add(wait).filter(|due| *due < end)
        } else {
            let pause = limits.pause(attempts, end.saturating_duration_since(now));
            let due = now.checked_add(pause.max(wait));
            due.and_then(|due| budget.take(host, due, end))
        };
        let Some(due) = due else {
            return unfinished(last);
        };
        tracing::debug!(%key, attempts, pause = ?due - now, last = ?Seen(&last), "the request is sent again");
        sleep_until(due).await;
    }
}

/// Between two polls, if the service does not say.
const POLL: Duration = Duration::from_secs(1);

/// For deadlines that a clock can't represent.
const FAR: Duration = Duration::from_hours(24 * 365);

impl Limits {
    /// A random pause before the next attempt, from zero on ("full jitter").
    fn pause(&self, attempts: u32, left: Duration) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let longest = self.first_pause.saturating_mul(1 << doublings);
        let longest = longest.min(self.longest_pause).min(left);
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(fastrand::u64(0..=micros))
    }
}

/// The outcome that a final answer means; the answer itself, if it says nothing about an attempt before it.
fn conclude(
    response: Response<Bytes>,
    document: Option<Document>,
    key: Key,
    attempts: u32,
    is_in_doubt: bool,
) -> Result<Result<Answer, Error>, Response<Bytes>> {
    let recorded = is_recorded(&response);
    if let Some(document) = document
        && document.retryable == Some(false)
        && let Some(safe_new_key) = document.safe_new_key
    {
        let refused = Refused {
            problem: document.into_problem(response.status()),
            safe_new_key,
            attempts,
            key,
        };
        return Ok(Err(Box::new(refused).into()));
    }
    if is_in_doubt && !recorded && !response.status().is_success() {
        return Err(response);
    }
    Ok(Ok(Answer {
        replayed: headers::is_replayed(response.headers()),
        recorded,
        response,
        attempts,
        key,
    }))
}

/// The last outcome, in a line of the log.
struct Seen<'l>(&'l Last);

impl std::fmt::Debug for Seen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Last::Answer(response) => write!(f, "{}", response.status().as_u16()),
            Last::NoAnswer(error) => write!(f, "{error}"),
            Last::TooLong(status) => write!(f, "{} too long", status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests;
