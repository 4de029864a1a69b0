//! From the extracted arguments to the response.

use std::future::Future;

use actix_web::HttpResponse;
use bytes::Bytes;
use idem_core::adapter::{ClaimGuard, DetachOnDrop, HandlerOutcome, Policy, Source, StoreOf};
use idem_core::{Attempt, Content, EncodeError, Store};

use crate::detached::{Detached, Rest};
use crate::request::Preflight;
use crate::response::{Kept, complete, respond, respond_with};

/// Answers a request once all of its arguments are extracted.
///
/// The attempt runs on the request's task. If the client leaves, it moves to a task of its own, on
/// the same thread.
pub async fn serve<P, W, F, const OPTIONAL: bool>(
    request: Preflight<P, OPTIONAL>,
    policy: &'static Policy,
    scope: Option<String>,
    content: Result<Content, EncodeError>,
    raw: Bytes,
    work: W,
) -> HttpResponse
where
    P: Source + 'static,
    W: FnOnce(ClaimGuard<<StoreOf<P> as Store>::Claim>, Attempt) -> F + 'static,
    F: Future<Output = HandlerOutcome<HttpResponse>> + 'static,
{
    let Preflight {
        admissible,
        unbound,
    } = request;
    let content = unbound.map_or(content, |argument| Err(not_bound(argument)));
    let limit = admissible.response_limit();
    let turn = match admissible.admit(policy, scope, content, &raw).await {
        Ok(turn) => turn,
        Err(response) => return respond(response),
    };
    let kept = Kept::default();
    let keeps = Kept::clone(&kept);
    let attempt = turn.run(move |claim, attempt| {
        let outcome = work(claim, attempt);
        async move { complete(outcome.await, limit, &keeps).await }
    });
    let detached = Detached::of_this_worker();
    let attempt: Rest = Box::pin(attempt);
    let attempt = DetachOnDrop::new(attempt, move |rest| detached.finish(rest));
    respond_with(attempt.await, &kept)
}

/// The fault of an endpoint where an `argument` has read the body, and is not what the key is bound
/// to: a retry with another body would be answered by the first one's response.
fn not_bound(argument: &str) -> EncodeError {
    EncodeError::Custom(format!(
        "`{argument}` has read it, and is not bound to the key; name the argument by \
         `body = \"…\"` and implement `RequestBody` for it, or bind the bytes by \
         `fingerprint = \"raw\"`; of several arguments that read the body keep one"
    ))
}
