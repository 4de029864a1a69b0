//! The answer to a client that prefers not to wait for the end of an attempt (rule C7).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use tokio::time::{Instant, sleep_until};
use tracing::Span;

use super::{Prepared, Turn, with_key_echo};
use crate::response::Response;
use crate::single_flight::Progress;
use crate::store::Store;

const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The seconds until the client asks again.
const AGAIN: u64 = 2;

/// A client that prefers an early answer to a complete one.
#[derive(Debug)]
pub struct Patience {
    until: Instant,
    progress: Progress,
    span: Span,
    echo: Option<(HeaderName, HeaderValue)>,
}

impl<S: Store> Turn<S> {
    /// The patience of the client; `None` if it waits to the end.
    pub fn patience(&self) -> Option<Patience> {
        self.request.patience?;
        Some(Patience {
            until: self.until,
            progress: self.owner.as_ref()?.progress(),
            span: self.observation.span.clone(),
            echo: self.engine.key_echo(&self.request),
        })
    }
}

impl Prepared {
    /// How long a duplicate waits for the attempt in flight.
    pub(super) fn wait(&self) -> Duration {
        self.patience.unwrap_or(self.policy.wait)
    }
}

/// The answer of an attempt, or that it goes on.
///
/// The early answer comes only while the handler runs: whether it has to run at all is always found out
/// before. The attempt is dropped then, see [`DetachOnDrop`](crate::adapter::DetachOnDrop).
pub async fn answer_within<A>(mut attempt: A, patience: Option<Patience>) -> Response
where
    A: Future<Output = Response> + Unpin,
{
    let Some(patience) = patience else {
        return attempt.await;
    };
    let mut timer = pin!(sleep_until(patience.until));
    let answer = poll_fn(|context| {
        if let Poll::Ready(answer) = pin!(&mut attempt).poll(context) {
            return Poll::Ready(Some(answer));
        }
        let is_over = timer.is_elapsed() || timer.as_mut().poll(context).is_ready();
        if is_over && patience.progress.is_running_here() {
            return Poll::Ready(None);
        }
        Poll::Pending
    });
    answer.await.unwrap_or_else(|| {
        let Patience { span, echo, .. } = patience;
        span.in_scope(|| tracing::info!(status = 202, "the attempt goes on"));
        with_key_echo(response(), echo)
    })
}

/// The request is being worked on; the same request again gets the answer.
pub(super) fn response() -> Response {
    let mut response = Response::new(Bytes::from_static(br#"{"status":"pending"}"#));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, json);
    headers.insert(APPLIED, HeaderValue::from_static("respond-async"));
    headers.insert(RETRY_AFTER, AGAIN.into());
    response
}
