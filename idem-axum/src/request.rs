//! The first read of a request, before any extractor of the handler runs.

use std::borrow::Cow;

use axum::extract::{FromRef, FromRequestParts, MatchedPath, OriginalUri};
use axum::response::Response;
use http::request::Parts;
use http::{Extensions, Method, Uri};
use idem_core::Provider as _;
use idem_core::adapter::{Admissible, RequestHead, Source, StoreOf};

use crate::response::respond;

/// The key, and the head of the request. With `OPTIONAL`, a request without a key passes.
pub struct Preflight<P: Source, const OPTIONAL: bool>(pub(crate) Admissible<StoreOf<P>, Head>);

/// Method, target and route of a request.
#[derive(Debug)]
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    /// For the hook before the handler; empty if the engine has none.
    pub(crate) extensions: Extensions,
}

impl RequestHead for Head {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    fn template(&self) -> Option<Cow<'_, str>> {
        let route = self.route.as_ref()?;
        Some(Cow::Borrowed(route.as_str()))
    }
}

impl<S, P, const OPTIONAL: bool> FromRequestParts<S> for Preflight<P, OPTIONAL>
where
    S: Send + Sync,
    P: Source,
    P::Provider: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let provider = P::Provider::from_ref(state);
        let engine = provider.engine();
        // Inside a nested router, `parts.uri` lacks the prefix and the path parameters in it.
        let original = parts.extensions.get::<OriginalUri>();
        let uri = original.map_or(&parts.uri, |original| &original.0);
        let head = Head {
            method: parts.method.clone(),
            uri: uri.clone(),
            route: parts.extensions.get::<MatchedPath>().cloned(),
            extensions: if engine.has_before_handler() {
                parts.extensions.clone()
            } else {
                Extensions::new()
            },
        };
        let lines = |name: &str| parts.headers.get_all(name).iter().map(AsRef::as_ref);
        let admissible = Admissible::new(engine, head, lines, OPTIONAL);
        admissible.map(Self).map_err(respond)
    }
}
