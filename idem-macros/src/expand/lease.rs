//! Asks the compiler whether the type that is taken by `&mut` has a lease, where its name doesn't say so.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};

use super::lifetimes::{inferred_type, owned_type};
use crate::check::mentions;
use crate::model::Handler;
use crate::place::{Place, Private};

const PROBLEM: &str = "a handler that takes `&mut Steps<_>` holds its key by a lease, and this attribute has none; \
                       add `lease = \"10s\"`";

/// The compiler reports at the type that it doesn't fit the attribute.
pub(crate) fn expand(handler: &Handler, private: &Private) -> Option<TokenStream> {
    if !handler.asks_for_lease {
        return None;
    }
    let generics = &handler.function.sig.generics;
    let place = Place::of(&handler.transaction);
    let start = private.at(place.first);
    if handler.policy.lease.is_some() {
        let ty = inferred_type(&handler.transaction, generics);
        return Some(quote_spanned!(place.last=> #start::leased::<#ty>();));
    }
    let ty = owned_type(&handler.transaction, generics);
    let core = quote_spanned!(place.first=> ::core);
    let unleased = quote_spanned! {place.last=>
        #core::assert!(!<#ty as #private::Transaction>::IS_LEASED, #PROBLEM)
    };
    let is_generic = generics
        .type_params()
        .map(|param| &param.ident)
        .chain(generics.const_params().map(|param| &param.ident))
        .any(|param| mentions(ty.to_token_stream(), param));
    // An item is evaluated during `cargo check`, a `const` block only when code is generated. But an item can't use
    // generic parameters.
    Some(if is_generic {
        quote!(const { #unleased };)
    } else {
        quote!(const __IDEM_UNLEASED: () = #unleased;)
    })
}
