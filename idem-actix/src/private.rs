//! What the attribute's generated code uses. Nothing here is stable.
#![allow(missing_docs)]

pub use std::time::Duration;

use actix_web::HttpRequest;
pub use actix_web::HttpResponse as Response;
pub use idem_core::adapter::{
    Behind, IsAttempt, Named, Of, Whose, assert_store, attempt, connection, content_none,
    content_of, content_raw, not_opened, ran,
};
use idem_core::canonical::EncodeError;
pub use idem_core::{
    Attempt, Content, Engine, Isolation, KeyRule, Lent, Open, Policy, Provider, Replay, Scope,
    Store, Transaction,
};

pub use crate::body::probe::{NotBody, NotPart, Nothing, Probe, Role, check, choose, roles};
pub use crate::body::{RequestBody, RequestPart};
pub use crate::request::{Extracted, Preflight};
use crate::response::HandlerResponse;
pub use crate::serve::serve;

pub fn content<T: RequestBody>(body: &T) -> Result<Content, EncodeError> {
    body.content()
}

pub fn into_response<R: HandlerResponse>(response: R, request: &HttpRequest) -> Response {
    response.into_handler_response(request)
}
