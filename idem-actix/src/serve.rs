//! From the extracted arguments to the response.

use std::future::Future;

use actix_web::{HttpResponse, rt};
use bytes::Bytes;
use idem_core::adapter::{Handled, Source, StoreOf};
use idem_core::canonical::EncodeError;
use idem_core::{Attempt, Content, Lent, Policy, Problem, Store};

use crate::request::Preflight;
use crate::response::{Kept, complete, respond, respond_with};

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
) -> HttpResponse
where
    P: Source + 'static,
    W: FnOnce(Lent<<StoreOf<P> as Store>::Claim>, Attempt) -> F + 'static,
    F: Future<Output = Handled<HttpResponse>> + 'static,
{
    let engine = request.0.engine.clone();
    let turn = match request.0.admit(policy, scope, content, &raw).await {
        Ok(turn) => turn,
        Err(response) => return respond(response),
    };
    let limit = engine.config().response_limit();
    let kept = Kept::default();
    let keeps = Kept::clone(&kept);
    let attempt = turn.run(move |lent, attempt| {
        let handled = work(lent, attempt);
        async move { complete(handled.await, limit, &keeps).await }
    });
    match rt::spawn(attempt).await {
        Ok(response) => respond_with(response, &kept),
        // The worker is stopping, and has dropped the attempt wherever it was.
        Err(_cancelled) => respond(engine.refuse(Problem::OutcomeUnknown)),
    }
}
