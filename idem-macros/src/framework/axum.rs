//! axum: the last extractor reads the body, all others the request's head.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, LitStr};

use super::{Frame, Framework};
use crate::errors::Errors;
use crate::expand::in_arc;
use crate::expand::lifetimes::inferred_type;
use crate::model::{Body, Extractor, Handler, Store};
use crate::options::Name;
use crate::place::{Place, Private};

/// Expands for `idem-axum`.
pub(crate) struct Axum;

impl Framework for Axum {
    const ROOT: &'static str = "idem_axum";
    const REFUSED: &'static [(Name, &'static str)] = &[];
    const COW_RESPONSES: bool = false;

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

    fn inputs(frame: &Frame, handler: &Handler) -> TokenStream {
        let Frame {
            private,
            request,
            extractors,
        } = frame;
        let (last, head) = match (handler.body, extractors.split_last()) {
            (Body::Extractor(_), Some((last, head))) => (quote!(#last), head),
            _ => (quote!(#private::Nothing), extractors.as_slice()),
        };
        let names = (0..head.len()).map(name);
        quote! {
            __idem_request: #request,
            #(#names: #head,)*
            __idem_body: #private::Body<#last>,
        }
    }

    fn prologue(frame: &Frame, handler: &Handler) -> TokenStream {
        let Frame { private, .. } = frame;
        let checks = checks(handler, private);
        quote! {
            let #private::Body { value: __idem_value, raw: __idem_raw } = __idem_body;
            #checks
        }
    }

    fn body_value(_: &Handler) -> TokenStream {
        quote!(&__idem_value)
    }

    fn content(handler: &Handler, private: &Private) -> TokenStream {
        let Some(last) = handler.extractors.last() else {
            return quote!(#private::content_raw());
        };
        let (place, probe) = probe(handler, last, private);
        let content = quote_spanned!(place=> .content(&__idem_value));
        quote!({
            #[allow(unused_imports)]
            use #private::{ContentOfHead as _, ContentOfOther as _};
            #probe #content
        })
    }

    fn extracted(handler: &Handler, extractor: usize) -> Ident {
        if handler.body == Body::Extractor(extractor) {
            format_ident!("__idem_value")
        } else {
            name(extractor)
        }
    }
}

/// Asks every argument whether it can stand where it stands, and the state whether it holds the engine.
fn checks(handler: &Handler, private: &Private) -> Option<TokenStream> {
    let is_in_state = !matches!(handler.store, Some(Store::Extractor(_)));
    let state = handler.state.as_ref().filter(|_| is_in_state).map(|state| {
        let place = Place::of(state);
        let state = in_arc(state).unwrap_or(state);
        let start = private.at(place.first);
        let provider = crate::expand::provider(handler, private);
        quote_spanned!(place.last=> #start::assert_held::<#state, <#provider as #start::Source>::Provider>();)
    });
    let checks = (0..).zip(&handler.extractors).map(|(index, extractor)| {
        let (place, probe) = probe(handler, extractor, private);
        let is_body = handler.body == Body::Extractor(index);
        let extracts = match (&handler.state, is_body) {
            (None, _) => None,
            (Some(_), false) => Some(quote_spanned!(place=> .extracts_from())),
            (Some(_), true) => Some(quote_spanned!(place=> .extracts_last_from())),
        };
        let stands = match handler.body {
            _ if is_body => None,
            Body::None => Some(quote_spanned!(place=> .reads_nothing())),
            _ => Some(quote_spanned!(place=> .comes_earlier())),
        };
        quote_spanned!(place=> #probe.extracts() #extracts #stands;)
    });
    (!handler.extractors.is_empty() || state.is_some()).then(|| {
        quote!({
            #[allow(unused_imports)]
            use #private::{OfBody as _, OfHead as _, OfOtherState as _, OtherExtractor as _};
            #state
            #(#checks)*
        })
    })
}

/// The type of an argument, which can be asked. The compiler reports at the argument's type.
fn probe(handler: &Handler, extractor: &Extractor, private: &Private) -> (Span, TokenStream) {
    let ty = inferred_type(&extractor.ty, &handler.function.sig.generics);
    let place = Place::of(&ty).first;
    let private = private.at(place);
    let state = handler.state.as_ref();
    let state = state.map_or_else(|| quote!(()), ToTokens::to_token_stream);
    let probe = quote_spanned!(place=> #private::Probe::<#ty, #state>::NEW);
    (place, probe)
}

fn name(extractor: usize) -> Ident {
    format_ident!("__idem_arg{extractor}")
}
