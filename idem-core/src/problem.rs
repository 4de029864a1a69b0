//! The library's own errors as problem documents ([RFC 9457]; [rules P1 to P4]).
//!
//! Every one is `application/problem+json` with `type`, `title`, `status`, `detail`, `retryable` and
//! `safe_new_key`. The [`Problem`] itself is in the response's extensions, so a layer or a middleware can
//! answer in another form, such as a page. The `type` is a configurable base followed by one of these names:
//!
//! ## key-missing
//! Status 400. The endpoint needs an idempotency key and the request has none.
//! ## key-malformed
//! Status 400. The value is not an idempotency key, or breaks a rule of the application's.
//! ## key-reused
//! Status 422. The key was used for another request.
//! ## in-flight
//! Status 409, may be retried. The first request with this key has not ended yet.
//! ## too-many-retries
//! Status 429, may be retried after the time in `Retry-After`. Too many requests have this key or this owner.
//! ## try-again
//! Status 503, may be retried. The attempt was undone: the database refused to commit it, or it took
//! too long.
//! ## outcome-unknown
//! Status 503, may be retried. The connection was lost during the commit; a retry returns the real
//! outcome.
//! ## unavailable
//! Status 503, may be retried. The database can't be reached, or the service is shutting down.
//! ## handler-panicked
//! Status 500, may be retried. The handler panicked and its writes were undone.
//! ## transaction-lost
//! Status 500. The handler broke its transaction. If it swallowed an SQL error, nothing was kept
//! and the request may be retried. If it ended the transaction itself, its effect may have been
//! committed, and this answer is final.
//! ## step-uncertain
//! Status 409. A call to another service may have happened, and nobody can tell. An operator decides.
//! ## response-too-large
//! Status 500. The response is too large to be recorded; everything was undone.
//! ## record-unreadable
//! Status 500. There is a record that can't be read; the request is not executed again.
//! ## misconfigured
//! Status 500. The endpoint is not set up correctly; the log says why.
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
//! [rules P1 to P4]: crate::_documentation::contract#p-problem-documents

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use crate::config::Config;
use crate::key::{KeyError, KeyPlace};
use crate::response::Response;
use crate::store::Mode;

/// The default base of the problem types: this module's page.
pub(crate) const DEFAULT_BASE: &str =
    "https://docs.rs/idem-core/latest/idem_core/problem/index.html#";

/// One of the library's refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// [`key-missing`](self#key-missing)
    KeyMissing,
    /// [`key-malformed`](self#key-malformed)
    KeyMalformed(KeyError),
    /// [`key-reused`](self#key-reused)
    KeyReused,
    /// [`in-flight`](self#in-flight)
    InFlight,
    /// [`too-many-retries`](self#too-many-retries)
    TooManyRetries {
        /// The seconds until the next request is let in.
        retry_after: u64,
    },
    /// [`try-again`](self#try-again)
    TryAgain,
    /// [`outcome-unknown`](self#outcome-unknown)
    OutcomeUnknown,
    /// [`unavailable`](self#unavailable)
    Unavailable,
    /// [`handler-panicked`](self#handler-panicked)
    HandlerPanicked,
    /// [`transaction-lost`](self#transaction-lost), by a swallowed SQL error.
    TransactionAborted,
    /// [`transaction-lost`](self#transaction-lost), by the handler's own COMMIT or ROLLBACK.
    TransactionEnded,
    /// [`step-uncertain`](self#step-uncertain)
    StepUncertain,
    /// [`response-too-large`](self#response-too-large)
    ResponseTooLarge,
    /// [`record-unreadable`](self#record-unreadable)
    RecordUnreadable,
    /// [`misconfigured`](self#misconfigured)
    Misconfigured,
}

impl Problem {
    /// The last part of the problem's type.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The status of its response.
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// Whether a retry of the same request may get another answer.
    pub const fn retryable(self) -> bool {
        self.row().2
    }

    /// Whether a new key can't double an effect: the request changed nothing under the key that it
    /// has ([rule P4]).
    ///
    /// It is false wherever an effect of the key may stand: of this attempt, of an earlier one, or of
    /// the one that made the database refuse this one.
    ///
    /// [rule P4]: crate::_documentation::contract#p-problem-documents
    pub const fn safe_new_key(self) -> bool {
        matches!(
            self,
            Self::KeyMissing
                | Self::KeyMalformed(_)
                | Self::HandlerPanicked
                | Self::TransactionAborted
                | Self::ResponseTooLarge
        )
    }

    /// The problem document as a complete response, with the problem in its extensions.
    pub(crate) fn to_response(self, config: &Config) -> Response {
        self.to_response_about(KeyPlace::HEADER, config)
    }

    /// The same for an endpoint that has its keys in `place`.
    pub(crate) fn to_response_about(self, place: KeyPlace, config: &Config) -> Response {
        let (name, status, retryable, _) = self.row();
        let has_steps = config.mode == Mode::Steps;
        let document = Document {
            r#type: format!("{}{name}", config.problem_base),
            title: self.title(has_steps),
            status: status.as_u16(),
            detail: self.detail(place, config),
            retryable,
            safe_new_key: self.safe_new_key() && !(has_steps && self.follows_handler()),
        };
        // Serializing strings, a number and a flag to JSON can't fail.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    pub(crate) fn retry_after(self) -> Option<u64> {
        match (self, self.status()) {
            (Self::StepUncertain, _) => None,
            (Self::TooManyRetries { retry_after }, _) => Some(retry_after),
            (_, StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE) => Some(1),
            _ => None,
        }
    }

    /// Whether a handler has run, which may have finished steps.
    const fn follows_handler(self) -> bool {
        !matches!(self, Self::KeyMissing | Self::KeyMalformed(_))
    }

    pub(crate) fn title(self, has_steps: bool) -> &'static str {
        let title = self.title_with_steps().filter(|_| has_steps);
        title.unwrap_or(self.row().3)
    }

    /// The title where finished steps stay.
    const fn title_with_steps(self) -> Option<&'static str> {
        match self {
            Self::TryAgain => Some("Request was interrupted and may be sent again"),
            Self::HandlerPanicked | Self::TransactionAborted => {
                Some("Request failed and may be sent again")
            }
            _ => None,
        }
    }

    const fn row(self) -> (&'static str, StatusCode, bool, &'static str) {
        use StatusCode as S;
        match self {
            Self::KeyMissing => (
                "key-missing",
                S::BAD_REQUEST,
                false,
                "Idempotency key is missing",
            ),
            Self::KeyMalformed(_) => (
                "key-malformed",
                S::BAD_REQUEST,
                false,
                "Idempotency key is malformed",
            ),
            Self::KeyReused => (
                "key-reused",
                S::UNPROCESSABLE_ENTITY,
                false,
                "Idempotency key was used for another request",
            ),
            Self::InFlight => (
                "in-flight",
                S::CONFLICT,
                true,
                "First request is still in flight",
            ),
            Self::TooManyRetries { .. } => (
                "too-many-retries",
                S::TOO_MANY_REQUESTS,
                true,
                "Too many requests with this key or of its owner",
            ),
            Self::TryAgain => (
                "try-again",
                S::SERVICE_UNAVAILABLE,
                true,
                "Request was undone and may be sent again",
            ),
            Self::OutcomeUnknown => (
                "outcome-unknown",
                S::SERVICE_UNAVAILABLE,
                true,
                "Outcome of the request is not known yet",
            ),
            Self::Unavailable => (
                "unavailable",
                S::SERVICE_UNAVAILABLE,
                true,
                "Service is unavailable",
            ),
            Self::HandlerPanicked => (
                "handler-panicked",
                S::INTERNAL_SERVER_ERROR,
                true,
                "Request failed and was undone",
            ),
            Self::TransactionAborted => (
                "transaction-lost",
                S::INTERNAL_SERVER_ERROR,
                true,
                "Request failed and was undone",
            ),
            Self::TransactionEnded => (
                "transaction-lost",
                S::INTERNAL_SERVER_ERROR,
                false,
                "Request failed and may have had an effect",
            ),
            Self::StepUncertain => (
                "step-uncertain",
                S::CONFLICT,
                false,
                "A call of this request may have happened",
            ),
            Self::ResponseTooLarge => (
                "response-too-large",
                S::INTERNAL_SERVER_ERROR,
                false,
                "Response is too large to be recorded",
            ),
            Self::RecordUnreadable => (
                "record-unreadable",
                S::INTERNAL_SERVER_ERROR,
                false,
                "Record of the first request can't be read",
            ),
            Self::Misconfigured => (
                "misconfigured",
                S::INTERNAL_SERVER_ERROR,
                false,
                "Endpoint is not set up for idempotency keys",
            ),
        }
    }

    fn detail(self, place: KeyPlace, config: &Config) -> Cow<'static, str> {
        let place = || place.describe(&config.header);
        match self {
            Self::KeyMissing => format!("send a unique key for this request {}", place()).into(),
            Self::KeyMalformed(error) if error.is_of_a_rule() => {
                format!("{error}; send such a key {}", place()).into()
            }
            Self::KeyMalformed(error) => format!(
                "{error}; send 1 to 255 visible ASCII characters without comma, quote and \
                 backslash {}",
                place()
            )
            .into(),
            Self::KeyReused => {
                "the request differs from the first one with this key; send it with a new key"
                    .into()
            }
            Self::InFlight => {
                "the first request with this key has not ended; send the same request again later"
                    .into()
            }
            Self::TooManyRetries { .. } => {
                "the request was not executed; send it with the same key again after the time in `Retry-After`"
                    .into()
            }
            Self::TryAgain | Self::HandlerPanicked | Self::TransactionAborted
                if config.mode == Mode::Steps =>
            {
                "finished steps are kept; send the same request with the same key again".into()
            }
            Self::TryAgain | Self::HandlerPanicked | Self::TransactionAborted => {
                "nothing was kept; send the same request with the same key again".into()
            }
            Self::OutcomeUnknown => {
                "send the same request with the same key again to learn the outcome".into()
            }
            Self::Unavailable => {
                "the request was not executed; send it with the same key again".into()
            }
            Self::TransactionEnded | Self::RecordUnreadable => {
                "the request is not executed again with this key; ask the operator".into()
            }
            Self::StepUncertain => {
                "the request can't go on until the operator has found out; don't send it with a new key"
                    .into()
            }
            Self::ResponseTooLarge if config.mode == Mode::Steps => {
                "finished steps are kept; the operator has to raise the limit".into()
            }
            Self::ResponseTooLarge => {
                "nothing was kept; the operator has to raise the limit".into()
            }
            Self::Misconfigured => "the request was not executed; ask the operator".into(),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: Cow<'a, str>,
    retryable: bool,
    safe_new_key: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn p1_p2_a_refusal_is_a_problem_document() {
        let config = Config::new().with_problem_base("https://example.com/");
        let response = Problem::InFlight.to_response(&config);
        assert_eq!(response.status(), 409);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(response.headers()["retry-after"], "1");
        let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(document["type"], "https://example.com/in-flight");
        assert_eq!(document["status"], 409);
        assert_eq!(document["retryable"], true);
        assert_eq!(document["safe_new_key"], false);
        assert_eq!(response.extensions().get(), Some(&Problem::InFlight));
        assert!(document["title"].is_string() && document["detail"].is_string());
    }

    #[test]
    fn k4_a_missing_key_names_its_header() {
        let config = Config::new().try_with_header("x-request-key").unwrap();
        for problem in [Problem::KeyMissing, Problem::KeyMalformed(KeyError::Empty)] {
            let response = problem.to_response(&config);
            let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            let detail = document["detail"].as_str().unwrap();
            assert!(detail.contains("`x-request-key`"), "{detail}");
        }
    }

    /// One of each kind.
    pub(crate) const ALL: [Problem; 15] = [
        Problem::KeyMissing,
        Problem::KeyMalformed(KeyError::Empty),
        Problem::KeyReused,
        Problem::InFlight,
        Problem::TooManyRetries { retry_after: 7 },
        Problem::TryAgain,
        Problem::OutcomeUnknown,
        Problem::Unavailable,
        Problem::HandlerPanicked,
        Problem::TransactionAborted,
        Problem::TransactionEnded,
        Problem::StepUncertain,
        Problem::ResponseTooLarge,
        Problem::RecordUnreadable,
        Problem::Misconfigured,
    ];

    #[test]
    fn p1_every_name_is_described_above() {
        let page = include_str!("problem.rs");
        for problem in ALL {
            let heading = format!(
                "//! ## {}\n//! Status {}",
                problem.name(),
                problem.status().as_u16()
            );
            assert!(page.contains(&heading), "{problem:?}");
        }
    }
}
