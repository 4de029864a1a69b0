//! What operators see of a request (rule V1).

use std::time::Duration;

use tracing::{Span, field};

use crate::call::Call;
use crate::response::Response;

/// How a request was answered: the value of `outcome` on its span.
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

/// A response with what is to be said of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) outcome: Outcome,
    /// The age of the original, for a replay.
    pub(crate) age: Option<Duration>,
}

impl Answer {
    pub(crate) fn new(response: Response, outcome: Outcome) -> Self {
        Self {
            response,
            outcome,
            age: None,
        }
    }

    /// Completes the span with one line that says it all.
    pub(crate) fn observed(self, span: &Span) -> Response {
        span.record("outcome", self.outcome.name());
        if let Some(age) = self.age {
            span.record("age_ms", u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        }
        span.in_scope(|| tracing::info!(status = self.response.status().as_u16(), "answered"));
        self.response
    }
}

/// The span of one protected request.
pub(crate) fn span(call: &Call) -> Span {
    tracing::info_span!(
        "idempotent",
        scope = call.scope.as_deref(),
        operation = call.operation.as_str(),
        key = call.key.as_ref().map(|key| key.as_str()),
        outcome = field::Empty,
        attempt = field::Empty,
        age_ms = field::Empty,
    )
}
