//! A reply as a response of axum.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;

use crate::scene::{Failed, Reply, RideError};

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let body = match self.body.sent() {
            Either::Left(bytes) => Body::from(bytes),
            Either::Right(stream) => Body::from_stream(stream),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status");
        for (name, value) in self.headers {
            let value = HeaderValue::from_bytes(&value).expect("a header's value");
            let name = HeaderName::from_static(name);
            response.headers_mut().append(name, value);
        }
        if let Some(settle) = self.settle {
            response.extensions_mut().insert(settle);
        }
        response
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl IntoResponse for RideError {
    fn into_response(self) -> Response {
        match self {
            Self::Failed(failed) => failed.into_response(),
            Self::Step(error) => error.into_response(),
        }
    }
}
