//! Why there is no value.

use std::time::Duration;

use crate::key::KeyError;
use crate::problem::Problem;

/// How the closure of [`Engine::once`](crate::Engine::once) has failed. Its writes are undone in both cases.
///
/// `?` makes an `Again` of an `E`, where the type of the result is known: in a function that the closure calls, or in a
/// closure with a return type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<E, F = ()> {
    /// The closure may run again with this key. The error is not recorded.
    Again(E),
    /// No repetition changes it. It is recorded, and is the answer each time.
    Final(F),
}

impl<E, F> From<E> for Failure<E, F> {
    fn from(error: E) -> Self {
        Self::Again(error)
    }
}

/// Why [`Engine::once`](crate::Engine::once) has no value.
///
/// A consumer of messages asks [`is_retryable`](Self::is_retryable): yes is a redelivery, after
/// [`retry_after`](Self::retry_after); no is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E, F = ()> {
    /// The closure failed, and its writes were undone. The key may run again.
    #[error("the attempt failed, and may run again")]
    Again(#[source] E),
    /// The closure failed for good, now or in an earlier attempt.
    #[error("the attempt failed for good")]
    Final(F),
    /// Another attempt with the key has not ended within the policy's wait. The closure did not run.
    #[error("another attempt with the key has not ended")]
    InFlight {
        /// When to ask again.
        retry_after: Duration,
    },
    /// More requests with the key, or of its scope, than the engine's rates let in. The closure did not run.
    #[error("too many requests have the key or its owner")]
    TooManyRetries {
        /// When the next one is let in.
        retry_after: Duration,
    },
    /// The key was used with another payload. The closure did not run.
    #[error("the key was used with another payload")]
    KeyReused,
    /// No database, no connection, no room for another attempt, or a drain. The closure did not run.
    #[error("the database is not available, or the engine is full or draining")]
    Unavailable,
    /// The answer to the COMMIT was lost. The next call with the key knows.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
    /// The attempt was undone (with steps: the unfinished step), and may run again: a panic, the deadline, a
    /// swallowed SQL error, a commit that the database refused.
    #[error("the attempt was interrupted ({}), and may run again", .0.name())]
    Interrupted(Problem),
    /// The key never runs, or never again, or not as the service is set up: see the [`Problem`].
    #[error("refused: {}", .0.name())]
    Refused(Problem),
    /// The text is not a key, or breaks a rule of the engine's. The closure did not run.
    #[error("not an idempotency key")]
    KeyMalformed(#[source] KeyError),
}

impl<E, F> Error<E, F> {
    /// Whether the same call with the same key may have another answer.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Again(_) => true,
            Self::Final(_) => false,
            _ => self.problem().is_some_and(Problem::retryable),
        }
    }

    /// How long to wait at least before the same call, where the library knows.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.problem()?.retry_after()?;
        Some(Duration::from_secs(seconds))
    }

    /// The library's reason; `None` for the closure's own failures.
    pub fn problem(&self) -> Option<Problem> {
        Some(match self {
            Self::Again(_) | Self::Final(_) => return None,
            Self::InFlight { .. } => Problem::InFlight,
            Self::TooManyRetries { retry_after } => Problem::TooManyRetries {
                retry_after: retry_after.as_secs(),
            },
            Self::KeyReused => Problem::KeyReused,
            Self::Unavailable => Problem::Unavailable,
            Self::OutcomeUnknown => Problem::OutcomeUnknown,
            Self::Interrupted(problem) | Self::Refused(problem) => *problem,
            Self::KeyMalformed(error) => Problem::KeyMalformed(*error),
        })
    }
}

impl<E, F> From<Problem> for Error<E, F> {
    fn from(problem: Problem) -> Self {
        let retry_after = Duration::from_secs(problem.retry_after().unwrap_or_default());
        match problem {
            Problem::InFlight => Self::InFlight { retry_after },
            Problem::TooManyRetries { .. } => Self::TooManyRetries { retry_after },
            Problem::KeyReused => Self::KeyReused,
            Problem::Unavailable => Self::Unavailable,
            Problem::OutcomeUnknown => Self::OutcomeUnknown,
            Problem::TryAgain | Problem::HandlerPanicked | Problem::TransactionAborted => {
                Self::Interrupted(problem)
            }
            Problem::KeyMalformed(error) => Self::KeyMalformed(error),
            Problem::KeyMissing
            | Problem::TransactionEnded
            | Problem::StepUncertain
            | Problem::ResponseTooLarge
            | Problem::RecordUnreadable
            | Problem::Misconfigured => Self::Refused(problem),
        }
    }
}
