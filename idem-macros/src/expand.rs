//! Writes the function that the framework calls, around the handler as it was written.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Generics, Ident, ItemFn, Path, ReturnType, Type, Visibility, parse_quote};

use crate::attributes::Attributes;
use crate::framework::{Frame, Framework};
use crate::model::{Content, Handler, Role, Scope};
use crate::pattern;

mod docs;
pub(crate) mod lifetimes;
mod policy;

use lifetimes::{inferred_type, owned_generics, owned_type};

/// The one item that takes the handler's place.
pub(crate) fn expand<F: Framework>(handler: &Handler) -> TokenStream {
    let function = &handler.function;
    let Attributes { outer, inner } = Attributes::split(&function.attrs);
    let visibility = &function.vis;
    let name = &function.sig.ident;
    let generics = spawned_generics(&function.sig.generics);
    let clause = &generics.where_clause;
    let docs = docs::contract(handler);
    let lints = lints(&generics);
    let frame = frame::<F>(handler);
    let private = &frame.private;
    let inputs = F::inputs(&frame);
    let prologue = F::prologue(&frame);
    let written = as_written(function);
    let policy = policy::expand(&handler.policy, private);
    let assertions = assertions(handler, private);
    let scope = scope::<F>(handler, private);
    let content = content(handler, private);
    let attempt = attempt::<F>(handler, private);
    quote! {
        #lints
        #(#outer)*
        #(#[doc = #docs])*
        #visibility async fn #name #generics(#inputs) -> #private::Response #clause {
            static __IDEM_POLICY: #private::Policy = #policy;

            #[allow(clippy::unused_async)]
            #(#inner)*
            #written

            #assertions
            #prologue
            let __idem_scope = #scope;
            let __idem_content = #content;
            #private::serve(
                __idem_request,
                &__IDEM_POLICY,
                __idem_scope,
                __idem_content,
                __idem_raw,
                #attempt,
            )
            .await
        }
    }
}

/// The adapter's hidden module.
pub(crate) fn private<F: Framework>(root: Option<&Path>) -> TokenStream {
    let default = format_ident!("{}", F::ROOT);
    root.map_or_else(
        || quote!(::#default::__private),
        |root| quote!(#root::__private),
    )
}

fn frame<F: Framework>(handler: &Handler) -> Frame {
    let generics = &handler.function.sig.generics;
    let private = private::<F>(handler.root.as_ref());
    let transaction = owned_type(&handler.transaction, generics);
    let provider = match &handler.store {
        Some(store) => store.to_token_stream(),
        None => quote!(#private::Engine<<#transaction as #private::Transaction>::Store>),
    };
    let extractors = handler
        .extractors
        .iter()
        .map(|extractor| owned_type(&extractor.ty, generics))
        .collect();
    // Where the state has no such store, the message stands at the transaction.
    let request = quote_spanned!(transaction.span()=> #private::Preflight<#provider>);
    Frame {
        private,
        request,
        extractors,
    }
}

/// The attempt is spawned, so that it ends even when the client is gone: what it refers to has to be owned and sent.
fn spawned_generics(generics: &Generics) -> Generics {
    let mut generics = owned_generics(generics);
    let types: Vec<Ident> = generics
        .type_params()
        .map(|param| param.ident.clone())
        .collect();
    if !types.is_empty() {
        let predicates = &mut generics.make_where_clause().predicates;
        predicates.extend::<Vec<syn::WherePredicate>>(
            types
                .iter()
                .map(|ty| parse_quote!(#ty: ::core::marker::Send + 'static))
                .collect(),
        );
    }
    generics
}

/// What is true of the generated function is no fault of the handler. Attributes of the handler come later, and win.
fn lints(generics: &Generics) -> TokenStream {
    let bounds = (generics.type_params().next().is_some()).then(
        || quote!(#[allow(clippy::multiple_bound_locations, clippy::trait_duplication_in_bounds)]),
    );
    quote! {
        #[allow(clippy::too_many_arguments)]
        #bounds
    }
}

fn as_written(function: &ItemFn) -> ItemFn {
    ItemFn {
        attrs: Vec::new(),
        vis: Visibility::Inherited,
        ..function.clone()
    }
}

/// Bounds that are checked at the type in question, before anything else mentions them.
fn assertions(handler: &Handler, private: &TokenStream) -> TokenStream {
    let generics = &handler.function.sig.generics;
    let transaction = inferred_type(&handler.transaction, generics);
    let of = handler
        .store
        .as_ref()
        .map(|store| quote!(#private::assert_transaction_of::<#transaction, #store>();));
    let attempt = handler.attempt.as_ref().map(|attempt| {
        let attempt = inferred_type(attempt, generics);
        quote!(#private::assert_attempt::<#attempt>();)
    });
    quote! {
        #private::assert_transaction::<#transaction>();
        #of
        #attempt
    }
}

fn scope<F: Framework>(handler: &Handler, private: &TokenStream) -> TokenStream {
    let Some(Scope { extractor, path }) = &handler.scope else {
        return quote!(::core::option::Option::None);
    };
    let span = path.literal.span();
    let value = F::extracted(handler, *extractor);
    let bound = Ident::new("__idem_whose", span);
    let pattern = pattern::binding_only(
        &handler.extractors[*extractor].pattern,
        &path.argument,
        &bound,
    );
    let fields = &path.fields;
    let whose = if fields.is_empty() {
        quote!(#bound)
    } else {
        quote_spanned!(span=> &#bound #(.#fields)*)
    };
    let scope_of = quote_spanned!(span=> scope_of);
    quote! {
        {
            let #pattern = &#value;
            ::core::option::Option::Some(#private::#scope_of(#whose))
        }
    }
}

fn content(handler: &Handler, private: &TokenStream) -> TokenStream {
    match &handler.content {
        Content::Body => match handler.body {
            Some(body) => {
                let ty =
                    inferred_type(&handler.extractors[body].ty, &handler.function.sig.generics);
                quote!(#private::content::<#ty>(&__idem_value))
            }
            None => quote!(#private::content(&__idem_value)),
        },
        Content::Raw => quote!(#private::content_raw()),
        Content::None => quote!(#private::content_none()),
        Content::Function(function) => quote!(#private::content_of(&#function(&__idem_value))),
    }
}

/// The closure that runs the handler on a claim.
///
/// The response is made in it, as a return type such as `impl IntoResponse` borrows from the transaction.
fn attempt<F: Framework>(handler: &Handler, private: &TokenStream) -> TokenStream {
    let transaction = inferred_type(&handler.transaction, &handler.function.sig.generics);
    let open = quote!(<#transaction as #private::Open<'_>>);
    let call = call::<F>(handler, &open);
    let into_response = quote!(#private::into_response);
    quote! {
        move |mut __idem_claim, __idem_attempt: #private::Attempt| async move {
            let mut __idem_opened = match #open::open(#private::connection(&mut __idem_claim)).await {
                ::core::result::Result::Ok(opened) => opened,
                ::core::result::Result::Err(error) => return #private::not_opened(error),
            };
            let __idem_response = #into_response(#call);
            let __idem_closed = #open::close(__idem_opened).await;
            #private::ran(__idem_claim, __idem_closed, __idem_response).await
        }
    }
}

/// The call of the handler, from the first to the last token at its return type: where that is no response, the
/// message stands there.
fn call<F: Framework>(handler: &Handler, open: &TokenStream) -> TokenStream {
    let signature = &handler.function.sig;
    let arguments = handler.roles.iter().map(|role| match role {
        Role::Transaction => quote!(#open::lend(&mut __idem_opened)),
        Role::Attempt => quote!(&__idem_attempt),
        Role::Extractor(index) => F::extracted(handler, *index).into_token_stream(),
    });
    let (first, last) =
        ends(&signature.output).unwrap_or((signature.ident.span(), signature.ident.span()));
    let mut name = signature.ident.clone();
    name.set_span(name.span().located_at(first));
    let generics = owned_generics(&signature.generics);
    let (_, generics, _) = generics.split_for_impl();
    let turbofish = generics.as_turbofish();
    let awaited = quote_spanned!(last=> .await);
    quote!(#name #turbofish(#(#arguments),*) #awaited)
}

/// The spans of the first and the last token of a return type.
fn ends(output: &ReturnType) -> Option<(Span, Span)> {
    let ReturnType::Type(_, ty) = output else {
        return None;
    };
    let mut tokens = Type::to_token_stream(ty)
        .into_iter()
        .map(|token| token.span());
    let first = tokens.next()?;
    Some((first, tokens.last().unwrap_or(first)))
}
