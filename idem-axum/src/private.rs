//! The names in the attribute's generated code. Exempt from semantic versioning.
#![allow(missing_docs)]

pub use axum::response::Response;
pub use idem_core::adapter::expansion::*;

pub use crate::body::probe::{
    ContentOfHead, ContentOfOther, OfBody, OfHead, OfOtherState, OtherExtractor, Probe, assert_held,
};
pub use crate::body::{Body, Nothing};
// Shown by the compiler where a handler is called as a function.
pub use crate::request::Preflight as CalledByTheFramework;
use crate::response::HandlerResponse;
pub use crate::serve::{attempting, serve};

pub fn into_response<R: HandlerResponse>(response: R) -> Response {
    response.into_handler_response()
}

pub fn classify(
    policy: &Policy,
    response: &Response,
    returned: Returned,
) -> Result<Settle, Misuse> {
    let settle = response.extensions().get::<Settle>().copied();
    policy.classify(response.status(), settle, returned)
}
