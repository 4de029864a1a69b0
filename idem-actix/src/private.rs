//! The names in the attribute's generated code. Exempt from semantic versioning.
#![allow(missing_docs)]

use actix_web::HttpRequest;
pub use actix_web::HttpResponse as Response;
use idem_core::EncodeError;
pub use idem_core::adapter::expansion::*;

pub use crate::body::probe::{NotBody, NotPart, Nothing, Probe, Role, check, choose, roles};
pub use crate::body::{RequestBody, RequestPart};
pub use crate::request::{Argument, Extracted, Preflight};
use crate::response::{HandlerResponse, is_misplaced, settle, status};
pub use crate::serve::serve;

pub fn content<T: RequestBody>(body: &T) -> Result<Content, EncodeError> {
    body.content()
}

pub fn into_response<R: HandlerResponse>(response: R, request: &HttpRequest) -> Response {
    response.into_handler_response(request)
}

pub fn keeps(policy: &Policy, response: &Response) -> bool {
    !is_misplaced(response) && policy.keeps(status(response), settle(response))
}
