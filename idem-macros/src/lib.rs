//! The attribute `#[idempotent]` of `idem-axum`, `idem-actix` and `idem-consume`. Use it through those crates: the
//! generated code refers to them.
//!
//! A handler goes through four stages, one module each. `parse` reads the attribute and the function. `check` holds the
//! rules, and reports every mistake at once. `model` is the handler after that. `expand` writes the function that the
//! framework calls; after a mistake `fallback` takes its place. The options are one table, in `options`, and the
//! differences between web frameworks, and between these and consumers, are in `framework`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn};

use errors::Errors;
use framework::{Actix, Axum, Consume, Framework};
use model::Handler;
use parse::Given;

mod attributes;
mod check;
mod choice;
mod duration;
mod errors;
mod expand;
mod fallback;
mod framework;
mod model;
mod openapi;
mod options;
mod parse;
mod pattern;
mod place;
mod rename;
mod size;
mod suggest;
#[cfg(test)]
mod tests;
mod value;

/// Makes an axum handler run once per idempotency key: its writes and its response are stored in one transaction, and
/// a retry gets that response.
///
/// # Handlers
///
#[doc = include_str!("docs/borrowed.md")]
/// - **By value**: axum's extractors, in their usual order; the last of them reads the body. All of them run before a
///   response is replayed, and so does the authorization that they do.
///
/// The handler returns a response, as any axum handler does. It runs on the request's task. If the client leaves, it
/// runs on to its end, on a task of its own: so extractors are `Send + 'static`, and so are generic parameters.
///
#[doc = include_str!("docs/arguments.md")]
///
/// # Other attributes
///
#[doc = include_str!("docs/attributes.md")]
/// `#[axum::debug_handler]` goes below, since above it would take the transaction for an extractor.
///
/// # What it expands to
///
#[doc = include_str!("docs/axum_expansion.md")]
#[doc = include_str!("docs/expansion.md")]
///
/// The options are also appended to the handler's documentation, in a section *Idempotency*.
///
/// # Limitations
///
#[doc = include_str!("docs/limitations.md")]
/// - Everything that the handler holds across an `.await` is `Send`.
/// - The body is the last argument, as always on axum.
#[proc_macro_attribute]
pub fn idempotent_axum(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    idempotent::<Axum>(&arguments.into(), &item.into()).into()
}

/// Makes an actix-web handler run once per idempotency key: its writes and its response are stored in one transaction,
/// and a retry gets that response.
///
/// # Handlers
///
#[doc = include_str!("docs/borrowed.md")]
/// - **By value**: actix-web's extractors, in any order. The one that implements `RequestBody` is the body; `body`
///   names it where the handler is generic. All of them run before a response is replayed, and so does the
///   authorization that they do.
///
/// The handler returns a response, as any actix-web handler does. It runs on the request's task. If the client leaves,
/// it runs on to its end, on a task of its own on the same thread: so extractors and generic parameters are `'static`,
/// and nothing needs to be `Send`.
///
#[doc = include_str!("docs/arguments.md")]
///
/// # Other attributes
///
#[doc = include_str!("docs/attributes.md")]
/// `#[actix_web::post("…")]` and its siblings can stand on either side. `#[get]` is refused unless the key is in an
/// argument: below by the compiler, above at the first request, with 500 `misconfigured` and a line in the log.
///
/// # What it expands to
///
#[doc = include_str!("docs/actix_expansion.md")]
#[doc = include_str!("docs/expansion.md")]
///
/// The options are also appended to the handler's documentation, in a section *Idempotency*.
///
/// # Limitations
///
#[doc = include_str!("docs/limitations.md")]
/// - A generic handler names its body by `body = "…"`, because the body is found by types, and before the type of a
///   generic parameter is known. With `fingerprint = "raw"` there is nothing to find.
#[proc_macro_attribute]
pub fn idempotent_actix(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    idempotent::<Actix>(&arguments.into(), &item.into()).into()
}

/// Makes a consumer of messages run once per message: its writes and the record of the message are stored in one
/// transaction, and a duplicate is done without running.
///
/// # Consumers
///
#[doc = include_str!("docs/borrowed.md")]
/// - **By value**: extractors, which make their values of a delivery and of the consumer's state. The last one is the
///   content of the message, and is bound to the key; `body` names another one.
///
/// It returns `Result<(), Failure>`, or a `Result<(), E>` of an `E` that becomes a `Failure`. A failure undoes the writes.
///
/// # Arguments
///
/// - `ttl = "14d"`: the time in which the message can be delivered again (required)
/// - `operation = "ship_order"`: the name of the consumer (required). Two consumers of one message have two names.
/// - `key = "event.id"`: the message's id, in an argument or a field of one (required)
/// - `scope = "event.tenant"`: the owner of the ids, or `unscoped` where they are unique for all
/// - `fingerprint = "none"`: another content with the id is the same message
///
/// and `deadline`, `lease`, `isolation`, `body`, `store`, `state` and `crate`, as on an endpoint. `wait`, `respond_within`,
/// `replay`, `record`, `response_limit`, `query` and `bind` are about requests and responses, and refused.
#[proc_macro_attribute]
pub fn idempotent_consume(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    idempotent::<Consume>(&arguments.into(), &item.into()).into()
}

fn idempotent<F: Framework>(arguments: &TokenStream, item: &TokenStream) -> TokenStream {
    let (given, function, handler) = read::<F>(arguments.clone(), item);
    match (handler, function) {
        (Ok(handler), Some(function)) if cfg!(feature = "utoipa") => {
            openapi::reorder::<F>(arguments, &function, &handler)
                .unwrap_or_else(|| expand::expand::<F>(&handler))
        }
        (Ok(handler), _) => expand::expand::<F>(&handler),
        (Err(error), Some(function)) => fallback::expand::<F>(&given, &function, &error),
        (Err(error), None) => {
            let messages = error.to_compile_error();
            quote!(#messages #item)
        }
    }
}

/// The handler or all mistakes, and, for a fallback, the parts that could be read.
fn read<F: Framework>(
    arguments: TokenStream,
    item: &TokenStream,
) -> (Given, Option<ItemFn>, Result<Handler, Error>) {
    let mut errors = Errors::new();
    let given = parse::arguments(arguments, &mut errors);
    let function = parse::function(item)
        .map_err(|error| errors.push(error))
        .ok();
    let handler = function
        .as_ref()
        .and_then(|function| check::check::<F>(&given, function, &mut errors));
    (given, function, errors.finish(handler))
}
