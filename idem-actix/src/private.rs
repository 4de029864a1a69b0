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

/// The content, unless an argument has read the body that is not bound to the key: a retry with
/// another body would be answered by the first one's response. Each argument comes as its reader, as
/// in [`Argument`], and whether it is bound.
///
/// # Errors
///
/// If there is such an argument.
pub fn bound<const COUNT: usize>(
    content: Result<Content, EncodeError>,
    arguments: [(Option<&'static str>, bool); COUNT],
) -> Result<Content, EncodeError> {
    let mut unbound = arguments.iter().filter(|(_, is_bound)| !is_bound);
    let Some(argument) = unbound.find_map(|(reader, _)| *reader) else {
        return content;
    };
    Err(EncodeError::Custom(format!(
        "`{argument}` has read it, and is not bound to the key; name the argument by \
         `body = \"…\"` and implement `RequestBody` for it, or bind the bytes by \
         `fingerprint = \"raw\"`; of several arguments that read the body keep one"
    )))
}

pub fn into_response<R: HandlerResponse>(response: R, request: &HttpRequest) -> Response {
    response.into_handler_response(request)
}

pub fn keeps(policy: &Policy, response: &Response) -> bool {
    !is_misplaced(response) && policy.keeps(status(response), settle(response))
}
