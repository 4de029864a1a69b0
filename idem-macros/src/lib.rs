//! The attribute `#[idempotent]` of `idem-axum`. Use it through that crate, which re-exports it: what it writes refers
//! to the re-exporting crate.
//!
//! A handler goes through four stages, one module each: `parse` reads the attribute and the function, `check` holds
//! the rules and reports every mistake at once, `model` is what is known then, and `expand` writes the function that
//! the framework calls. After a mistake, `fallback` stands in for `expand`. The options are one table, in `options`;
//! what differs between web frameworks is in `framework`.

use framework::{Axum, Framework};
use proc_macro2::TokenStream;
use quote::quote;

mod attributes;
mod check;
mod duration;
mod errors;
mod expand;
mod fallback;
mod framework;
mod model;
mod options;
mod parse;
mod pattern;
mod suggest;
mod value;

/// Makes an axum handler run once per idempotency key.
#[proc_macro_attribute]
pub fn idempotent_axum(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    idempotent::<Axum>(arguments.into(), item.into()).into()
}

fn idempotent<F: Framework>(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = errors::Errors::new();
    let given = parse::arguments(arguments, &mut errors);
    let function = parse::function(&item)
        .map_err(|error| errors.push(error))
        .ok();
    let handler = function
        .as_ref()
        .and_then(|function| check::check::<F>(&given, function, &mut errors));
    match (errors.finish(handler), function) {
        (Ok(handler), _) => expand::expand::<F>(&handler),
        (Err(error), Some(function)) => fallback::expand::<F>(&given, &function, &error),
        (Err(error), None) => {
            let messages = error.to_compile_error();
            quote!(#messages #item)
        }
    }
}
