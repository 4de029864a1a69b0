//! A reply as a response of actix-web.

use actix_web::body::{BodyStream, BoxBody};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, Responder};
use futures_util::future::Either;

use crate::scene::Reply;

impl Responder for Reply {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).expect("a status");
        let mut response = HttpResponse::build(status);
        for (name, value) in self.headers {
            response.append_header((name, value.as_slice()));
        }
        if let Some(settle) = self.settle {
            response.extensions_mut().insert(settle);
        }
        match self.body.sent() {
            Either::Left(bytes) => response.body(bytes),
            Either::Right(stream) => response.body(BodyStream::new(stream)),
        }
    }
}
