//! What the attribute's generated code uses. Nothing here is stable.
#![allow(missing_docs)]

pub use std::time::Duration;

pub use axum::response::Response;
use idem_core::canonical::EncodeError;
use idem_core::store::{BoxError, Claim};
pub use idem_core::{
    Attempt, Content, Engine, Isolation, KeyRule, Lent, Open, Policy, Provider, Replay, Scope,
    Store, Transaction,
};
use serde::Serialize;

pub use crate::body::{Body, Nothing, RequestBody};
pub use crate::request::{Named, Of, Preflight};
use crate::response::{Handled, HandlerResponse};
pub use crate::serve::serve;

pub const fn assert_store<P, T>()
where
    P: Provider,
    P::Store: Store<Connection = T::Connection>,
    T: Transaction + ?Sized,
{
}

#[diagnostic::on_unimplemented(
    message = "`&{Self}` is no argument of a handler",
    label = "expected `&Attempt`",
    note = "an argument taken by `&mut` is the transaction, one taken by `&` is the attempt, all others are extractors"
)]
pub trait IsAttempt {
    fn lend(attempt: &Attempt) -> &Self;
}

impl IsAttempt for Attempt {
    fn lend(attempt: &Attempt) -> &Self {
        attempt
    }
}

pub fn attempt<T: IsAttempt + ?Sized>(attempt: &Attempt) -> &T {
    T::lend(attempt)
}

pub fn scope_of<T: Scope + ?Sized>(scope: &T) -> String {
    scope.scope().into_owned()
}

pub fn content<T: RequestBody>(body: &T) -> Result<Content, EncodeError> {
    body.content()
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

pub fn connection<C: Claim>(claim: &mut C) -> &mut C::Connection {
    claim.connection()
}

pub fn not_opened(error: BoxError) -> Handled {
    Err(error)
}

pub fn into_response<R: HandlerResponse>(response: R) -> Response {
    response.into_handler_response()
}

#[allow(clippy::unused_async)]
pub async fn ran<C>(_: Lent<C>, closed: Result<(), BoxError>, response: Response) -> Handled {
    Ok((closed, response))
}
