//! The attribute `#[idempotent]` of `idem-axum`. Use it through that crate: what it writes refers to it.
//!
//! A handler goes through four stages, one module each: `parse` reads the attribute and the function, `check` holds
//! the rules and reports every mistake at once, `model` is what is known then, and `expand` writes the function that
//! the framework calls. After a mistake, `fallback` stands in for `expand`. The options are one table, in `options`;
//! what differs between web frameworks is in `framework`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn};

use errors::Errors;
use framework::{Axum, Framework};
use model::Handler;
use parse::Given;

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
#[cfg(test)]
mod tests;
mod value;

/// Makes an axum handler run once per idempotency key: its writes and its response are stored in one transaction, and
/// a retry gets that response.
///
/// # Handlers
///
/// The attribute goes on a free `async fn`. What its arguments are follows from how they are taken:
///
/// - **By `&mut`**: the transaction. There is one, and its type picks the store: the connection type of a supported
///   database, such as `&mut PgConnection`, or `sqlx`'s transaction of it, such as `&mut Transaction<'_, Postgres>`,
///   which is a savepoint.
/// - **By `&`**: the attempt, as `&Attempt`. It can be left out.
/// - **By value**: axum's extractors, in their usual order; the last of them reads the body. All of them run before a
///   response is replayed, and so does the authorization that they do.
///
/// The handler returns what any axum handler does. It runs to its end even when the client is gone, in a task of its
/// own: extractors are `Send + 'static`, and so is what a generic parameter stands for.
///
/// # Arguments
///
/// - `ttl = "24h"`: how long a response is remembered, at most one year (required)
/// - `scope = "tenant"`: whose keys these are: an argument, or a field of one, such as `"claims.tenant_id"` (required, unless `unscoped`)
/// - `unscoped`: all clients share their keys, and so can read each other's responses
/// - `wait = "2s"`: how long a duplicate waits for the first request before it is answered 409; `"0s"` answers at once
/// - `deadline = "30s"`: how long the handler can run before it is dropped and its writes are undone
/// - `replay = "success" | "final" | "all"`: which responses are remembered; `"final"` is the default
/// - `key = "required" | "optional"`: whether a request without a key is refused, which is the default, or runs unrecorded
/// - `isolation = "read committed" | "repeatable read" | "serializable"`: how isolated the handler's transaction is; the database's default if nothing is said
/// - `fingerprint = "body" | "raw" | NewPayment::intent`: what a key is bound to, beside path and query: the deserialized body (the default), its bytes, or what a function makes of it
/// - `body = "none" | "order"`: the argument that is the body, or `"none"`
/// - `operation = "create_payment"`: the operation's name, in place of method and route: renaming the route then makes no key new, though a retry has to come on the path of the first request
/// - `store = Billing`: the state that holds the store, where an application has several databases of one kind
/// - `crate = ::my_crate::idem`: where the adapter is re-exported
///
/// A duration is a sum of whole numbers with the units `s`, `m`, `h` and `d`, each at most once and in any order:
/// `"90m"`, `"1d 12h"`. The type that `scope` names implements `Scope`; a name bound inside a pattern can be given too,
/// and a tuple's field by its number (`"claims.0"`). An operation has 1 to 100 of the characters `A-Z a-z 0-9 _ . : -`.
///
/// # Other attributes
///
/// Attributes below this one go to the function that axum calls, but for `#[instrument]`, which goes to the handler as
/// it is written: `skip(tx)` works. Attributes above this one see the handler as it is written: `#[utoipa::path]` finds
/// the extractors there, and `#[axum::debug_handler]` would take the transaction for one, so it goes below.
///
/// What was chosen is appended to the handler's documentation.
#[proc_macro_attribute]
pub fn idempotent_axum(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    idempotent::<Axum>(arguments.into(), &item.into()).into()
}

fn idempotent<F: Framework>(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let (given, function, handler) = read::<F>(arguments, item);
    match (handler, function) {
        (Ok(handler), _) => expand::expand::<F>(&handler),
        (Err(error), Some(function)) => fallback::expand::<F>(&given, &function, &error),
        (Err(error), None) => {
            let messages = error.to_compile_error();
            quote!(#messages #item)
        }
    }
}

/// The handler or all mistakes, and, for a fallback, what of it could be read.
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
