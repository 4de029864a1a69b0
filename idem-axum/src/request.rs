//! The first look at a request, before any extractor of the handler runs.

use axum::extract::{FromRef, FromRequestParts, MatchedPath, OriginalUri};
use axum::response::Response;
use http::request::Parts;
use idem_core::Provider as _;
use idem_core::adapter::{Admissible, Head, Source, StoreOf};

use crate::response::respond;

/// The key, and whatever else of a request is needed but its body. `OPTIONAL` lets a request
/// without a key pass.
pub struct Preflight<P: Source, const OPTIONAL: bool>(pub(crate) Admissible<StoreOf<P>>);

impl<S, P, const OPTIONAL: bool> FromRequestParts<S> for Preflight<P, OPTIONAL>
where
    S: Send + Sync,
    P: Source,
    P::Provider: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let provider = P::Provider::from_ref(state);
        // Inside a nested router `parts.uri` lacks the prefix, and with it path parameters.
        let original = parts.extensions.get::<OriginalUri>();
        let uri = original.map_or(&parts.uri, |original| &original.0);
        let template = parts.extensions.get::<MatchedPath>();
        let head = Head {
            method: parts.method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            template: template.map(|path| path.as_str().to_owned()),
        };
        let lines = |name: &str| parts.headers.get_all(name).iter().map(AsRef::as_ref);
        let admissible = Admissible::new(provider.engine(), head, lines, OPTIONAL);
        admissible.map(Self).map_err(respond)
    }
}
