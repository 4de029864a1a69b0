//! The first look at a request, before any extractor of the handler runs.

use axum::extract::{FromRef, FromRequestParts, MatchedPath, OriginalUri};
use axum::response::Response;
use http::request::Parts;
use http::{Method, Uri};
use idem_core::{Engine, IdempotencyKey, Operation, Problem, Provider};

use crate::response::respond;

/// The key, and whatever else of a request is needed but its body. `OPTIONAL` lets a request
/// without a key pass.
#[derive(Debug)]
pub struct Preflight<P: Provider, const OPTIONAL: bool> {
    pub(crate) engine: Engine<P::Store>,
    pub(crate) key: Option<IdempotencyKey>,
    /// `None` where no route matched, as in a fallback.
    pub(crate) operation: Option<Operation>,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

impl<S, P, const OPTIONAL: bool> FromRequestParts<S> for Preflight<P, OPTIONAL>
where
    S: Send + Sync,
    P: Provider + FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let engine = P::from_ref(state).engine().clone();
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
        })
    }
}
