//! The fate of a delivery.

use std::error::Error;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use idem_core::Problem;
use idem_core::once::{self, Once};

/// What to do with a delivery.
#[derive(Debug, Clone)]
#[must_use = "the delivery is to be acknowledged, delivered again, or kept as a dead letter"]
pub enum Verdict {
    /// The message has taken effect, now or before: acknowledge it.
    Done {
        /// Whether it was a duplicate, so that the consumer did not run.
        is_duplicate: bool,
    },
    /// The message is to be delivered again: another delivery of it is in flight, or the attempt was undone.
    Again {
        /// How long to wait at least, where the library knows.
        after: Option<Duration>,
        /// The reason.
        cause: Cause,
    },
    /// The message never takes effect: keep it as a dead letter.
    Dead(Cause),
}

/// Why a message has not taken effect.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// An argument can't be made of the delivery. There is no record of it.
    #[error("{0}")]
    Rejected(String),
    /// The consumer has failed, and may run again.
    #[error("the consumer failed")]
    Failed(#[source] Failed),
    /// The consumer has failed for good, now or at an earlier delivery.
    #[error("{0}")]
    Refused(String),
    /// The library's own reason.
    #[error("{}", .0.name())]
    Problem(Problem),
}

/// The error of a consumer.
#[derive(Debug, Clone)]
pub struct Failed(pub(crate) Arc<dyn Error + Send + Sync>);

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl From<Result<Once<()>, once::Error<Failed, String>>> for Verdict {
    fn from(ended: Result<Once<()>, once::Error<Failed, String>>) -> Self {
        let error = match ended {
            Ok(once) => {
                return Self::Done {
                    is_duplicate: matches!(once, Once::Replayed(())),
                };
            }
            Err(error) => error,
        };
        let after = error.retry_after();
        let problem = error.problem();
        match (error, problem) {
            (once::Error::Again(failed), _) => Self::Again {
                after,
                cause: Cause::Failed(failed),
            },
            (once::Error::Final(reason), _) => Self::Dead(Cause::Refused(reason)),
            // A mistake in the service is mended by a deployment, and must not empty the queue.
            (_, Some(problem)) if problem.retryable() || problem == Problem::Misconfigured => {
                Self::Again {
                    after,
                    cause: Cause::Problem(problem),
                }
            }
            (_, problem) => Self::Dead(Cause::Problem(problem.unwrap_or(Problem::Misconfigured))),
        }
    }
}
