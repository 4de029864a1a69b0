//! What the attribute's generated code uses. Nothing here is stable.
#![allow(missing_docs)]

pub use std::time::Duration;

pub use axum::response::Response;
pub use idem_core::adapter::{
    Behind, IsAttempt, Named, Of, Whose, assert_store, attempt, connection, content_none,
    content_of, content_raw, not_opened, ran,
};
use idem_core::canonical::EncodeError;
pub use idem_core::{
    Attempt, Content, Engine, Isolation, KeyRule, Lent, Open, Policy, Provider, Replay, Scope,
    Store, Transaction,
};

pub use crate::body::{Body, Nothing, RequestBody};
pub use crate::request::Preflight;
use crate::response::HandlerResponse;
pub use crate::serve::serve;

pub fn content<T: RequestBody>(body: &T) -> Result<Content, EncodeError> {
    body.content()
}

pub fn into_response<R: HandlerResponse>(response: R) -> Response {
    response.into_handler_response()
}
