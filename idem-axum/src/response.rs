//! Conversion of responses in both directions.

use axum::body::{Body, HttpBody as _};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use idem_core::adapter::{self, HandlerOutcome, is_endless};

/// A type that a handler may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a response",
    label = "the handler's return type is not a response",
    note = "return a type that implements `axum::response::IntoResponse`, or a `Result` of two"
)]
pub trait HandlerResponse {
    fn into_handler_response(self) -> Response;
}

#[diagnostic::do_not_recommend]
impl<R: IntoResponse> HandlerResponse for R {
    fn into_handler_response(self) -> Response {
        self.into_response()
    }
}

/// Converts a complete response for axum.
pub(crate) fn respond(response: adapter::Response) -> Response {
    response.map(Body::from)
}

/// Completes a handler's response. A body is read up to `limit` bytes; a body without an end is not
/// read at all.
pub(crate) async fn complete(
    outcome: HandlerOutcome<Response>,
    limit: usize,
) -> HandlerOutcome<adapter::Response> {
    let (response, settle, closed) = match outcome {
        HandlerOutcome::Answered {
            response,
            settle,
            closed,
        } => (response, settle, closed),
        HandlerOutcome::TooLarge => return HandlerOutcome::TooLarge,
        HandlerOutcome::Broken(error) => return HandlerOutcome::Broken(error),
    };
    let (parts, body) = response.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE);
    let endless = content_type.is_some_and(|value| is_endless(value.as_bytes()));
    let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if endless || least > limit {
        return HandlerOutcome::TooLarge;
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => HandlerOutcome::Answered {
            response: http::Response::from_parts(parts, body.to_bytes()),
            settle,
            closed,
        },
        Err(error) if is_too_large(&*error) => HandlerOutcome::TooLarge,
        Err(error) => HandlerOutcome::Broken(error),
    }
}

fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<LengthLimitError>()
}
