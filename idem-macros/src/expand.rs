//! Writes the function that the framework calls, around the handler as it was written.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Generics, Ident, ItemFn, Path, ReturnType, Visibility, WherePredicate, parse_quote};

use crate::attributes::Attributes;
use crate::framework::{Frame, Framework};
use crate::model::{Body, Content, Handler, Role, Scope};
use crate::pattern;

mod docs;
pub(crate) mod lifetimes;
mod place;
mod policy;

use lifetimes::{inferred_type, owned_generics, owned_type};
use place::move_to;
pub(crate) use place::{Place, Private};

/// The one item that takes the handler's place.
pub(crate) fn expand<F: Framework>(handler: &Handler) -> TokenStream {
    let function = &handler.function;
    let Attributes { outer, inner } = Attributes::split(&function.attrs);
    let visibility = &function.vis;
    let name = &function.sig.ident;
    let generics = spawned_generics::<F>(&function.sig.generics);
    let clause = &generics.where_clause;
    let lints = lints(&generics);
    let docs = docs::contract(handler);
    let frame = frame::<F>(handler);
    let private = &frame.private;
    let inputs = F::inputs(&frame);
    let prologue = F::prologue(&frame, handler);
    let written = ItemFn {
        attrs: Vec::new(),
        vis: Visibility::Inherited,
        ..function.clone()
    };
    let policy = policy::expand(&handler.policy, private);
    let assertion = assertion(handler, private);
    let scope = scope::<F>(handler, private);
    let content = content::<F>(handler, private);
    let serve = serve::<F>(handler, private);
    quote! {
        #lints
        #(#outer)*
        #(#[doc = #docs])*
        #visibility async fn #name #generics(#inputs) -> #private::Response #clause {
            static __IDEM_POLICY: #private::Policy = #policy;

            #[allow(clippy::unused_async)]
            #(#inner)*
            #written

            #assertion
            #prologue
            let __idem_scope = #scope;
            let __idem_content = #content;
            #serve
        }
    }
}

/// The adapter's hidden module.
pub(crate) fn private<F: Framework>(root: Option<&Path>) -> Private {
    let default = format_ident!("{}", F::ROOT);
    Private::new(root.map_or_else(
        || quote!(::#default::__private),
        |root| quote!(#root::__private),
    ))
}

fn frame<F: Framework>(handler: &Handler) -> Frame {
    let generics = &handler.function.sig.generics;
    let private = private::<F>(handler.root.as_ref());
    // Where the transaction has no store, or the state has no such store, the message stands at the transaction.
    let transaction = owned_type(&handler.transaction, generics);
    let place = store_place(handler);
    let start = private.at(place.first);
    let provider = if let Some(store) = &handler.store {
        quote_spanned!(place.last=> #start::Named<#store>)
    } else {
        quote_spanned!(place.last=> #start::Of<#transaction>)
    };
    // A missing key is refused before any extractor runs, so the extractor of the key has to know.
    let optional = handler
        .policy
        .key
        .is_some_and(|key| key.variant == "Optional");
    let request = quote_spanned!(place.last=> #start::Preflight<#provider, #optional>);
    let extractors = handler
        .extractors
        .iter()
        .map(|extractor| owned_type(&extractor.ty, generics))
        .collect();
    Frame {
        private,
        request,
        extractors,
    }
}

/// What the choice of the store stands at.
fn store_place(handler: &Handler) -> Place {
    handler
        .store
        .as_ref()
        .map_or_else(|| Place::of(&handler.transaction), Place::of)
}

/// The attempt is spawned, so that it ends even when the client is gone: what it refers to has to be owned.
fn spawned_generics<F: Framework>(generics: &Generics) -> Generics {
    let mut generics = owned_generics(generics);
    let owned = F::owned();
    let predicates: Vec<WherePredicate> = generics
        .type_params()
        .map(|param| &param.ident)
        .map(|ty| parse_quote!(#ty: #owned))
        .collect();
    if !predicates.is_empty() {
        generics.make_where_clause().predicates.extend(predicates);
    }
    generics
}

/// What is true of the generated function is no fault of the handler. Attributes of the handler come later, and win.
fn lints(generics: &Generics) -> TokenStream {
    let bounds = generics.type_params().next().map(
        |_| quote!(#[allow(clippy::multiple_bound_locations, clippy::trait_duplication_in_bounds)]),
    );
    quote!(#[allow(clippy::too_many_arguments)] #bounds)
}

/// The store that is named is one for this transaction. The others are chosen by it.
fn assertion(handler: &Handler, private: &Private) -> Option<TokenStream> {
    let store = handler.store.as_ref()?;
    let transaction = inferred_type(&handler.transaction, &handler.function.sig.generics);
    let place = Place::of(store);
    let start = private.at(place.first);
    Some(quote_spanned!(place.last=> #start::assert_store::<#store, #transaction>();))
}

fn scope<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    let Some(Scope { extractor, path }) = &handler.scope else {
        return quote!(::core::option::Option::None);
    };
    let value = F::extracted(handler, *extractor);
    let place = Place::of(&path.literal).first;
    let private = private.at(place);
    let bound = Ident::new("__idem_whose", place);
    let pattern = pattern::binding_only(
        &handler.extractors[*extractor].pattern,
        &path.argument,
        &bound,
    );
    let fields = &path.fields;
    let whose = if fields.is_empty() {
        quote!(#bound)
    } else {
        quote_spanned!(place=> &#bound #(.#fields)*)
    };
    let scope = quote_spanned!(place=> #private::Whose(#whose).scope());
    quote!({
        #[allow(unused_imports)]
        use #private::Behind as _;
        let #pattern = &#value;
        ::core::option::Option::Some(#scope)
    })
}

fn content<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    let value = F::body_value(handler);
    match &handler.content {
        Content::Body => {
            let generics = &handler.function.sig.generics;
            let ty = match handler.body {
                Body::Extractor(body) => {
                    inferred_type(&handler.extractors[body].ty, generics).into_token_stream()
                }
                Body::None | Body::Probed => quote!(_),
            };
            quote!(#private::content::<#ty>(#value))
        }
        Content::Raw => quote!(#private::content_raw()),
        Content::None => quote!(#private::content_none()),
        Content::Function(function) => {
            let place = Place::of(function);
            let private = private.at(place.first);
            let value = move_to(place.last, value);
            let content = quote_spanned!(place.last=> (#value));
            quote_spanned!(place.first=> #private::content_of(&#function #content))
        }
    }
}

/// Hands everything to the adapter. Where the handler can't be sent to another thread, the message stands at its name.
fn serve<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    let place = Place::of(&handler.function.sig.ident).first;
    let start = private.at(place);
    let attempt = attempt::<F>(handler, private);
    quote_spanned! {place=>
        #start::serve(__idem_request, &__IDEM_POLICY, __idem_scope, __idem_content, __idem_raw, #attempt).await
    }
}

/// The closure that runs the handler on a claim.
///
/// The response is made in it, as a return type such as `impl IntoResponse` borrows from the transaction.
fn attempt<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    let transaction = inferred_type(&handler.transaction, &handler.function.sig.generics);
    let place = Place::within(&transaction);
    let start = private.at(place.first);
    let transaction = quote_spanned!(place.first=> <#transaction as #start::Open<'_>>);
    let claim = quote!(&mut __idem_claim);
    let open = quote_spanned! {place.last=>
        let mut __idem_opened = match #transaction::open(#start::connection(#claim)).await {
            ::core::result::Result::Ok(opened) => opened,
            ::core::result::Result::Err(error) => return #start::not_opened(error),
        };
    };
    let lend = quote_spanned!(place.last=> #transaction::lend(&mut __idem_opened));
    let close = quote_spanned!(place.last=> #transaction::close(__idem_opened).await);
    let response = response::<F>(handler, private, &lend);
    quote! {
        move |mut __idem_claim, __idem_attempt: #private::Attempt| async move {
            #open
            let __idem_response = #response;
            let __idem_closed = #close;
            #private::ran(__idem_claim, __idem_closed, __idem_response).await
        }
    }
}

/// Calls the handler. Where its return type is no response, the message stands there.
fn response<F: Framework>(handler: &Handler, private: &Private, lend: &TokenStream) -> TokenStream {
    let signature = &handler.function.sig;
    let arguments = handler.roles.iter().map(|role| match role {
        Role::Transaction => lend.clone(),
        Role::Attempt => {
            let ty = handler
                .attempt
                .as_ref()
                .map(|ty| inferred_type(ty, &signature.generics));
            quote!(#private::attempt::<#ty>(&__idem_attempt))
        }
        Role::Extractor(index) => F::extracted(handler, *index).into_token_stream(),
    });
    let place = match &signature.output {
        ReturnType::Type(_, ty) => Place::of(ty),
        ReturnType::Default => Place::of(&signature.ident),
    };
    let mut name = signature.ident.clone();
    name.set_span(place.first);
    let generics = owned_generics(&signature.generics);
    let (_, generics, _) = generics.split_for_impl();
    let turbofish = generics.as_turbofish();
    let private = private.at(place.first);
    let context = F::response_context();
    quote_spanned!(place.last=> #private::into_response(#name #turbofish(#(#arguments),*).await #context))
}
