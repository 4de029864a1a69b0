//! axum: the last extractor reads the body, all others the request's head.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, LitStr};

use super::{Frame, Framework};
use crate::errors::Errors;
use crate::model::{Body, Extractor, Handler};

/// Expands for `idem-axum`.
pub(crate) struct Axum;

impl Framework for Axum {
    const ROOT: &'static str = "idem_axum";

    fn owned() -> TokenStream {
        quote!(::core::marker::Send + 'static)
    }

    fn body(
        extractors: &[Extractor],
        named: Option<(&LitStr, usize)>,
        errors: &mut Errors,
    ) -> Body {
        let last = extractors.len().checked_sub(1);
        if let Some((literal, index)) = named
            && Some(index) != last
        {
            let name = literal.value();
            errors.at(
                literal.span(),
                format!("`{name}` is not the last argument; axum reads the body with the last one"),
            );
        }
        last.map_or(Body::None, Body::Extractor)
    }

    fn inputs(frame: &Frame) -> TokenStream {
        let Frame {
            private,
            request,
            extractors,
        } = frame;
        let (last, parts) = match extractors.split_last() {
            Some((last, parts)) => (quote!(#last), parts),
            None => (quote!(#private::Nothing), [].as_slice()),
        };
        let names = (0..parts.len()).map(name);
        quote! {
            __idem_request: #request,
            #(#names: #parts,)*
            __idem_body: #private::Body<#last>,
        }
    }

    fn prologue(frame: &Frame, _: &Handler) -> TokenStream {
        let Frame { private, .. } = frame;
        quote!(let #private::Body { value: __idem_value, raw: __idem_raw } = __idem_body;)
    }

    fn body_value(_: &Handler) -> TokenStream {
        quote!(&__idem_value)
    }

    fn extracted(handler: &Handler, extractor: usize) -> Ident {
        if handler.body == Body::Extractor(extractor) {
            format_ident!("__idem_value")
        } else {
            name(extractor)
        }
    }
}

fn name(extractor: usize) -> Ident {
    format_ident!("__idem_arg{extractor}")
}
