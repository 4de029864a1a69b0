//! From the extracted arguments to the response.

use std::future::Future;
use std::pin::Pin;

use actix_web::HttpResponse;
use idem_core::adapter::{
    self, ClaimGuard, DetachOnDrop, HandlerOutcome, KeySource, Policy, Source, StoreOf,
};
use idem_core::store::Claim;
use idem_core::{Attempt, Content, EncodeError, Store};

use crate::detached::{Detached, Rest};
use crate::request::{Preflight, Raw};
use crate::response::{Kept, complete, respond, respond_with};

/// The attempt of a handler.
type Attempting = Pin<Box<dyn Future<Output = HandlerOutcome<HttpResponse>>>>;

/// Runs a handler with its arguments on a claim.
type Work<C, A> = fn(ClaimGuard<C>, Attempt, A) -> Attempting;

/// Hides the type of an attempt.
pub fn attempting<F>(attempt: F) -> Attempting
where
    F: Future<Output = HandlerOutcome<HttpResponse>> + 'static,
{
    Box::pin(attempt)
}

/// Answers a request once all of its arguments are extracted.
///
/// The attempt runs on the request's task. If the client leaves, or has an early answer, it moves to a task
/// of its own, on the same thread.
///
/// `work` runs the handler with its `arguments`. Neither type is of one handler alone, so the compiler
/// checks this future once for all handlers that have the same arguments.
#[expect(clippy::too_many_arguments, reason = "only generated code calls it")]
pub async fn serve<P, K, B, C, A>(
    mut request: Preflight<P, K, B>,
    policy: &'static Policy,
    key: K::Argument,
    scope: Option<String>,
    content: Result<Content, EncodeError>,
    Raw(raw): Raw,
    arguments: A,
    work: Work<C, A>,
) -> HttpResponse
where
    P: Source + 'static,
    StoreOf<P>: Store<Claim = C, Connection = C::Connection>,
    K: KeySource,
    C: Claim,
    A: 'static,
{
    let raw = match (raw, &content) {
        (Ok(raw), _) => raw,
        // The handler has its rejection, and answers it.
        (Err(_), Ok(Content::Rejected(_))) => None,
        (Err(error), _) => return HttpResponse::from_error(error),
    };
    let limit = request.0.response_limit(policy);
    let raw = raw.as_deref();
    let before = request.0.before_handler();
    let before = before.map(|(hook, head)| (hook, head.0.clone()));
    let turn = match request.0.admit(policy, key, scope, content, raw).await {
        Ok(turn) => turn,
        Err(response) => return respond(response),
    };
    let kept = Kept::default();
    let keeps = Kept::clone(&kept);
    let patience = turn.patience();
    let attempt = turn.run(async move |mut claim, attempt| {
        if let Some((hook, request)) = before
            && let Err(error) = hook.run(claim.connection(), &attempt, &request).await
        {
            return HandlerOutcome::Broken(error);
        }
        complete(work(claim, attempt, arguments).await, limit, &keeps).await
    });
    let detached = Detached::of_this_worker();
    let attempt: Rest = Box::pin(attempt);
    let attempt = DetachOnDrop::new(attempt, move |rest| detached.finish(rest));
    respond_with(adapter::answer_within(attempt, patience).await, &kept)
}
