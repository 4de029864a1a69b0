//! The differences between web frameworks, and between these and consumers of messages, for `check` and `expand`.

use proc_macro2::TokenStream;
use syn::{Ident, LitStr, Type};

use crate::errors::Errors;
use crate::model::{Body, Extractor, Handler};
use crate::options::Name;
use crate::parse::Given;
use crate::place::Private;
use crate::value::Duration;

mod actix;
mod axum;
mod consume;

pub(crate) use actix::Actix;
pub(crate) use axum::Axum;
pub(crate) use consume::Consume;

/// One web framework, or consumers of messages, and the adapter for it.
pub(crate) trait Framework {
    /// The name of the adapter's crate.
    const ROOT: &'static str;

    /// The options that it has no use for, and the reasons.
    const REFUSED: &'static [(Name, &'static str)];

    /// Whether a client waits for a response.
    const IS_HTTP: bool = true;

    /// Whether a response can be a borrowed `Cow`.
    const COW_RESPONSES: bool;

    /// The error of a function that has nothing for its `fingerprint`.
    const NO_BODY: &'static str = "has no body to read; take one, such as `order: Json<Order>`";

    /// How long a duplicate waits, where the library's default is not right.
    fn wait() -> Option<Duration> {
        None
    }

    /// The rules of its own about the options.
    fn check(_: &Given, _: &mut Errors) {}

    /// The bounds on a handler's generic parameters, as the attempt can move to a task of its own.
    fn owned() -> TokenStream;

    /// Finds the extractor that reads the body. `named` is the one that `body = "…"` names.
    fn body(extractors: &[Extractor], named: Option<(&LitStr, usize)>, errors: &mut Errors)
    -> Body;

    /// The arguments of the function that the framework calls.
    fn inputs(frame: &Frame, handler: &Handler) -> TokenStream;

    /// The first statements of that function. After them `__idem_request` is bound, and `__idem_raw` to the body's
    /// bytes.
    fn prologue(frame: &Frame, handler: &Handler) -> TokenStream;

    /// A reference to the body, or to `Nothing`.
    fn body_value(handler: &Handler) -> TokenStream;

    /// The content of the deserialized body.
    fn content(handler: &Handler, private: &Private) -> TokenStream;

    /// The bound content, checked against what the arguments have read.
    fn bound(_: &Private, _: &Handler, content: TokenStream) -> TokenStream {
        content
    }

    /// The variable that holds the value of an extractor.
    fn extracted(handler: &Handler, extractor: usize) -> Ident;

    /// The variable to which `into_response` and `classify` take a further reference.
    fn context() -> Option<Ident> {
        None
    }
}

/// What every expansion refers to.
pub(crate) struct Frame {
    /// The adapter's hidden module.
    pub(crate) private: Private,
    /// The type of the first argument, which checks the request before any extractor runs.
    pub(crate) request: TokenStream,
    /// The types of the extractors, without lifetimes.
    pub(crate) extractors: Vec<Type>,
}
