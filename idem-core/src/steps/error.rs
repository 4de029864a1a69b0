//! Why a step has no result.

use thiserror::Error;

use crate::problem::Problem;
use crate::store::{BoxError, SettleError, StoreError};

/// Why a step has no result. It is not an error of the step's closure.
///
/// The request is answered with [`problem`](Self::problem), whatever the handler makes of the error; so an
/// application only has to pass it on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StepError {
    /// The lease was over, and another attempt has taken over the key. Nothing was written (rule T5).
    #[error("another attempt has taken over the key")]
    Lost,
    /// The database failed. Nothing was written.
    #[error("the database did not take the step")]
    Store(#[from] StoreError),
    /// The step's statements failed, or the database refused to commit. Nothing was written.
    #[error("the step was not committed")]
    Refused(#[source] SettleError),
    /// The answer to the step's COMMIT was lost. A retry finds out.
    #[error("the step's commit is not confirmed")]
    Unconfirmed(#[source] SettleError),
    /// The closure ended its transaction itself; its writes may stand.
    #[error("the step's closure ended its transaction itself")]
    Ended,
    /// The call may have happened, and nobody can tell (rule T4).
    #[error("the step `{0}` may have happened, and there is no way to know")]
    Uncertain(String),
    /// A recorded result is not of the closure's type, or a result can't be written as JSON (rule T11).
    #[error("the result of the step `{0}` can't be read or written")]
    Unreadable(String, #[source] BoxError),
    /// The step's name breaks a rule.
    #[error("the step `{name}`: {reason}")]
    Misused {
        /// The step.
        name: String,
        /// The rule.
        reason: &'static str,
    },
    /// An earlier step of this attempt has failed.
    #[error("an earlier step of this attempt has failed")]
    Broken,
}

impl StepError {
    /// The problem that the request is answered with.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Lost => Problem::InFlight,
            Self::Store(StoreError::Unavailable(_) | StoreError::Incomplete { .. }) => {
                Problem::Unavailable
            }
            Self::Refused(SettleError::Aborted(_)) => Problem::TransactionAborted,
            Self::Store(StoreError::Conflict(_)) | Self::Refused(_) | Self::Broken => {
                Problem::TryAgain
            }
            Self::Store(StoreError::Unreadable(_)) | Self::Unreadable(..) => {
                Problem::RecordUnreadable
            }
            Self::Unconfirmed(_) => Problem::OutcomeUnknown,
            Self::Ended => Problem::TransactionEnded,
            Self::Uncertain(_) => Problem::StepUncertain,
            Self::Store(StoreError::Misconfigured(_)) | Self::Misused { .. } => {
                Problem::Misconfigured
            }
        }
    }
}

impl From<SettleError> for StepError {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Ended => Self::Ended,
            SettleError::Unknown(_) => Self::Unconfirmed(error),
            error => Self::Refused(error),
        }
    }
}

/// The status of the problem. The engine sends the problem document in its place.
#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for StepError {
    fn into_response(self) -> axum_core::response::Response {
        (self.problem().status(), self.to_string()).into_response()
    }
}

/// The status of the problem. The engine sends the problem document in its place.
#[cfg(feature = "actix-web")]
impl actix_web::ResponseError for StepError {
    fn status_code(&self) -> actix_web::http::StatusCode {
        let status = self.problem().status().as_u16();
        actix_web::http::StatusCode::from_u16(status).unwrap_or_default()
    }
}
