//! The failure of a consumer.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;

use idem_core::once;

use crate::verdict::Failed;

/// Why a consumer has failed. Its writes are undone in both cases.
///
/// `?` makes a failure of any error, and the message is then delivered again:
///
/// ```
/// # use idem_consume::Failure;
/// fn cents(text: &str) -> Result<i64, Failure> {
///     let cents = text.parse()?; // delivered again
///     if cents < 0 {
///         return Err(Failure::dead("an amount below zero")); // never again
///     }
///     Ok(cents)
/// }
/// ```
#[derive(Debug)]
pub struct Failure(once::Failure<Failed, String>);

impl Failure {
    /// The message is to be delivered again.
    pub fn again(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(once::Failure::Again(Failed(Arc::from(error.into()))))
    }

    /// No redelivery changes it. The reason is recorded, and every duplicate of the message is dead, too.
    pub fn dead(reason: impl Display) -> Self {
        Self(once::Failure::Final(reason.to_string()))
    }

    pub(crate) fn into_inner(self) -> once::Failure<Failed, String> {
        self.0
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::again(error)
    }
}
