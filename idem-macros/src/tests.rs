//! The attribute as a whole, on tokens.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;

use crate::framework::{Axum, Framework};

mod actix;
mod arguments;
mod consume;
mod documentation;
mod expansions;
mod handlers;
mod names;
mod openapi;
mod steps;
mod tokens;

/// The arguments of the attribute that `source` begins with, and the item below it.
fn split(source: &str) -> (TokenStream, TokenStream) {
    let mut tokens = source.parse::<TokenStream>().unwrap().into_iter();
    let Some(TokenTree::Group(attribute)) = tokens.nth(1) else {
        panic!("no attribute: {source}")
    };
    let arguments = match attribute.stream().into_iter().nth(1) {
        Some(TokenTree::Group(arguments)) => arguments.stream(),
        _ => TokenStream::new(),
    };
    (arguments, tokens.collect())
}

/// Everything that is emitted for `source`.
fn expand(source: &str) -> TokenStream {
    expand_for::<Axum>(source)
}

fn expand_for<F: Framework>(source: &str) -> TokenStream {
    let (arguments, item) = split(source);
    crate::idempotent::<F>(&arguments, &item)
}

/// The mistakes in `source`: the text that is underlined, and the message. A mistake of the whole attribute has no
/// text.
fn mistakes(source: &str) -> Vec<(String, String)> {
    mistakes_for::<Axum>(source)
}

fn mistakes_for<F: Framework>(source: &str) -> Vec<(String, String)> {
    let (arguments, item) = split(source);
    let (.., handler) = crate::read::<F>(arguments, &item);
    let Err(error) = handler else {
        return Vec::new();
    };
    error
        .into_iter()
        .map(|error| {
            (
                error.span().source_text().unwrap_or_default(),
                error.to_string(),
            )
        })
        .collect()
}

/// Checks the mistakes of `source`, and that all of them are emitted.
#[track_caller]
fn refused(source: &str, expected: &[(&str, &str)]) {
    let found = mistakes(source);
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(at, message)| (at.as_str(), message.as_str()))
        .collect();
    assert_eq!(found, expected, "{source}");
    let emitted = expand(source).to_string();
    assert_eq!(
        emitted.matches(":: core :: compile_error !").count(),
        expected.len(),
        "{source}"
    );
}

/// The function that is emitted last.
fn function(tokens: TokenStream) -> syn::ItemFn {
    let text = tokens.to_string();
    let file: syn::File = syn::parse2(tokens)
        .unwrap_or_else(|error| panic!("{error} at {:?} in {text}", error.span()));
    match file.items.into_iter().next_back() {
        Some(syn::Item::Fn(function)) => function,
        other => panic!(
            "no function: {:?}",
            other.map(|item| item.span().source_text())
        ),
    }
}
