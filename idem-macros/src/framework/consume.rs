//! Consumers of messages: all extractors implement one trait, and the last one is the content of the message.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, LitStr};

use super::{Frame, Framework};
use crate::choice::Need;
use crate::errors::Errors;
use crate::expand::lifetimes::inferred_type;
use crate::expand::{in_arc, provider};
use crate::model::{Body, Extractor, Handler, Store};
use crate::options::Name;
use crate::parse::{Entry, Given};
use crate::place::{Place, Private};
use crate::value::{Duration, KeyPlace, Value};

/// Expands for `idem-consume`.
pub(crate) struct Consume;

const NO_RESPONSE: &str = "a consumer has no response that could be replayed; remove this";

impl Framework for Consume {
    const ROOT: &'static str = "idem_consume";
    const REFUSED: &'static [(Name, &'static str)] = &[
        (
            Name::Wait,
            "a duplicate of a message does not wait, it is delivered again later; remove `wait`",
        ),
        (Name::RespondWithin, NO_RESPONSE),
        (Name::Replay, NO_RESPONSE),
        (Name::Record, NO_RESPONSE),
        (Name::ResponseLimit, NO_RESPONSE),
        (Name::Query, "a message has no query; remove `query`"),
        (
            Name::Bind,
            "a message is bound to its key by its content; remove `bind`",
        ),
    ];
    const IS_HTTP: bool = false;
    const COW_RESPONSES: bool = false;
    const NO_BODY: &'static str = "has no content to read; take it, such as `order: Event<Order>`";

    fn wait() -> Option<Duration> {
        Some(Duration {
            text: "0s".to_owned(),
            seconds: 0,
        })
    }

    fn check(given: &Given, errors: &mut Errors) {
        if given.lacks(Name::Operation) {
            let problem = r#"missing argument `operation`; a message has no route, so name the consumer, such as `operation = "ship_order"`"#;
            errors.at(Span::call_site(), problem);
        }
        if given.lacks(Name::Key) {
            let problem =
                r#"missing argument `key`; name the message's id, such as `key = "event.id"`"#;
            errors.at(Span::call_site(), problem);
        }
        let Some(Entry {
            tokens,
            value: Some(Value::Key(key)),
            ..
        }) = given.entry(Name::Key)
        else {
            return;
        };
        match (&key.place, key.need) {
            (KeyPlace::Headers(_), _) => errors.spanned(
                tokens,
                r#"the key of a message is in an argument, such as `key = "event.id"`, or `key = "id"` with `id: MessageId`"#,
            ),
            (KeyPlace::Field(_), Need::Optional) => errors.spanned(
                tokens,
                "a message without a key can't be told from its duplicate; name the argument without `optional`",
            ),
            (KeyPlace::Field(_), Need::Required) => {}
        }
    }

    fn owned() -> TokenStream {
        quote!(::core::marker::Send + 'static)
    }

    fn body(extractors: &[Extractor], named: Option<(&LitStr, usize)>, _: &mut Errors) -> Body {
        let index = named.map(|(_, index)| index);
        let index = index.or_else(|| extractors.len().checked_sub(1));
        index.map_or(Body::None, Body::Extractor)
    }

    fn inputs(frame: &Frame, _: &Handler) -> TokenStream {
        let Frame {
            private,
            request,
            extractors,
        } = frame;
        quote!(__idem_extracted: #private::Extracted<#request, (#(#extractors,)*)>)
    }

    fn prologue(frame: &Frame, handler: &Handler) -> TokenStream {
        let Frame { private, .. } = frame;
        let names = (0..handler.extractors.len()).map(name);
        let checks = checks(handler, private);
        quote! {
            let #private::Extracted {
                request: __idem_request,
                arguments: (#(#names,)*),
                raw: __idem_raw,
            } = __idem_extracted;
            #checks
        }
    }

    fn body_value(handler: &Handler) -> TokenStream {
        match handler.body {
            Body::Extractor(index) => {
                let name = name(index);
                quote!(&#name)
            }
            Body::None | Body::Probed => quote!(&()),
        }
    }

    fn content(handler: &Handler, private: &Private) -> TokenStream {
        let Body::Extractor(index) = handler.body else {
            return quote!(#private::content_raw());
        };
        let name = name(index);
        let generics = &handler.function.sig.generics;
        let ty = inferred_type(&handler.extractors[index].ty, generics);
        let place = Place::of(&ty).first;
        let private = private.at(place);
        let content = quote_spanned!(place=> #private::content::<#ty>);
        quote!(#content(&#name))
    }

    fn extracted(_: &Handler, extractor: usize) -> Ident {
        name(extractor)
    }
}

/// Asks the state of the consumer, where its type is named, whether it has the engine and every argument.
fn checks(handler: &Handler, private: &Private) -> Option<TokenStream> {
    let state = handler.state.as_ref()?;
    let engine = (!matches!(handler.store, Some(Store::Extractor(_)))).then(|| {
        let place = Place::of(state);
        let state = in_arc(state).unwrap_or(state);
        let start = private.at(place.first);
        let provider = provider(handler, private);
        quote_spanned!(place.last=> #start::assert_held::<#state, <#provider as #start::Source>::Provider>();)
    });
    let arguments = handler.extractors.iter().map(|extractor| {
        let ty = inferred_type(&extractor.ty, &handler.function.sig.generics);
        let place = Place::of(&ty).first;
        let state = state.to_token_stream();
        let private = private.at(place);
        quote_spanned!(place=> #private::assert_extracted::<#ty, #state>();)
    });
    Some(quote!(#engine #(#arguments)*))
}

fn name(extractor: usize) -> Ident {
    format_ident!("__idem_arg{extractor}")
}
