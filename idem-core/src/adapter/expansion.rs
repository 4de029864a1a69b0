//! The names in the attribute's generated code that no framework changes.

pub use std::time::Duration;

use serde::Serialize;

pub use super::engine_source::{Named, Of, Source, assert_store};
pub use super::outcome::HandlerOutcome;
pub use super::return_probe::{AnyReturned, ReturnProbe};
pub use super::scope_probe::{ScopeByDeref, ScopeProbe};
pub use crate::attempt::Attempt;
use crate::canonical::EncodeError;
pub use crate::engine::Engine;
pub use crate::fingerprint::Content;
pub use crate::policy::{Isolation, KeyRule, Misuse, Policy, Replay, Returned};
pub use crate::provider::Provider;
pub use crate::record::State;
pub use crate::scope::Scope;
use crate::store::Claim;
pub use crate::store::Store;
pub use crate::transaction::{Open, Transaction};

#[diagnostic::on_unimplemented(
    message = "`&{Self}` is not an argument of a handler",
    label = "expected `&Attempt`",
    note = "an argument taken by `&mut` is the transaction, one taken by `&` is the attempt, all others are extractors"
)]
pub trait IsAttempt {
    fn borrow(attempt: &Attempt) -> &Self;
}

impl IsAttempt for Attempt {
    fn borrow(attempt: &Attempt) -> &Self {
        attempt
    }
}

pub fn attempt<T: IsAttempt + ?Sized>(attempt: &Attempt) -> &T {
    T::borrow(attempt)
}

pub fn connection<C: Claim>(claim: &mut C) -> &mut C::Connection {
    claim.connection()
}

/// Whether the handler's writes are kept.
pub fn keeps(state: Result<State, Misuse>) -> bool {
    matches!(state, Ok(State::Succeeded))
}

pub fn content_of<T: Serialize + ?Sized>(intent: &T) -> Result<Content, EncodeError> {
    Content::of(intent)
}

pub fn content_raw() -> Result<Content, EncodeError> {
    Ok(Content::Raw)
}

pub fn content_none() -> Result<Content, EncodeError> {
    Ok(Content::None)
}
