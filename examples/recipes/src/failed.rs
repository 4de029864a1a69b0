//! The error of handlers that have no other.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Something failed inside: 500, nothing is kept, and the request may be sent again.
#[derive(Debug)]
pub(crate) struct Failed;

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        eprintln!("failed: {error}");
        Self
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
