//! The first read of a request, before any extractor of the handler runs.

use std::borrow::Cow;
use std::marker::PhantomData;

use axum::extract::{FromRequestParts, MatchedPath, OriginalUri};
use axum::response::Response;
use http::request::Parts;
use http::{Extensions, Method, Uri};
use idem_core::adapter::{
    Admissible, HeaderNames, InHeader, KeySource, RequestHead, Source, StoreOf,
};

use crate::locate::Locate;
use crate::response::respond;

/// The head of the request. `K` says where its key is, and `B` names the headers that are bound to the
/// key.
pub struct Preflight<P: Source, K = InHeader, B = ()>(
    pub(crate) Admissible<StoreOf<P>, Head, K>,
    PhantomData<fn() -> B>,
);

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

impl<S, P, K, B> FromRequestParts<S> for Preflight<P, K, B>
where
    S: Send + Sync,
    P: Locate<S>,
    K: KeySource,
    B: HeaderNames,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let engine = P::locate(parts, state).await?;
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
        let admissible = Admissible::new(engine, head, lines, B::NAMES);
        admissible
            .map(|admissible| Self(admissible, PhantomData))
            .map_err(respond)
    }
}
