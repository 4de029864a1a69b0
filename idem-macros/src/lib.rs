//! The attribute `#[idempotent]` of `idem-axum` and `idem-actix`. Use it through those crates: what it writes refers to
//! them.
//!
//! A handler goes through four stages, one module each: `parse` reads the attribute and the function, `check` holds
//! the rules and reports every mistake at once, `model` is what is known then, and `expand` writes the function that
//! the framework calls. After a mistake, `fallback` stands in for `expand`. The options are one table, in `options`;
//! what differs between web frameworks is in `framework`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn};

use errors::Errors;
use framework::{Actix, Axum, Framework};
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
///   database, such as `&mut PgConnection` or `&mut MySqlConnection`, or `sqlx`'s transaction of it, such as `&mut Transaction<'_, Postgres>`,
///   which is a savepoint.
/// - **By `&`**: the attempt, as `&Attempt`. It can be left out.
/// - **By value**: axum's extractors, in their usual order; the last of them reads the body. All of them run before a
///   response is replayed, and so does the authorization that they do.
///
/// The handler returns what any axum handler does. It runs to its end even when the client is gone, in a task of its
/// own: extractors are `Send + 'static`, and so is what a generic parameter stands for.
///
#[doc = include_str!("arguments.md")]
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

/// Makes an actix-web handler run once per idempotency key: its writes and its response are stored in one transaction,
/// and a retry gets that response.
///
/// # Handlers
///
/// The attribute goes on a free `async fn`. What its arguments are follows from how they are taken:
///
/// - **By `&mut`**: the transaction. There is one, and its type picks the store: the connection type of a supported
///   database, such as `&mut PgConnection` or `&mut MySqlConnection`, or `sqlx`'s transaction of it, such as `&mut Transaction<'_, Postgres>`,
///   which is a savepoint.
/// - **By `&`**: the attempt, as `&Attempt`. It can be left out.
/// - **By value**: actix-web's extractors, in any order. The one that implements `RequestBody` is the body; `body` names
///   it where the handler is generic. All of them run before a response is replayed, and so does the authorization that
///   they do.
///
/// The handler returns what any actix-web handler does. It runs to its end even when the client is gone, in a task of
/// its own on the same thread: it need not be `Send`.
///
#[doc = include_str!("arguments.md")]
///
/// # Other attributes
///
/// Attributes below this one go to the function that actix-web calls, but for `#[instrument]`, which goes to the handler
/// as it is written: `skip(tx)` works. Attributes above this one see the handler as it is written: `#[utoipa::path]`
/// finds the extractors there. `#[actix_web::post("…")]` and its siblings can stand on either side.
///
/// What was chosen is appended to the handler's documentation.
#[proc_macro_attribute]
pub fn idempotent_actix(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    idempotent::<Actix>(arguments.into(), &item.into()).into()
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
