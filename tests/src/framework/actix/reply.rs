//! A reply as a response of actix-web.

use std::fmt;

use actix_web::body::{BodyStream, BoxBody};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use futures_util::future::Either;

use crate::scene::{Failed, Reply, RideError};

impl Responder for Reply {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.into_response()
    }
}

impl Reply {
    fn into_response(self) -> HttpResponse {
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

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed with {}", self.0.status)
    }
}

impl ResponseError for Failed {
    fn error_response(&self) -> HttpResponse {
        self.0.clone().into_response()
    }
}

impl fmt::Display for RideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failed) => failed.fmt(f),
            Self::Step(error) => error.fmt(f),
        }
    }
}

impl ResponseError for RideError {
    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Failed(failed) => failed.error_response(),
            Self::Step(error) => error.error_response(),
        }
    }
}
