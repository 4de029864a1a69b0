//! What the attribute's generated code uses. Nothing here is stable.
#![allow(missing_docs)]

pub use std::time::Duration;

pub use axum::response::Response;
use idem_core::canonical::EncodeError;
use idem_core::store::{BoxError, Claim};
pub use idem_core::{
    Attempt, Content, Engine, KeyRule, Open, Policy, Provider, Replay, Scope, Store, Transaction,
};
use serde::Serialize;

pub use crate::body::{Body, Nothing, RequestBody};
pub use crate::request::Preflight;
use crate::response::{Handled, HandlerResponse};
pub use crate::serve::serve;

pub const fn assert_transaction<T: Transaction + ?Sized>() {}

pub const fn assert_transaction_of<T, P>()
where
    T: Transaction + ?Sized,
    P: Provider,
    P::Store: Store<Connection = T::Connection>,
{
}

#[diagnostic::on_unimplemented(
    message = "`&{Self}` is no argument of a handler",
    label = "expected `&Attempt`",
    note = "an argument taken by `&mut` is the transaction, one taken by `&` is the attempt, all others are extractors"
)]
pub trait IsAttempt {}

impl IsAttempt for Attempt {}

pub const fn assert_attempt<T: IsAttempt + ?Sized>() {}

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

pub fn not_opened<C>(error: BoxError) -> Handled<C> {
    Err(error)
}

pub fn into_response<R: HandlerResponse>(response: R) -> Response {
    response.into_handler_response()
}

pub async fn ran<C>(claim: C, closed: Result<(), BoxError>, response: Response) -> Handled<C> {
    closed?;
    Ok((claim, response))
}
