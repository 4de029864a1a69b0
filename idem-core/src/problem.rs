//! The library's own errors as problem documents ([RFC 9457]; [rules P1 to P4]).
//!
//! Every one is `application/problem+json` with `type`, `title`, `status`, `detail`, `retryable` and
//! `safe_new_key`. An application can give all of them another form by
//! [`Config::with_problem_form`](crate::Config::with_problem_form). The [`Problem`] itself is in the response's
//! extensions, so a layer or a middleware can tell it from the application's own answers, and answer with a page,
//! for example. The `type` is a configurable base followed by one of these names:
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
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
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

    /// The problem as a complete response, with itself in the extensions.
    pub(crate) fn to_response(self, config: &Config) -> Response {
        self.to_response_about(KeyPlace::HEADER, config)
    }

    /// The same for an endpoint that has its keys in `place`.
    pub(crate) fn to_response_about(self, place: KeyPlace, config: &Config) -> Response {
        let document = self.document(place, config);
        let form = match &config.problem_form {
            Some(form) => catch_unwind(AssertUnwindSafe(|| form(&document))).unwrap_or_else(|_| {
                tracing::error!(problem = self.name(), "the form of problems panicked");
                ProblemForm::of(&document)
            }),
            None => ProblemForm::of(&document),
        };
        let mut response = form.into_response();
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        if let Some(seconds) = document.retry_after {
            let headers = response.headers_mut();
            headers.entry(RETRY_AFTER).or_insert(seconds.into());
        }
        response
    }

    fn document(self, place: KeyPlace, config: &Config) -> ProblemDocument {
        let (name, status, retryable, _) = self.row();
        let has_steps = config.mode == Mode::Steps;
        ProblemDocument {
            problem: self,
            retry_after: self.retry_after(),
            r#type: format!("{}{name}", config.problem_base),
            title: self.title(has_steps),
            status: status.as_u16(),
            detail: self.detail(place, config),
            retryable,
            safe_new_key: self.safe_new_key() && !(has_steps && self.follows_handler()),
        }
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

/// A problem with its members (RFC 9457), as [`Config::with_problem_form`](crate::Config::with_problem_form)
/// gets it. It serializes as the document of [rule P1].
///
/// [rule P1]: crate::_documentation::contract#p-problem-documents
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ProblemDocument {
    /// The problem itself.
    #[serde(skip)]
    pub problem: Problem,
    /// The seconds in `Retry-After`, if the response has this header.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// The base of the application's problems, and the problem's name.
    pub r#type: String,
    /// A short title in English, the same for each such problem.
    pub title: &'static str,
    /// The status of the response.
    pub status: u16,
    /// The remedy, in English.
    pub detail: Cow<'static, str>,
    /// As [`Problem::retryable`].
    pub retryable: bool,
    /// As [`Problem::safe_new_key`]; with steps, also false once the handler may have run.
    pub safe_new_key: bool,
}

/// A body and its headers in place of a problem document, for
/// [`Config::with_problem_form`](crate::Config::with_problem_form).
#[derive(Debug, Clone)]
pub struct ProblemForm {
    headers: HeaderMap,
    body: Bytes,
}

pub(crate) type Render = dyn Fn(&ProblemDocument) -> ProblemForm + Send + Sync;

impl ProblemForm {
    /// A body of this content type.
    pub fn new(content_type: &str, body: impl Into<Bytes>) -> Self {
        let form = Self {
            headers: HeaderMap::new(),
            body: body.into(),
        };
        form.with_header(CONTENT_TYPE.as_str(), content_type)
    }

    /// A value as `application/json`.
    ///
    /// # Panics
    ///
    /// If the value can't be serialized; the answer is then the problem document.
    pub fn json(value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("the form of a problem is serialized");
        Self::new("application/json", body)
    }

    /// Adds a header. One whose name or value is no header is left out, with an error in the log.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(header), Ok(text)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.append(header, text);
        } else {
            tracing::error!(name, value, "the form of a problem has no such header");
        }
        self
    }

    /// The library's own form.
    fn of(document: &ProblemDocument) -> Self {
        // Serializing strings, a number and flags to JSON can't fail.
        let body = serde_json::to_vec(document).unwrap_or_default();
        Self::new("application/problem+json", body).with_header(CONTENT_LANGUAGE.as_str(), "en")
    }

    fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.headers_mut() = self.headers;
        response
    }
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
    fn p6_a_problem_takes_the_form_of_the_application() {
        let config = Config::new().with_problem_form(|problem| {
            let form = ProblemForm::json(&[problem.problem.name(), problem.title]);
            form.with_header("x-error", "1").with_header("x y", "1")
        });
        let response = Problem::InFlight.to_response(&config);
        assert_eq!(response.status(), 409);
        assert_eq!(
            response.body(),
            r#"["in-flight","First request is still in flight"]"#
        );
        let headers: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(headers, ["content-type", "x-error", "retry-after"]);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.extensions().get(), Some(&Problem::InFlight));
    }

    #[test]
    fn p6_the_time_of_a_form_is_its_own() {
        let config = Config::new().with_problem_form(|problem| {
            assert_eq!(problem.retry_after, Some(1));
            ProblemForm::new("text/plain", "later").with_header("retry-after", "9")
        });
        let response = Problem::InFlight.to_response(&config);
        let times: Vec<_> = response.headers().get_all(RETRY_AFTER).iter().collect();
        assert_eq!(times, ["9"]);
    }

    #[test]
    fn p6_a_form_that_panics_is_the_document() {
        let config = Config::new().with_problem_form(|_| panic!("of the application"));
        let response = Problem::InFlight.to_response(&config);
        let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            (response.status().as_u16(), &document["status"]),
            (409, &409.into())
        );
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
