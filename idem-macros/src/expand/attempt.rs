//! The closure that runs the handler on a claim: it opens the transaction, calls the handler, and closes the
//! transaction.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ReturnType;

use super::lifetimes::{inferred_type, owned_generics};
use crate::framework::Framework;
use crate::model::{Handler, Role};
use crate::place::{Place, Private};

/// The closure, as a parameter of `serve`.
///
/// This is generated code, not a function of the library, because the handler borrows the transaction from the
/// closure's future. A function would need an `AsyncFnOnce` over a borrowed transaction whose future is `Send`, and
/// that bound can't be written.
pub(crate) fn expand<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    let arguments = arguments::<F>(handler);
    let ty = inferred_type(&handler.transaction, &handler.function.sig.generics);
    let place = Place::within(&ty);
    let start = private.at(place.first);
    let transaction = quote_spanned!(place.first=> <#ty as #start::Open<'_>>);
    // The transaction's tokens can come out of a macro, and variables declared elsewhere aren't visible there. So
    // these two resolve at the call site; the compiler reports at the transaction that the claim is of another database.
    let claim = quote_spanned!(Place::of(&ty).first=> &mut __idem_claim);
    let keep = quote!(#private::keeps(__idem_settle));
    let open = quote_spanned! {place.last=>
        let mut __idem_opened = match #transaction::open(#start::connection::<_, #ty>(#claim)).await {
            ::core::result::Result::Ok(__idem_opened) => __idem_opened,
            ::core::result::Result::Err(__idem_error) => return #start::HandlerOutcome::Broken(__idem_error),
        };
    };
    let lend = quote_spanned!(place.last=> #transaction::lend(&mut __idem_opened));
    let close = quote_spanned!(place.last=> #transaction::close(__idem_opened, #keep).await);
    // A return type such as `impl IntoResponse` can borrow from the transaction, so the response is made before the
    // transaction is closed.
    let returned = returned::<F>(handler, private, &lend);
    // The claim belongs to the block, so it returns to the engine on every way out of it, with or without an outcome.
    let block = quote! {
        async move {
            #open
            let (__idem_response, __idem_settle) = { #returned };
            let __idem_closed = #close;
            #private::HandlerOutcome::Answered {
                response: __idem_response,
                settle: __idem_settle,
                closed: __idem_closed,
            }
        }
    };
    // The compiler reports at the handler's name that the block can't move to another thread.
    let place = Place::of(&handler.function.sig.ident).first;
    let start = private.at(place);
    let attempting = quote_spanned!(place=> #start::attempting(#block));
    quote!(|mut __idem_claim, __idem_attempt, #arguments| #attempting)
}

/// What the closure gets through `serve`, as a tuple: the arguments of the handler, and what its response is made with.
///
/// The closure captures nothing, so that `serve` takes it as a function pointer. Its type then depends on the types of the
/// arguments alone, and the compiler checks it once for all handlers that have the same ones.
pub(crate) fn arguments<F: Framework>(handler: &Handler) -> TokenStream {
    let extractors = (0..handler.extractors.len()).map(|index| F::extracted(handler, index));
    let context = F::context();
    quote!((#(#extractors,)* #context))
}

/// Calls the handler, and makes its response and the state of the attempt. The compiler reports at the return type that
/// it is not a response.
fn returned<F: Framework>(handler: &Handler, private: &Private, lend: &TokenStream) -> TokenStream {
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
    let returned = quote_spanned!(place.first=> __idem_returned);
    let context = F::context().map(|context| quote!(, &#context));
    let start = private.at(place.first);
    let response = quote_spanned!(place.last=> #start::into_response(#returned #context));
    quote! {
        #[allow(unused_imports)]
        use #private::AnyReturned as _;
        let #returned = #name #turbofish(#(#arguments),*).await;
        let __idem_way = #private::ReturnProbe(&#returned).returned();
        let __idem_response = #response;
        let __idem_settle = #private::classify(&__IDEM_POLICY, &__idem_response, __idem_way #context);
        (__idem_response, __idem_settle)
    }
}
