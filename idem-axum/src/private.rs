//! The names in the attribute's generated code. Exempt from semantic versioning.
#![allow(missing_docs)]

pub use axum::response::Response;
pub use idem_core::adapter::expansion::*;
use idem_core::{EncodeError, Settle};

pub use crate::body::{Body, Nothing, RequestBody};
// Shown by the compiler where a handler is called as a function.
pub use crate::request::Preflight as CalledByTheFramework;
use crate::response::HandlerResponse;
pub use crate::serve::serve;

pub fn content<T: RequestBody>(body: &T) -> Result<Content, EncodeError> {
    body.content()
}

pub fn into_response<R: HandlerResponse>(response: R) -> Response {
    response.into_handler_response()
}

pub fn keeps(policy: &Policy, response: &Response) -> bool {
    let settle = response.extensions().get::<Settle>().copied();
    policy.keeps(response.status(), settle)
}
