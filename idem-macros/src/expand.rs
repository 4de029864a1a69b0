//! Writes the function that the framework calls, around the handler as it was written.
//!
//! The generated code and the handler are in one scope, so that code of the one could find names of the other: a
//! constant `error` of the user's would turn a generated `Err(error)` into a comparison with it. Generated names
//! therefore begin with `__idem_`, and generated paths with the adapter's path or `::core`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    GenericArgument, Generics, Ident, ItemFn, LitInt, Path, PathArguments, Type, Visibility,
    WherePredicate, parse_quote,
};

use crate::attributes::Attributes;
use crate::choice::Need;
use crate::framework::{Frame, Framework};
use crate::model::{Content, Handler, KeyPlace, Source, Store};
use crate::pattern;
use crate::place::{Place, Private, move_to};

mod attempt;
mod docs;
mod lease;
pub(crate) mod lifetimes;
mod policy;

use lifetimes::{owned_generics, owned_type};
pub(crate) use policy::expand as policy;

/// The one item that takes the handler's place.
pub(crate) fn expand<F: Framework>(handler: &Handler) -> TokenStream {
    let function = &handler.function;
    let Attributes { outer, inner } = Attributes::split(&function.attrs);
    let visibility = &function.vis;
    let name = &function.sig.ident;
    let generics = bounded_generics::<F>(&function.sig.generics);
    let clause = &generics.where_clause;
    let lints = lints(&generics);
    let docs = docs::contract::<F>(handler);
    let frame = frame::<F>(handler);
    let private = &frame.private;
    let inputs = F::inputs(&frame, handler);
    let lease = lease::expand(handler, private);
    let prologue = F::prologue(&frame, handler);
    let written = ItemFn {
        attrs: Vec::new(),
        vis: Visibility::Inherited,
        ..function.clone()
    };
    let policy = policy::expand(&handler.policy, &handler.target, private);
    let scope = scope::<F>(handler, private);
    let key = key::<F>(handler, private);
    let content = F::bound(private, handler, content::<F>(handler, private));
    let content = unless_rejected::<F>(handler, private, content);
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

            #lease
            #prologue
            let __idem_scope = #scope;
            #key
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
    let place = store_place(handler);
    let start = private.at(place.first);
    let provider = provider(handler, &private);
    let reads = reads(handler, &private);
    let request = quote_spanned!(place.last=> #start::CalledByTheFramework<#provider #reads>);
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

/// What is read from the head before any extractor runs, as types: where the key is, and which headers are bound. The
/// adapter's defaults are the attribute's own.
fn reads(handler: &Handler, private: &Private) -> Option<TokenStream> {
    let optional = handler.key.need == Need::Optional;
    let headers = (!handler.headers.is_empty()).then(|| names(&handler.headers, private));
    let key = match (&handler.key.place, optional) {
        (KeyPlace::Headers(own), false) if own.is_empty() => {
            headers.as_ref()?;
            quote!(#private::InHeader)
        }
        (KeyPlace::Headers(own), false) => {
            let own = names(own, private);
            quote!(#private::InHeader<#own>)
        }
        (KeyPlace::Headers(own), true) => {
            let own = names(own, private);
            quote!(#private::InHeader<#own, true>)
        }
        (KeyPlace::Argument(_), false) => quote!(#private::InArgument),
        (KeyPlace::Argument(_), true) => quote!(#private::InArgument<true>),
    };
    let headers = headers.map(|headers| quote!(, #headers));
    Some(quote!(, #key #headers))
}

/// The names of headers as a type. A type can hold numbers, and no strings: so each number is 16 letters.
fn names(names: &[String], private: &Private) -> TokenStream {
    let names = names.iter().map(|name| {
        let numbers = name.as_bytes().chunks(16).map(|letters| {
            let mut number = [0; 16];
            number[..letters.len()].copy_from_slice(letters);
            LitInt::new(
                &format!("{:#034x}", u128::from_be_bytes(number)),
                Span::call_site(),
            )
        });
        quote!(#private::Name<#(#numbers),*>)
    });
    quote!((#(#names,)*))
}

/// The place of the engine in the application's state.
pub(crate) fn provider(handler: &Handler, private: &Private) -> TokenStream {
    let transaction = owned_type(&handler.transaction, &handler.function.sig.generics);
    let place = store_place(handler);
    let start = private.at(place.first);
    let engine = match &handler.store {
        Some(Store::State(ty)) => quote_spanned!(place.last=> #start::Named<#ty>),
        Some(Store::Extractor(ty)) => {
            return quote_spanned!(place.last=> #start::ByExtractor<#ty>);
        }
        None => quote_spanned!(place.last=> #start::Of<#transaction>),
    };
    match handler.state.as_ref().and_then(in_arc) {
        Some(_) => quote_spanned!(place.last=> #start::InArc<#engine>),
        None => engine,
    }
}

/// The type inside of an `Arc`.
pub(crate) fn in_arc(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == "Arc")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(inside) => Some(inside),
            _ => None,
        },
        _ => None,
    }
}

/// Where the compiler reports that the transaction has no store, or that the state doesn't have this store.
fn store_place(handler: &Handler) -> Place {
    match &handler.store {
        Some(Store::State(ty) | Store::Extractor(ty)) => Place::of(ty),
        None => Place::of(&handler.transaction),
    }
}

/// The generics of the generated function. When the client leaves, the attempt moves to a task of its own, so the
/// types that it refers to have to be owned.
fn bounded_generics<F: Framework>(generics: &Generics) -> Generics {
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

/// The lints that the generated function would break without a fault of the handler's. The handler's own attributes
/// come after these, so a lint that the user denies stays denied.
fn lints(generics: &Generics) -> TokenStream {
    // A bound can be given by the user and once more by `bounded_generics`.
    let bounds = generics.type_params().next().map(
        |_| quote!(#[allow(clippy::multiple_bound_locations, clippy::trait_duplication_in_bounds)]),
    );
    quote!(#[allow(clippy::too_many_arguments)] #bounds)
}

fn scope<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    let Some(source) = &handler.scope else {
        return quote!(::core::option::Option::None);
    };
    let (read, place, value) = read_source::<F>(handler, source);
    let start = private.at(place);
    let scope = quote_spanned!(place=> #start::ScopeProbe(#value).scope());
    // The traits' methods are for an extractor that isn't a scope but points to one, and for a mistake. For a scope the
    // probe has a method of its own, and the import is unused.
    quote!({
        #[allow(unused_imports)]
        use #start::{NoScope as _, ScopeByDeref as _};
        #read
        ::core::option::Option::Some(#scope)
    })
}

/// The statement that reads the key from an argument, if it is in one.
fn key<F: Framework>(handler: &Handler, private: &Private) -> Option<TokenStream> {
    let source = handler.key.argument()?;
    let (read, place, value) = read_source::<F>(handler, source);
    let start = private.at(place);
    let key = quote_spanned!(place=> #start::KeyProbe(#value).key());
    let name = source.path.client_name();
    Some(quote! {
        let __idem_key = {
            #[allow(unused_imports)]
            use #start::{KeyByDeref as _, KeyByDisplay as _};
            #read
            #private::KeyArgument::new(#name, #key)
        };
    })
}

/// A statement that binds the argument, its place in the attribute, and a reference to the value that is named.
fn read_source<F: Framework>(
    handler: &Handler,
    Source { extractor, path }: &Source,
) -> (TokenStream, Span, TokenStream) {
    let value = F::extracted(handler, *extractor);
    let place = Place::of(&path.literal).first;
    let bound = Ident::new("__idem_source", place);
    let pattern = pattern::binding_only(
        &handler.extractors[*extractor].pattern,
        &path.argument,
        &bound,
    );
    let fields = &path.fields;
    let source = if fields.is_empty() {
        quote!(#bound)
    } else {
        quote_spanned!(place=> &#bound #(.#fields)*)
    };
    (quote!(let #pattern = &#value;), place, source)
}

fn content<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    match &handler.content {
        Content::Body => F::content(handler, private),
        Content::Raw => quote!(#private::content_raw()),
        Content::None | Content::Nothing => quote!(#private::content_none()),
        Content::Function(function) => {
            let place = Place::of(function);
            let private = private.at(place.first);
            let value = move_to(place.last, F::body_value(handler));
            let content = quote_spanned!(place.last=> (#value));
            quote_spanned!(place.first=> #private::content_of(&#function #content))
        }
    }
}

/// Asks every argument whether it is an `Err`: what could not be extracted claims nothing.
fn unless_rejected<F: Framework>(
    handler: &Handler,
    private: &Private,
    content: TokenStream,
) -> TokenStream {
    if handler.extractors.is_empty() {
        return content;
    }
    let arguments = (0..handler.extractors.len()).map(|index| F::extracted(handler, index));
    quote!({
        #[allow(unused_imports)]
        use #private::AnyReturned as _;
        #private::unless_rejected(#content, [#(#private::ReturnProbe(&#arguments).returned()),*])
    })
}

/// Hands everything to the adapter.
fn serve<F: Framework>(handler: &Handler, private: &Private) -> TokenStream {
    let place = Place::of(&handler.function.sig.ident).first;
    let start = private.at(place);
    let arguments = attempt::arguments::<F>(handler);
    let attempt = attempt::expand::<F>(handler, private);
    let key = match handler.key.place {
        KeyPlace::Headers(_) => quote!(()),
        KeyPlace::Argument(_) => quote!(__idem_key),
    };
    quote_spanned! {place=>
        #start::serve(__idem_request, &__IDEM_POLICY, #key, __idem_scope, __idem_content, __idem_raw, #arguments, #attempt).await
    }
}
