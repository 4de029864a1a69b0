//! What differs between web frameworks.

use proc_macro2::TokenStream;
use syn::{Ident, LitStr, Type};

use crate::errors::Errors;
use crate::expand::Private;
use crate::model::{Extractor, Handler};

mod axum;

pub(crate) use axum::Axum;

/// One web framework and the adapter for it.
pub(crate) trait Framework {
    /// The adapter's crate.
    const ROOT: &'static str;

    /// Finds the extractor that reads the body; `named` is the one that `body = "…"` asks for.
    fn body(
        extractors: &[Extractor],
        named: Option<(&LitStr, usize)>,
        errors: &mut Errors,
    ) -> Option<usize>;

    /// The arguments of the function that the framework calls.
    fn inputs(frame: &Frame) -> TokenStream;

    /// The first statements of that function. They bind `__idem_request`; `__idem_value`, which is the body or what
    /// stands for one; and `__idem_raw`, its bytes.
    fn prologue(frame: &Frame) -> TokenStream;

    /// The variable that holds the value of an extractor.
    fn extracted(handler: &Handler, extractor: usize) -> Ident;
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
