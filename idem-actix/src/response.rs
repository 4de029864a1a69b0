//! Conversion of responses in both directions.

use std::cell::Cell;
use std::rc::Rc;

use actix_web::body::{self, BodySize, BoxBody, MessageBody as _};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder};
use idem_core::adapter::{self, HandlerOutcome, is_endless};
use idem_core::store::BoxError;
use idem_core::{Problem, Replayed};

/// A type that a handler may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a response",
    label = "the handler's return type is not a response",
    note = "return a type that implements `actix_web::Responder`, or a `Result` of one and an `actix_web::ResponseError`"
)]
pub trait HandlerResponse {
    fn into_handler_response(self, request: &HttpRequest) -> HttpResponse;
}

#[diagnostic::do_not_recommend]
impl<R: Responder> HandlerResponse for R {
    fn into_handler_response(self, request: &HttpRequest) -> HttpResponse {
        self.respond_to(request).map_into_boxed_body()
    }
}

/// The part of a handler's response that is not recorded. Its error and its extensions are for the
/// middlewares around the handler.
pub(crate) type Kept = Rc<Cell<Option<HttpResponse<()>>>>;

/// Marks the handler's own response, to distinguish it from the library's answers.
#[derive(Clone)]
struct Own;

/// Converts a complete response for actix-web.
pub(crate) fn respond(response: adapter::Response) -> HttpResponse {
    respond_with(response, &Kept::default())
}

/// As [`respond`], with the part that was kept, if this is the handler's own response.
pub(crate) fn respond_with(response: adapter::Response, kept: &Kept) -> HttpResponse {
    let own = response.extensions().get::<Own>().and(kept.take());
    let mut sent = own.unwrap_or_else(|| HttpResponse::Ok().finish().drop_body());
    let (head, body) = response.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16());
    *sent.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(problem) = head.extensions.get::<Problem>() {
        sent.extensions_mut().insert(*problem);
    }
    if let Some(replayed) = head.extensions.get::<Replayed>() {
        sent.extensions_mut().insert(*replayed);
    }
    sent.headers_mut().clear();
    for line in &head.headers {
        let name = HeaderName::from_bytes(line.0.as_ref());
        let value = HeaderValue::from_bytes(line.1.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            sent.headers_mut().append(name, value);
        }
    }
    sent.set_body(BoxBody::new(body))
}

/// Completes a handler's response. A body is read up to `limit` bytes; a body without an end is not
/// read at all.
pub(crate) async fn complete(
    outcome: HandlerOutcome<HttpResponse>,
    limit: usize,
    kept: &Kept,
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
    let (head, body) = response.into_parts();
    let content_type = head.headers().get(CONTENT_TYPE);
    let endless = content_type.is_some_and(|value| is_endless(value.as_bytes()));
    let is_too_large = |size| matches!(size, BodySize::Sized(size) if usize::try_from(size).is_ok_and(|size| size > limit));
    if endless || is_too_large(body.size()) {
        return HandlerOutcome::TooLarge;
    }
    let body = match body::to_bytes_limited(body, limit).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return HandlerOutcome::Broken(error.to_string().into()),
        Err(_limit) => return HandlerOutcome::TooLarge,
    };
    let response = neutral(&head, body);
    kept.set(Some(head));
    match response {
        Ok(response) => HandlerOutcome::Answered {
            response,
            settle,
            closed,
        },
        Err(error) => HandlerOutcome::Broken(error),
    }
}

/// The status of a response, in the type of the `http` crate.
pub(crate) fn status<B>(response: &HttpResponse<B>) -> http::StatusCode {
    http::StatusCode::from_u16(response.status().as_u16())
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}

/// The same response in the types of the `http` crate.
fn neutral(head: &HttpResponse<()>, body: bytes::Bytes) -> Result<adapter::Response, BoxError> {
    let mut response = http::Response::new(body);
    *response.status_mut() = status(head);
    for (name, value) in head.headers() {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes())?;
        let value = http::HeaderValue::from_bytes(value.as_bytes())?;
        response.headers_mut().append(name, value);
    }
    response.extensions_mut().insert(Own);
    Ok(response)
}
