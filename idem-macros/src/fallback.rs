//! What is emitted in place of a handler with mistakes. The compiler reports only those mistakes, and editors still
//! complete code in the handler's body.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, ItemFn, Safety, Token, Visibility};

use crate::attributes::Attributes;
use crate::check;
use crate::expand;
use crate::expand::lifetimes::owned_generics;
use crate::framework::Framework;
use crate::parse::Given;

/// The messages, and a function that the framework accepts wherever it would have accepted the handler.
///
/// It takes no arguments, so the compiler has none to refuse. The function as it was written is an item in its body,
/// so nothing that it refers to becomes unused.
pub(crate) fn expand<F: Framework>(given: &Given, function: &ItemFn, error: &Error) -> TokenStream {
    let messages = error.to_compile_error();
    let is_method = function.sig.receiver().is_some() || !check::self_types(function).is_empty();
    if is_method {
        // Other attributes would only report the same mistake in their own words.
        let function = ItemFn {
            attrs: Vec::new(),
            ..function.clone()
        };
        return quote!(#messages #function);
    }
    let Attributes { outer, inner } = Attributes::split(&function.attrs);
    let written = as_written(function);
    let visibility = &function.vis;
    let name = &function.sig.ident;
    let generics = owned_generics(&function.sig.generics);
    let clause = &generics.where_clause;
    let private = expand::private::<F>(check::root::<F>(given).as_ref());
    quote! {
        #messages
        #(#outer)*
        #[allow(dead_code)]
        #visibility async fn #name #generics() -> #private::Response #clause {
            #(#inner)*
            #written
            ::core::unreachable!()
        }
    }
}

fn as_written(function: &ItemFn) -> ItemFn {
    let mut written = function.clone();
    written.attrs.clear();
    written.vis = Visibility::Inherited;
    let signature = &mut written.sig;
    signature.constness = None;
    signature
        .asyncness
        .get_or_insert(Token![async](Span::call_site()));
    signature.safety = Safety::Default;
    signature.abi = None;
    signature.variadic = None;
    written
}
