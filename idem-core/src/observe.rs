//! The log and the span of a request (rule V1).

use std::time::Duration;

use tracing::{Span, field};

use crate::config::Config;
use crate::key::{IdempotencyKey, KeyPlace};
use crate::operation::Operation;
use crate::problem::Problem;
use crate::record::{Record, State, Timestamp};
use crate::response::{self, Response};

/// The kind of a request's answer: the value of `outcome` on its span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Executed,
    Replayed,
    Waited,
    InFlight,
    Mismatch,
    Rejected,
    FailedFinal,
    FailedRetriable,
    Unavailable,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Replayed => "replayed",
            Self::Waited => "waited",
            Self::InFlight => "in_flight",
            Self::Mismatch => "mismatch",
            Self::Rejected => "rejected",
            Self::FailedFinal => "failed_final",
            Self::FailedRetriable => "failed_retriable",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<State> for Outcome {
    fn from(state: State) -> Self {
        match state {
            State::Succeeded => Self::Executed,
            State::FailedFinal | State::Ended => Self::FailedFinal,
            State::FailedRetriable => Self::FailedRetriable,
        }
    }
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::InFlight => Self::InFlight,
            Problem::KeyReused => Self::Mismatch,
            Problem::Unavailable => Self::Unavailable,
            Problem::TransactionEnded => Self::FailedFinal,
            Problem::TryAgain
            | Problem::OutcomeUnknown
            | Problem::HandlerPanicked
            | Problem::TransactionAborted
            | Problem::ResponseTooLarge => Self::FailedRetriable,
            Problem::KeyMissing
            | Problem::KeyMalformed(_)
            | Problem::RecordUnreadable
            | Problem::Misconfigured => Self::Rejected,
        }
    }
}

/// A response, and its origin.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    outcome: Outcome,
    /// The age of the recorded response, for a replay.
    age: Option<Duration>,
}

impl Answer {
    /// The attempt's own response.
    pub(crate) fn own(response: Response, state: State) -> Self {
        Self {
            response,
            outcome: state.into(),
            age: None,
        }
    }

    /// A refusal or failure of the library.
    pub(crate) fn problem(problem: Problem, config: &Config) -> Self {
        Self {
            response: problem.to_response(config),
            outcome: problem.into(),
            age: None,
        }
    }

    /// A refusal at an endpoint that has its keys in `place`.
    pub(crate) fn refusal(problem: Problem, place: KeyPlace, config: &Config) -> Self {
        Self {
            response: problem.to_response_about(place, config),
            outcome: problem.into(),
            age: None,
        }
    }

    /// The replay of a record that was read at `now`, unless its response is sealed.
    pub(crate) fn replay(record: &Record, now: Timestamp, waited: bool) -> Option<Self> {
        Some(Self {
            response: response::replay(record, now)?,
            outcome: if waited {
                Outcome::Waited
            } else {
                Outcome::Replayed
            },
            age: Some(record.settled_at.until(now)),
        })
    }

    /// Completes the span, and logs one line in it.
    pub(crate) fn observed(self, span: &Span) -> Response {
        span.record("outcome", self.outcome.name());
        if let Some(age) = self.age {
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            span.record("age_ms", age);
        }
        span.in_scope(|| tracing::info!(status = self.response.status().as_u16(), "answered"));
        self.response
    }
}

/// The span of a request, with all fields that are already known.
pub(crate) fn span(
    scope: Option<&str>,
    operation: Option<&Operation>,
    key: Option<&IdempotencyKey>,
) -> Span {
    tracing::info_span!(
        "idempotent",
        scope,
        operation = operation.map(Operation::as_str),
        key = key.map(IdempotencyKey::as_str),
        outcome = field::Empty,
        attempt = field::Empty,
        age_ms = field::Empty,
    )
}
