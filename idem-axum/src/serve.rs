//! From the extracted arguments to the response.

use std::future::Future;

use axum::response::Response;
use bytes::Bytes;
use idem_core::canonical::EncodeError;
use idem_core::{
    Asked, Attempt, Call, Content, Fingerprint, Lent, Operation, Policy, Problem, Store,
};

use crate::request::{Preflight, Source, StoreOf};
use crate::response::{Handled, complete, respond};

/// Answers a request whose arguments are all extracted.
///
/// The attempt runs on a task of its own, so it runs to its end when the client goes away.
pub async fn serve<P, W, F, const OPTIONAL: bool>(
    request: Preflight<P, OPTIONAL>,
    policy: &'static Policy,
    scope: Option<String>,
    content: Result<Content, EncodeError>,
    raw: Bytes,
    work: W,
) -> Response
where
    P: Source,
    W: FnOnce(Lent<<StoreOf<P> as Store>::Claim>, Attempt) -> F + Send + 'static,
    F: Future<Output = Handled> + Send + 'static,
{
    let engine = request.engine;
    let named = policy.operation().map(Operation::named);
    let Some(operation) = named.or(request.operation) else {
        tracing::error!("no route matched, so the endpoint has no identity; name its `operation`");
        return respond(engine.refuse(Problem::Misconfigured));
    };
    let content = match content {
        Ok(content) => content,
        Err(error) => {
            tracing::error!(%error, %operation, "the body can't be fingerprinted");
            return respond(engine.refuse(Problem::Misconfigured));
        }
    };
    let asked = Asked {
        method: request.method.as_str(),
        path: request.uri.path(),
        query: request.uri.query(),
        raw: &raw,
    };
    let call = Call {
        scope,
        operation,
        key: request.key,
        fingerprint: Fingerprint::new(asked, &content, engine.config().fingerprint_secret()),
        likely_retry: request.likely_retry,
    };
    let turn = match engine.admit(call, policy).await {
        Ok(turn) => turn,
        Err(response) => return respond(response),
    };
    let limit = engine.config().response_limit();
    let attempt = turn.run(move |lent, attempt| {
        let handled = work(lent, attempt);
        async move { complete(handled.await, limit).await }
    });
    match tokio::spawn(attempt).await {
        Ok(response) => respond(response),
        // The runtime is shutting down, and has dropped the attempt wherever it was.
        Err(_cancelled) => respond(engine.refuse(Problem::OutcomeUnknown)),
    }
}
