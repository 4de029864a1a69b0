//! A reply as a response of axum.

use std::convert::Infallible;
use std::io;
use std::task::Poll;

use axum::body::Body as AxumBody;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::scene::{Body, Reply};

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(body(self.body));
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

fn body(body: Body) -> AxumBody {
    match body {
        Body::Effect => AxumBody::empty(),
        Body::Bytes(bytes) => AxumBody::from(bytes),
        Body::Stream(mut size) => {
            let parts = std::iter::from_fn(move || {
                let part = size.min(1000);
                size -= part;
                (part > 0).then(|| Ok::<_, Infallible>(Bytes::from(vec![b's'; part])))
            });
            AxumBody::from_stream(stream::iter(parts))
        }
        Body::Broken => AxumBody::from_stream(stream::iter([
            Ok(Bytes::from_static(b"part")),
            Err(io::Error::other("the scene says so")),
        ])),
        Body::Endless(control) => AxumBody::from_stream(stream::poll_fn(move |_| {
            control.poll();
            Poll::<Option<io::Result<Bytes>>>::Pending
        })),
    }
}
