//! Multipart bodies, which are bound to the key by their parts.

use std::fmt;
use std::future::Future;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use idem_core::adapter::{Meter, Spooling, content_of_parts};
use idem_core::{Content, EncodeError, MultipartLimits, Part, PartHead, Spooled};

use crate::body::{Remembered, RequestBody};

/// A `multipart/form-data` body that is bound to the key by its parts ([rule F6]).
///
/// A client chooses a new boundary on each attempt, so the bytes of an upload are never the same. This
/// extractor binds each part by its name, file name, content type and the digest of its content, in
/// their order.
///
/// ```
/// use idem_axum::{Multipart, Spooled, idempotent};
/// # use axum::http::StatusCode;
/// # use sqlx::SqliteConnection;
///
/// #[idempotent(ttl = "24h", unscoped)]
/// async fn upload(tx: &mut SqliteConnection, form: Multipart) -> Result<String, StatusCode> {
///     let file = form.part("file").ok_or(StatusCode::BAD_REQUEST)?;
///     match &file.content {
///         Spooled::Memory(bytes) => { /* a small part */ }
///         Spooled::File(path) => { /* a temporary file: read it, or `persist` it */ }
///     }
///     Ok(format!("{} bytes", file.size))
/// }
/// ```
///
/// The key can be claimed only when the digest is known. So all parts are read before the handler
/// runs, also on a replay. A [`Sink`] says where to: by default into memory up to a bound, and beyond
/// it into temporary files ([`Spool`]). The parts in memory are at most those of
/// [`MultipartLimits::with_memory`], however large the upload is.
///
/// Limits are an extension of the request, set by a layer: `Extension(MultipartLimits::new()…)`.
/// axum's `DefaultBodyLimit` is in force as well, and is 2 MB if it is not set.
///
/// [rule F6]: crate::_documentation::contract#f-fingerprint
#[derive(Debug)]
pub struct Multipart<S: Sink = Spool> {
    /// The parts, in their order.
    pub parts: Vec<Part<S::Stored>>,
}

impl<S: Sink> Multipart<S> {
    /// The first part with this name.
    pub fn part(&self, name: &str) -> Option<&Part<S::Stored>> {
        let mut parts = self.parts.iter();
        parts.find(|part| part.head.name.as_deref() == Some(name))
    }
}

#[diagnostic::do_not_recommend]
impl<S: Sink> RequestBody for Multipart<S> {
    fn content(&self) -> Result<Content, EncodeError> {
        content_of_parts(&self.parts)
    }
}

/// Where the parts of a [`Multipart`] go while they are read.
///
/// A sink is also an extractor of the request's head, so it can take what it needs from the state.
///
/// It runs on every request before the key is claimed, so a retry stores its parts once more. Let a
/// part's place depend on its content, or delete what the handler did not use.
///
/// ```
/// use std::convert::Infallible;
///
/// use axum::extract::FromRequestParts;
/// use axum::http::request::Parts;
/// use axum::response::Response;
/// use idem_axum::{Multipart, PartContent, PartHead, Sink};
///
/// /// Counts the lines of each part, and keeps none of its bytes.
/// struct Lines;
///
/// impl Sink for Lines {
///     type Stored = usize;
///
///     async fn store(
///         &mut self,
///         _: &PartHead,
///         content: &mut PartContent<'_>,
///     ) -> Result<usize, Response> {
///         let mut lines = 0;
///         while let Some(chunk) = content.chunk().await? {
///             lines += chunk.iter().filter(|byte| **byte == b'\n').count();
///         }
///         Ok(lines)
///     }
/// }
///
/// impl<S: Sync> FromRequestParts<S> for Lines {
///     type Rejection = Infallible;
///
///     async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
///         Ok(Self)
///     }
/// }
/// # fn is_extractor<T: axum::extract::FromRequest<()>>() {}
/// # is_extractor::<Multipart<Lines>>();
/// ```
pub trait Sink: Send {
    /// What the handler gets in place of a part's bytes.
    type Stored: Send;

    /// Stores a part. What it leaves unread is read afterwards, for the digest.
    ///
    /// # Errors
    ///
    /// The answer to a request that is refused.
    fn store(
        &mut self,
        head: &PartHead,
        content: &mut PartContent<'_>,
    ) -> impl Future<Output = Result<Self::Stored, Response>> + Send;
}

/// The content of a part while it is read.
#[derive(Debug)]
pub struct PartContent<'a> {
    field: Field<'a>,
    meter: &'a mut Meter,
    progress: Progress,
}

#[derive(Debug, Clone, Copy)]
enum Progress {
    Reads,
    HasEnded,
    HasFailed,
}

impl PartContent<'_> {
    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    ///
    /// If the body breaks off, or a limit is exceeded. The request is then refused, whatever the sink
    /// returns.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, PartError> {
        match self.progress {
            Progress::Reads => {}
            Progress::HasEnded => return Ok(None),
            Progress::HasFailed => return Err(PartError(None)),
        }
        let read = self
            .field
            .chunk()
            .await
            .map_err(|error| PartError(Some(error)));
        let read = read.and_then(|chunk| match chunk {
            Some(chunk) if !self.meter.count(&chunk) => Err(PartError(None)),
            chunk => Ok(chunk),
        });
        match &read {
            Ok(Some(_)) => {}
            Ok(None) => self.progress = Progress::HasEnded,
            Err(_) => self.progress = Progress::HasFailed,
        }
        read
    }
}

/// A part can't be read, or is beyond a limit. As a response it is the one of axum's own extractor.
#[derive(Debug)]
pub struct PartError(Option<MultipartError>);

impl fmt::Display for PartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(error) => formatter.write_str(&error.body_text()),
            None => formatter.write_str("Request payload is too large"),
        }
    }
}

impl std::error::Error for PartError {}

impl IntoResponse for PartError {
    fn into_response(self) -> Response {
        match self.0 {
            Some(error) => error.into_response(),
            None => (StatusCode::PAYLOAD_TOO_LARGE, self.to_string()).into_response(),
        }
    }
}

impl From<PartError> for Response {
    fn from(error: PartError) -> Self {
        error.into_response()
    }
}

impl<St, S> FromRequest<St> for Multipart<S>
where
    St: Send + Sync,
    S: Sink + FromRequestParts<St>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &St) -> Result<Self, Response> {
        let (mut head, body) = request.into_parts();
        let sink = S::from_request_parts(&mut head, state).await;
        let mut sink = sink.map_err(IntoResponse::into_response)?;
        let mut meter = Meter::new(limits(&head));
        if let Some(remembered) = head.extensions.get::<Remembered>() {
            remembered.forget();
        }
        let request = Request::from_parts(head, body);
        let multipart = axum::extract::Multipart::from_request(request, state).await;
        let mut multipart = multipart.map_err(IntoResponse::into_response)?;
        let mut parts = Vec::new();
        let field = |error| PartError(Some(error));
        while let Some(field) = multipart.next_field().await.map_err(field)? {
            if !meter.allows_after(parts.len()) {
                return Err(PartError(None).into());
            }
            let head = PartHead {
                name: field.name().map(str::to_owned),
                file_name: field.file_name().map(str::to_owned),
                content_type: field.content_type().map(str::to_owned),
            };
            let mut content = PartContent {
                field,
                meter: &mut meter,
                progress: Progress::Reads,
            };
            let stored = sink.store(&head, &mut content).await?;
            while content.chunk().await?.is_some() {}
            parts.push(meter.end(head, stored));
        }
        Ok(Self { parts })
    }
}

fn limits(head: &Parts) -> MultipartLimits {
    head.extensions.get().copied().unwrap_or_default()
}

/// The default [`Sink`]: memory, and temporary files for what exceeds it.
#[derive(Debug)]
pub struct Spool(Spooling);

impl<S: Sync> FromRequestParts<S> for Spool {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Spooling::new(limits(head))))
    }
}

impl Sink for Spool {
    type Stored = Spooled;

    async fn store(
        &mut self,
        _: &PartHead,
        content: &mut PartContent<'_>,
    ) -> Result<Spooled, Response> {
        let failed = |error: std::io::Error| {
            tracing::error!(%error, "a part can't be written to a temporary file");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        };
        let mut part = self.0.begin();
        while let Some(chunk) = content.chunk().await? {
            part.write(&chunk).await.map_err(failed)?;
        }
        part.end().await.map_err(failed)
    }
}
