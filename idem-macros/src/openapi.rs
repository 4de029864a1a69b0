//! `#[utoipa::path]` below the attribute, with the feature `utoipa`.
//!
//! The two attributes are turned round: `#[utoipa::path]` then sees the handler as it was written, with its extractors. It
//! gets the endpoint's contract in an extension of its operation, which `Engine::describe` reads.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::ItemFn;

use crate::attributes::take_utoipa_path;
use crate::choice::Need;
use crate::expand::{policy, private};
use crate::framework::Framework;
use crate::model::{Content, Handler, KeyPlace};

/// The function with its `#[utoipa::path]` above `#[idempotent]`, if it has one below.
pub(crate) fn reorder<F: Framework>(
    arguments: &TokenStream,
    function: &ItemFn,
    handler: &Handler,
) -> Option<TokenStream> {
    if !F::IS_HTTP {
        return None;
    }
    let mut function = function.clone();
    let extension = extension::<F>(handler);
    let describe = |path: TokenStream| described(path, &extension);
    let above = take_utoipa_path(&mut function.attrs, describe);
    if above.is_empty() {
        return None;
    }
    let default = format_ident!("{}", F::ROOT);
    let root = handler.root.as_ref();
    let root = root.map_or_else(|| quote!(::#default), |root| quote!(#root));
    Some(quote! {
        #(#above)*
        #[#root::idempotent(#arguments)]
        #function
    })
}

/// The entry of utoipa's `extensions(…)`.
fn extension<F: Framework>(handler: &Handler) -> TokenStream {
    let private = private::<F>(handler.root.as_ref());
    let policy = policy(&handler.policy, &handler.target, &private);
    let place = match &handler.key.place {
        KeyPlace::Headers(names) => quote!(Headers(&[#(#names),*])),
        KeyPlace::Argument(source) => {
            let name = source.path.client_name();
            quote!(Field(#name))
        }
    };
    let required = handler.key.need == Need::Required;
    let binds = !matches!(handler.content, Content::Nothing) || !handler.headers.is_empty();
    let scoped = handler.scope.is_some();
    quote! {
        ("x-idempotency" = json!(
            #private::published(&#policy, #private::KeyPlace::#place, #required, #binds, #scoped)
        ))
    }
}

/// `utoipa::path(…)` with one more extension. utoipa reads the last `extensions(…)` only, so an entry of the user's is
/// continued.
fn described(path: TokenStream, extension: &TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = path.into_iter().collect();
    let mut arguments: Vec<TokenTree> = match tokens.pop() {
        Some(TokenTree::Group(arguments)) => arguments.stream().into_iter().collect(),
        // With `#[post("…")]` and its siblings there need be no arguments.
        last => {
            tokens.extend(last);
            Vec::new()
        }
    };
    let own = arguments
        .iter()
        .position(|token| matches!(token, TokenTree::Ident(name) if name == "extensions"));
    if let Some(TokenTree::Group(entries)) = own.and_then(|index| arguments.get_mut(index + 1)) {
        let own = entries.stream();
        *entries = Group::new(Delimiter::Parenthesis, quote!(#extension, #own));
        quote!(#(#tokens)* (#(#arguments)*))
    } else {
        quote!(#(#tokens)* (extensions(#extension), #(#arguments)*))
    }
}
