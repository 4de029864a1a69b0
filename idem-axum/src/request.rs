//! The first look at a request, before any extractor of the handler runs.

use std::marker::PhantomData;

use axum::extract::{FromRef, FromRequestParts, MatchedPath, OriginalUri};
use axum::response::Response;
use http::request::Parts;
use http::{Method, Uri};
use idem_core::{Engine, IdempotencyKey, Operation, Problem, Provider, Transaction};

use crate::response::respond;

/// The key, and whatever else of a request is needed but its body. `OPTIONAL` lets a request
/// without a key pass.
pub struct Preflight<P: Source, const OPTIONAL: bool> {
    pub(crate) engine: Engine<StoreOf<P>>,
    pub(crate) key: Option<IdempotencyKey>,
    /// `None` where no route matched, as in a fallback.
    pub(crate) operation: Option<Operation>,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// Whether the request says that it is one.
    pub(crate) likely_retry: bool,
}

impl<S, P, const OPTIONAL: bool> FromRequestParts<S> for Preflight<P, OPTIONAL>
where
    S: Send + Sync,
    P: Source,
    P::Provider: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let engine = P::Provider::from_ref(state).engine().clone();
        let refuse = |problem| Err(respond(engine.refuse(problem)));
        if parts.method == Method::GET || parts.method == Method::HEAD {
            tracing::error!(
                "`#[idempotent]` is on a route for {}, which is read-only",
                parts.method
            );
            return refuse(Problem::Misconfigured);
        }
        let header = engine.config().header();
        let lines = parts.headers.get_all(header).iter();
        let key = match IdempotencyKey::from_lines(lines.map(AsRef::as_ref)) {
            Ok(None) if !OPTIONAL => return refuse(Problem::KeyMissing),
            Ok(key) => key,
            Err(error) => return refuse(Problem::KeyMalformed(error)),
        };
        let retry_header = engine.config().retry_header();
        let likely_retry = retry_header.is_some_and(|name| {
            let mut counts = parts.headers.get_all(name).iter();
            counts.any(|count| count != "0")
        });
        let template = parts.extensions.get::<MatchedPath>();
        let operation =
            template.map(|path| Operation::of_route(parts.method.as_str(), path.as_str()));
        // Inside a nested router `parts.uri` lacks the prefix, and with it path parameters.
        let original = parts.extensions.get::<OriginalUri>();
        let uri = original.map_or_else(|| parts.uri.clone(), |original| original.0.clone());
        Ok(Self {
            engine,
            key,
            operation,
            method: parts.method.clone(),
            uri,
            likely_retry,
        })
    }
}

/// Which part of the state holds the engine.
///
/// A type of its own, and not a projection in the handler's signature: on a signature with
/// `<sqlx::Transaction<'_, _> as Transaction>::Store` in it, incremental builds with rustc 1.95 can
/// crash (<https://github.com/rust-lang/rust/issues/155740>).
pub trait Source {
    type Provider: Provider;
}

/// The store behind a source.
pub(crate) type StoreOf<P> = <<P as Source>::Provider as Provider>::Store;

/// The engine for a handler's transaction.
#[derive(Debug)]
pub struct Of<T>(PhantomData<fn() -> T>);

impl<T: Transaction> Source for Of<T> {
    type Provider = Engine<T::Store>;
}

/// The engine that `store = …` names.
#[derive(Debug)]
pub struct Named<P>(PhantomData<fn() -> P>);

impl<P: Provider> Source for Named<P> {
    type Provider = P;
}
