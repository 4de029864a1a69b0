//! The span and the line of a request in the log (rule V1), and its metrics (rule V2).

use std::time::Duration;

use tracing::{Span, field};

use crate::config::Config;
use crate::identity::Identity;
use crate::key::{IdempotencyKey, KeyPlace};
use crate::meter;
use crate::operation::Operation;
use crate::problem::Problem;
use crate::record::{Record, State, Timestamp};
use crate::response::{self, MarkerNames, Response};

/// The kind of a request's answer: the value of `idem.outcome` on its span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Executed,
    Replayed,
    Waited,
    InFlight,
    Pending,
    Throttled,
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
            Self::Pending => "pending",
            Self::Throttled => "throttled",
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
            Problem::TooManyRetries { .. } => Self::Throttled,
            Problem::KeyReused => Self::Mismatch,
            Problem::Unavailable => Self::Unavailable,
            Problem::TransactionEnded => Self::FailedFinal,
            Problem::TryAgain
            | Problem::OutcomeUnknown
            | Problem::HandlerPanicked
            | Problem::TransactionAborted
            | Problem::StepUncertain
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
    /// The library's own reason, if the answer is a problem document.
    problem: Option<Problem>,
    /// The age of the recorded response, for a replay.
    age: Option<Duration>,
}

impl Answer {
    /// The attempt's own response, or the problem document in its place.
    pub(crate) fn own(response: Response, state: State, problem: Option<Problem>) -> Self {
        Self {
            response,
            outcome: state.into(),
            problem,
            age: None,
        }
    }

    /// A refusal or failure of the library.
    pub(crate) fn problem(problem: Problem, config: &Config) -> Self {
        Self {
            response: problem.to_response(config),
            outcome: problem.into(),
            problem: Some(problem),
            age: None,
        }
    }

    /// A refusal at an endpoint that has its keys in `place`.
    pub(crate) fn refusal(problem: Problem, place: KeyPlace, config: &Config) -> Self {
        Self {
            response: problem.to_response_about(place, config),
            outcome: problem.into(),
            problem: Some(problem),
            age: None,
        }
    }

    /// The replay of a record that was read at `now`, unless its response is sealed.
    pub(crate) fn replay(
        record: &Record,
        now: Timestamp,
        waited: bool,
        markers: &MarkerNames,
    ) -> Option<Self> {
        Some(Self {
            response: response::replay(record, now, markers)?,
            outcome: if waited {
                Outcome::Waited
            } else {
                Outcome::Replayed
            },
            problem: None,
            age: Some(record.settled_at.until(now)),
        })
    }

    /// The first request has not ended, and the client asks again.
    pub(crate) fn pending(response: Response) -> Self {
        Self {
            response,
            outcome: Outcome::Pending,
            problem: None,
            age: None,
        }
    }

    pub(crate) fn is(&self, problem: Problem) -> bool {
        self.problem == Some(problem)
    }
}

/// How a request is observed: by its span, and by its metrics.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    pub(crate) span: Span,
    pub(crate) meter: meter::Request,
}

impl Observation {
    /// Of a request that was refused before its arguments were known.
    pub(crate) fn nameless() -> Self {
        Self::begin(None)
    }

    /// Of a request whose scope is not known.
    pub(crate) fn scopeless(
        operation: Option<&Operation>,
        key: Option<&IdempotencyKey>,
        config: &Config,
    ) -> Self {
        let observation = Self::begin(operation);
        if config.logs_keys {
            observation.names(None, key);
        }
        observation
    }

    /// Of a complete request. Scope and key are personal data, so parts of the identity stand for them, unless the
    /// application says otherwise.
    pub(crate) fn complete(
        scope: Option<&str>,
        operation: &Operation,
        key: Option<&IdempotencyKey>,
        identity: Option<&Identity>,
        config: &Config,
    ) -> Self {
        let observation = Self::begin(Some(operation));
        if config.logs_keys {
            observation.names(scope, key);
        } else if let Some([of_scope, of_key]) = identity.map(Identity::beginnings) {
            let span = &observation.span;
            if scope.is_some() {
                span.record(
                    "idem.scope",
                    field::display(format_args!("{of_scope:016x}")),
                );
            }
            span.record("idem.key", field::display(format_args!("{of_key:016x}")));
        }
        observation
    }

    fn begin(operation: Option<&Operation>) -> Self {
        let span = tracing::info_span!(
            "idempotent",
            idem.operation = operation.map(Operation::as_str),
            idem.scope = field::Empty,
            idem.key = field::Empty,
            idem.attempt = field::Empty,
            idem.outcome = field::Empty,
            idem.replay.age = field::Empty,
            "error.type" = field::Empty,
        );
        let meter = meter::Request::begin(operation);
        Self { span, meter }
    }

    fn names(&self, scope: Option<&str>, key: Option<&IdempotencyKey>) {
        if let Some(scope) = scope {
            self.span.record("idem.scope", scope);
        }
        if let Some(key) = key {
            self.span.record("idem.key", key.as_str());
        }
    }

    /// Completes the span, logs one line in it, and counts.
    pub(crate) fn end(&self, answer: Answer) -> Response {
        let Answer {
            response,
            outcome,
            problem,
            age,
        } = answer;
        let span = &self.span;
        span.record("idem.outcome", outcome.name());
        // A field that is recorded as `None` would leave a space in the line.
        if let Some(age) = age {
            span.record("idem.replay.age", age.as_secs_f64());
        }
        if let Some(problem) = problem {
            span.record("error.type", problem.name());
        }
        span.in_scope(|| tracing::info!(status = response.status().as_u16(), "answered"));
        self.meter.answered(outcome.name(), problem, age);
        response
    }
}
