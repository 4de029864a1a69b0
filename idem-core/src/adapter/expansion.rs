//! The names in the attribute's generated code that no framework changes.

pub use std::time::Duration;

use serde::Serialize;

pub use super::engine_source::{ByExtractor, InArc, Named, Of, Source};
pub use super::key_probe::{KeyByDeref, KeyByDisplay, KeyProbe};
pub use super::key_source::{InArgument, InHeader, KeyArgument, Name};
pub use super::outcome::HandlerOutcome;
pub use super::return_probe::{AnyReturned, ReturnProbe};
pub use super::scope_probe::{NoScope, ScopeByDeref, ScopeProbe};
pub use crate::attempt::Attempt;
use crate::canonical::EncodeError;
use crate::engine::ClaimGuard;
pub use crate::engine::Engine;
pub use crate::fingerprint::{BoundTarget, Content};
#[cfg(feature = "utoipa")]
pub use crate::key::KeyPlace;
#[cfg(feature = "utoipa")]
pub use crate::openapi::published;
pub use crate::policy::{Isolation, Misuse, Policy, Replay, Returned, Settle};
pub use crate::provider::Provider;
pub use crate::scope::Scope;
use crate::store::Claim;
pub use crate::store::Store;
use crate::transaction::Borrowed;
pub use crate::transaction::{Open, Transaction};

#[diagnostic::on_unimplemented(
    message = "`&{Self}` is not an argument of a handler",
    label = "expected `&Attempt`",
    note = "an argument taken by `&mut` is the transaction, one taken by `&` is the attempt, all others are extractors"
)]
#[doc(hidden)]
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

/// A type that holds the key of its handler by a lease.
#[diagnostic::on_unimplemented(
    message = "`lease` is for a handler that takes `&mut Steps<_>`",
    label = "not `Steps<_>`",
    note = "leave `lease` out, or take `&mut Steps<…>` with a connection in it, such as `&mut Steps<PgConnection>`"
)]
#[doc(hidden)]
pub trait Leased {}

pub const fn leased<T: Leased + ?Sized>() {}

/// The connection for the transaction `T`. The engine that `store = …` names can be one of another database.
pub fn connection<C, T>(claim: &mut ClaimGuard<C>) -> Borrowed<'_, T::Connection>
where
    C: Claim,
    C::Connection: IsConnection<T::Connection>,
    T: Transaction + ?Sized,
{
    IsConnection::same(Borrowed::new(claim))
}

#[diagnostic::on_unimplemented(
    message = "`store` names an engine for `{Self}`, but the transaction is a `{T}`",
    label = "a transaction of another database",
    note = "take `&mut {Self}`, or let `store` name the state that holds the engine of this database"
)]
#[doc(hidden)]
pub trait IsConnection<T>: Sized {
    fn same(borrowed: Borrowed<'_, Self>) -> Borrowed<'_, T>;
}

#[diagnostic::do_not_recommend]
impl<T> IsConnection<T> for T {
    fn same(borrowed: Borrowed<'_, T>) -> Borrowed<'_, T> {
        borrowed
    }
}

/// Whether the handler's writes are kept.
pub fn keeps(settle: Result<Settle, Misuse>) -> bool {
    settle.is_ok_and(Settle::keeps_writes)
}

pub fn content_of<T: Serialize + ?Sized>(intent: &T) -> Result<Content, EncodeError> {
    Content::of(intent)
}

/// The content, of a request of which one of the arguments may be an `Err`.
pub fn unless_rejected<const COUNT: usize>(
    content: Result<Content, EncodeError>,
    arguments: [Returned; COUNT],
) -> Result<Content, EncodeError> {
    match content {
        Ok(content) if arguments.contains(&Returned::Err) => Ok(content.rejected()),
        content => content,
    }
}

pub fn content_raw() -> Result<Content, EncodeError> {
    Ok(Content::Raw)
}

pub fn content_none() -> Result<Content, EncodeError> {
    Ok(Content::None)
}
