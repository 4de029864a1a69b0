//! What differs between web frameworks.

use proc_macro2::TokenStream;
use syn::{Ident, LitStr, Type};

use crate::errors::Errors;
use crate::expand::Private;
use crate::model::{Body, Extractor, Handler};

mod actix;
mod axum;

pub(crate) use actix::Actix;
pub(crate) use axum::Axum;

/// One web framework and the adapter for it.
pub(crate) trait Framework {
    /// The adapter's crate.
    const ROOT: &'static str;

    /// What a generic parameter of a handler has to be, as the attempt runs on a task of its own.
    fn owned() -> TokenStream;

    /// Finds the extractor that reads the body; `named` is the one that `body = "…"` asks for.
    fn body(extractors: &[Extractor], named: Option<(&LitStr, usize)>, errors: &mut Errors)
    -> Body;

    /// The arguments of the function that the framework calls.
    fn inputs(frame: &Frame) -> TokenStream;

    /// The first statements of that function. They bind `__idem_request`, and `__idem_raw`, the body's bytes.
    fn prologue(frame: &Frame, handler: &Handler) -> TokenStream;

    /// A reference to the body, or to what stands for one.
    fn body_value(handler: &Handler) -> TokenStream;

    /// The variable that holds the value of an extractor.
    fn extracted(handler: &Handler, extractor: usize) -> Ident;

    /// What a response is made with, beside what the handler returns.
    fn response_context() -> TokenStream {
        TokenStream::new()
    }
}

/// What every expansion refers to.
pub(crate) struct Frame {
    /// The adapter's hidden module.
    pub(crate) private: Private,
    /// The type of what is read from the request before any extractor runs.
    pub(crate) request: TokenStream,
    /// The types of the extractors, without lifetimes.
    pub(crate) extractors: Vec<Type>,
}
