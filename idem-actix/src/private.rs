//! The names in the attribute's generated code. Exempt from semantic versioning.
#![allow(missing_docs)]

pub use actix_web::HttpResponse as Response;
use actix_web::{HttpMessage as _, HttpRequest};
use idem_core::EncodeError;
pub use idem_core::adapter::expansion::*;

pub use crate::body::probe::{
    Answers, Nothing, Other, OtherExtractor, Probe, Role, check, choose, roles,
};
pub use crate::body::{RequestBody, RequestPart};
// Shown by the compiler where a handler is called as a function.
pub use crate::request::{Argument, Extracted, Preflight as CalledByTheFramework};
use crate::response::{HandlerResponse, status};
pub use crate::serve::{attempting, serve};

pub fn content<T: RequestBody>(body: &T) -> Result<Content, EncodeError> {
    body.content()
}

/// The content, unless an argument has read the body without being bound to the key: a retry with
/// another body would be answered by the first one's response. For each argument there is its reader,
/// as in [`Argument`], and whether it is the bound one.
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

pub fn classify(
    policy: &Policy,
    response: &Response,
    returned: Returned,
    request: &HttpRequest,
) -> Result<Settle, Misuse> {
    if request.extensions().contains::<Settle>() {
        return Err(Misuse::SettleInRequest);
    }
    let settle = response.extensions().get::<Settle>().copied();
    policy.classify(status(response), settle, returned)
}
