//! actix-web: all extractors implement one trait, and any of them can read the body.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, LitStr};

use super::{Frame, Framework};
use crate::errors::Errors;
use crate::expand::lifetimes::inferred_type;
use crate::model::{Body, Content, Extractor, Handler};
use crate::options::Name;
use crate::place::{Place, Private};

/// Expands for `idem-actix`.
pub(crate) struct Actix;

impl Framework for Actix {
    const ROOT: &'static str = "idem_actix";
    const REFUSED: &'static [(Name, &'static str)] = &[(
        Name::State,
        "actix-web has no state of one type; the engine is in the application's data: remove `state`",
    )];
    const COW_RESPONSES: bool = true;

    fn owned() -> TokenStream {
        quote!('static)
    }

    fn body(extractors: &[Extractor], named: Option<(&LitStr, usize)>, _: &mut Errors) -> Body {
        match named {
            Some((_, index)) => Body::Extractor(index),
            None if extractors.is_empty() => Body::None,
            None => Body::Probed,
        }
    }

    fn inputs(frame: &Frame, _: &Handler) -> TokenStream {
        let Frame {
            private,
            request,
            extractors,
        } = frame;
        let arguments = extractors.iter().map(|extractor| {
            let private = private.at(Place::of(extractor).first);
            quote!(#private::Argument<#extractor>)
        });
        quote!(__idem_extracted: #private::Extracted<#request, (#(#arguments,)*)>)
    }

    fn prologue(frame: &Frame, handler: &Handler) -> TokenStream {
        let Frame { private, .. } = frame;
        let checks = checks(handler, private);
        let arguments = (0..handler.extractors.len()).map(|index| {
            let (name, reader) = (name(index), reader(index));
            if checks_readers(handler) {
                quote!(#private::Argument(#name, #reader))
            } else {
                quote!(#private::Argument(#name, _))
            }
        });
        let probed = probed(frame, handler);
        quote! {
            let #private::Extracted {
                request: __idem_request,
                arguments: (#(#arguments,)*),
                raw: __idem_raw,
                http: __idem_http,
            } = __idem_extracted;
            #checks
            #probed
        }
    }

    fn body_value(handler: &Handler) -> TokenStream {
        match handler.body {
            Body::Extractor(index) => {
                let name = name(index);
                quote!(&#name)
            }
            Body::None | Body::Probed => quote!(__idem_value),
        }
    }

    fn content(handler: &Handler, private: &Private) -> TokenStream {
        let value = Self::body_value(handler);
        let ty = match handler.body {
            Body::Extractor(index) => {
                let generics = &handler.function.sig.generics;
                inferred_type(&handler.extractors[index].ty, generics).into_token_stream()
            }
            Body::None | Body::Probed => quote!(_),
        };
        quote!(#private::content::<#ty>(#value))
    }

    fn bound(private: &Private, handler: &Handler, content: TokenStream) -> TokenStream {
        if !checks_readers(handler) {
            return content;
        }
        let readers = readers(handler);
        quote!(#private::bound(#content, [#readers]))
    }

    fn extracted(_: &Handler, extractor: usize) -> Ident {
        name(extractor)
    }

    fn context() -> Option<Ident> {
        Some(format_ident!("__idem_http"))
    }
}

/// Asks the arguments whether they can be extracted, and beside a body that is named or none, whether they read it.
fn checks(handler: &Handler, private: &Private) -> Option<TokenStream> {
    let binds_no_argument = handler.content.binds_no_argument();
    let checks = (0..).zip(&handler.extractors).map(|(index, extractor)| {
        // The compiler reports at the argument's type.
        let ty = inferred_type(&extractor.ty, &handler.function.sig.generics);
        let place = Place::of(&ty).first;
        let private = private.at(place);
        let body = match handler.body {
            Body::None => Some(quote_spanned!(place=> .reads_nothing())),
            Body::Extractor(body) if body != index && !binds_no_argument => {
                Some(quote_spanned!(place=> .is_no_body()))
            }
            Body::Extractor(_) | Body::Probed => None,
        };
        quote_spanned!(place=> #private::Probe::<#ty>::NEW.extracts() #body;)
    });
    (!handler.extractors.is_empty()).then(|| {
        quote!({
            #[allow(unused_imports)]
            use #private::{Other as _, OtherExtractor as _};
            #(#checks)*
        })
    })
}

/// Finds the body by the types of the arguments.
///
/// The roles are a constant item because the compiler evaluates an item during `cargo check`, and a `const` block only
/// when it generates code. An item can't use generic parameters, so a generic handler has to name its body.
fn probed(frame: &Frame, handler: &Handler) -> Option<TokenStream> {
    let reads = matches!(handler.content, Content::Body | Content::Function(_));
    if handler.body != Body::Probed || !reads {
        return None;
    }
    let Frame {
        private,
        extractors,
        ..
    } = frame;
    let nothing = quote!(&#private::Nothing);
    let value = (0..extractors.len()).rev().fold(nothing, |rest, index| {
        let name = name(index);
        quote!(#private::choose::<{ __IDEM_ROLES[#index].is_body() }, _, _>(&#name, #rest))
    });
    let checks = extractors.iter().enumerate().map(|(index, extractor)| {
        // The compiler reports at the argument's type that it has no role.
        let place = Place::of(extractor).first;
        let private = private.at(place);
        let role = quote_spanned!(place=> { __IDEM_ROLES[#index] as ::core::primitive::u8 });
        quote_spanned!(place=> #private::check::<#role, #extractor>();)
    });
    let count = extractors.len();
    Some(quote! {
        const __IDEM_ROLES: [#private::Role; #count] = {
            use #private::Other as _;
            #private::roles([#(#private::Answers {
                is_body: #private::Probe::<#extractors>::IS_BODY,
                is_part: #private::Probe::<#extractors>::IS_PART,
                reads: #private::Probe::<#extractors>::READS,
            }),*])
        };
        #(#checks)*
        let __idem_value = #value;
    })
}

/// Where no argument is bound, any of them may read the body.
fn checks_readers(handler: &Handler) -> bool {
    !handler.extractors.is_empty() && !handler.content.binds_no_argument()
}

/// Says which arguments have read the body, and which one is bound to the key.
fn readers(handler: &Handler) -> TokenStream {
    let arguments = (0..handler.extractors.len()).map(|index| {
        let reader = reader(index);
        let is_bound = match (handler.body, &handler.content) {
            (Body::Probed, Content::Body | Content::Function(_)) => {
                quote!(__IDEM_ROLES[#index].is_body())
            }
            (Body::Extractor(body), Content::Body | Content::Function(_)) => {
                let is_bound = body == index;
                quote!(#is_bound)
            }
            _ => quote!(false),
        };
        quote!((#reader, #is_bound))
    });
    quote!(#(#arguments),*)
}

fn name(extractor: usize) -> Ident {
    format_ident!("__idem_arg{extractor}")
}

fn reader(extractor: usize) -> Ident {
    format_ident!("__idem_reader{extractor}")
}
