//! Responses, both ways.

use actix_web::body::{self, BodySize, MessageBody as _};
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, Responder};
use http::{HeaderName, HeaderValue};
use idem_core::adapter::Handled;
use idem_core::store::BoxError;
use idem_core::{Ran, Settle};

/// A body of this type has no end.
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// What a handler may return.
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

/// A complete response on its way out.
pub(crate) fn respond(response: idem_core::Response) -> HttpResponse {
    let (head, body) = response.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16());
    let mut response = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in &head.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response.body(body)
}

/// Completes a handler's response: a body is read up to `limit` bytes, one that has no end is not
/// read at all.
pub(crate) async fn complete(handled: Handled<HttpResponse>, limit: usize) -> Ran {
    let (closed, response) = match handled {
        Ok(handled) => handled,
        Err(error) => return Ran::Broken(error),
    };
    let (head, body) = response.into_parts();
    let content_type = head.headers().get(CONTENT_TYPE);
    let endless = content_type.is_some_and(|value| {
        let kind = value.as_bytes().get(..EVENT_STREAM.len());
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
    });
    let is_too_large = |size| matches!(size, BodySize::Sized(size) if usize::try_from(size).is_ok_and(|size| size > limit));
    if endless || is_too_large(body.size()) {
        return Ran::TooLarge;
    }
    let body = match body::to_bytes_limited(body, limit).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Ran::Broken(error.to_string().into()),
        Err(_limit) => return Ran::TooLarge,
    };
    match neutral(&head, body) {
        Ok(response) => Ran::Answered { closed, response },
        Err(error) => Ran::Broken(error),
    }
}

/// The same in the types that no framework owns.
fn neutral(head: &HttpResponse<()>, body: bytes::Bytes) -> Result<idem_core::Response, BoxError> {
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(head.status().as_u16())?;
    for (name, value) in head.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes())?;
        let value = HeaderValue::from_bytes(value.as_bytes())?;
        response.headers_mut().append(name, value);
    }
    if let Some(settle) = head.extensions().get::<Settle>() {
        response.extensions_mut().insert(*settle);
    }
    Ok(response)
}
