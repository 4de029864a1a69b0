//! Why a command failed, and with which exit code.

use std::error::Error;

use idem_core::StoreError;

/// The reason for an exit code. The numbers are in the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    NotFound = 1,
    Usage = 2,
    Unavailable = 3,
    Busy = 4,
    Problem = 5,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Usage => "usage",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::Problem => "problem",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(crate) fn usage(message: &str) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn unavailable(error: &(dyn Error + 'static)) -> Self {
        Self::new(Kind::Unavailable, chain(error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Conflict(_) | StoreError::Incomplete { .. } => Kind::Busy,
            StoreError::Misconfigured(_) | StoreError::Unreadable(_) => Kind::Problem,
            _ => Kind::Unavailable,
        };
        Self::new(kind, chain(&error))
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // Some errors have the text of their cause in their own.
    texts.dedup_by(|cause, error| error.contains(cause.as_str()));
    texts.join(": ")
}
