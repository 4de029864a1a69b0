//! Multipart bodies, which are bound to the key by their parts.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_multipart::form::{MultipartCollect, MultipartForm};
use actix_multipart::{Field, MultipartError};
use actix_web::dev::Payload;
use actix_web::error::{ErrorInternalServerError, PayloadError};
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest};
use bytes::Bytes;
use futures_util::Stream;
use idem_core::adapter::{Meter, Spooling, content_of_parts};
use idem_core::{Content, EncodeError, MultipartLimits, Part, PartHead, Spooled};
use serde::Serialize;

use crate::body::RequestBody;
use crate::payload::Shared;

/// A `multipart/form-data` body that is bound to the key by its parts ([rule F6]).
///
/// A client chooses a new boundary on each attempt, so the bytes of an upload are never the same. This
/// extractor binds each part by its name, file name, content type and the digest of its content, in
/// their order.
///
/// ```
/// use actix_web::error::{Error, ErrorBadRequest};
/// use idem_actix::{Multipart, Spooled, idempotent};
/// # use sqlx::SqliteConnection;
///
/// #[idempotent(ttl = "24h", unscoped)]
/// async fn upload(tx: &mut SqliteConnection, form: Multipart) -> Result<String, Error> {
///     let file = form.part("file").ok_or_else(|| ErrorBadRequest("no file"))?;
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
/// Limits are data of the application: `.app_data(MultipartLimits::new()…)`.
///
/// actix-web's own `MultipartForm<T>` is bound by its fields if `T` is `Serialize`. Its body is also
/// kept in memory, as any other body is.
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

#[diagnostic::do_not_recommend]
impl<T: MultipartCollect + Serialize> RequestBody for MultipartForm<T> {
    fn content(&self) -> Result<Content, EncodeError> {
        Content::of(&self.0)
    }
}

/// Where the parts of a [`Multipart`] go while they are read.
///
/// A sink is also an extractor, so it can take what it needs from the application's data. It gets no
/// payload.
///
/// It runs on every request before the key is claimed, so a retry stores its parts once more. Let a
/// part's place depend on its content, or delete what the handler did not use.
///
/// ```
/// use std::future::{Ready, ready};
///
/// use actix_web::{Error, FromRequest, HttpRequest, dev::Payload};
/// use idem_actix::{Multipart, PartContent, PartHead, Sink};
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
///     ) -> Result<usize, Error> {
///         let mut lines = 0;
///         while let Some(chunk) = content.chunk().await? {
///             lines += chunk.iter().filter(|byte| **byte == b'\n').count();
///         }
///         Ok(lines)
///     }
/// }
///
/// impl FromRequest for Lines {
///     type Error = Error;
///     type Future = Ready<Result<Self, Error>>;
///
///     fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
///         ready(Ok(Self))
///     }
/// }
/// # fn is_extractor<T: FromRequest>() {}
/// # is_extractor::<Multipart<Lines>>();
/// ```
pub trait Sink {
    /// What the handler gets in place of a part's bytes.
    type Stored;

    /// Stores a part. What it leaves unread is read afterwards, for the digest.
    ///
    /// # Errors
    ///
    /// The answer to a request that is refused.
    fn store(
        &mut self,
        head: &PartHead,
        content: &mut PartContent<'_>,
    ) -> impl Future<Output = Result<Self::Stored, Error>>;
}

/// The content of a part while it is read.
pub struct PartContent<'a> {
    field: Field,
    is_over: &'a IsOver,
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
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        match self.progress {
            Progress::Reads => {}
            Progress::HasEnded => return Ok(None),
            Progress::HasFailed => return Err(too_large()),
        }
        let read = next(&mut self.field, self.is_over).await.transpose();
        let read = read.and_then(|chunk| match chunk {
            Some(chunk) if !self.meter.count(&chunk) => Err(too_large()),
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

/// Whether the payload has ended.
type IsOver = Rc<Cell<bool>>;

/// The next item of a parser. Some bodies that lack their end leave the parser waiting for more,
/// although the payload has ended.
async fn next<T>(
    mut parser: impl Stream<Item = Result<T, MultipartError>> + Unpin,
    is_over: &IsOver,
) -> Option<Result<T, MultipartError>> {
    poll_fn(|context| match Pin::new(&mut parser).poll_next(context) {
        Poll::Pending if is_over.get() => Poll::Ready(Some(Err(MultipartError::Incomplete))),
        polled => polled,
    })
    .await
}

/// A payload whose end is noticed.
struct Watched {
    payload: Payload,
    is_over: IsOver,
}

impl Stream for Watched {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(context);
        if let Poll::Ready(None) = polled {
            self.is_over.set(true);
        }
        polled
    }
}

/// The error of actix-web's own forms.
fn too_large() -> MultipartError {
    MultipartError::Payload(PayloadError::Overflow)
}

impl<S> FromRequest for Multipart<S>
where
    S: Sink + FromRequest + 'static,
{
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let sink = S::from_request(request, &mut Payload::None);
        let meter = Meter::new(limits(request));
        if let Some(shared) = request.extensions().get::<Shared>() {
            shared.forget();
        }
        let is_form = request.mime_type().ok().flatten();
        let is_form =
            is_form.is_none_or(|mime| mime.type_() != "multipart" || mime.subtype() == "form-data");
        let is_over = IsOver::default();
        let payload = Watched {
            payload: payload.take(),
            is_over: Rc::clone(&is_over),
        };
        let multipart = actix_multipart::Multipart::new(request.headers(), payload);
        Box::pin(async move {
            if !is_form {
                return Err(MultipartError::ContentTypeIncompatible.into());
            }
            let sink = sink.await.map_err(Into::into)?;
            read(multipart, &is_over, sink, meter).await
        })
    }
}

async fn read<S: Sink>(
    mut multipart: actix_multipart::Multipart,
    is_over: &IsOver,
    mut sink: S,
    mut meter: Meter,
) -> Result<Multipart<S>, Error> {
    let mut parts = Vec::new();
    while let Some(field) = next(&mut multipart, is_over).await.transpose()? {
        if !meter.allows_after(parts.len()) {
            return Err(too_large().into());
        }
        let disposition = field.content_disposition();
        let file_name = disposition.and_then(|disposition| disposition.get_filename());
        let head = PartHead {
            name: field.name().map(str::to_owned),
            file_name: file_name.map(str::to_owned),
            content_type: field.content_type().map(ToString::to_string),
        };
        let mut content = PartContent {
            field,
            is_over,
            meter: &mut meter,
            progress: Progress::Reads,
        };
        let stored = sink.store(&head, &mut content).await?;
        while content.chunk().await?.is_some() {}
        parts.push(meter.end(head, stored));
    }
    Ok(Multipart { parts })
}

fn limits(request: &HttpRequest) -> MultipartLimits {
    let limits = request.app_data::<MultipartLimits>();
    limits.copied().unwrap_or_default()
}

/// The default [`Sink`]: memory, and temporary files for what exceeds it.
#[derive(Debug)]
pub struct Spool(Spooling);

impl FromRequest for Spool {
    type Error = Error;
    type Future = std::future::Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Ok(Self(Spooling::new(limits(request)))))
    }
}

impl Sink for Spool {
    type Stored = Spooled;

    async fn store(
        &mut self,
        _: &PartHead,
        content: &mut PartContent<'_>,
    ) -> Result<Spooled, Error> {
        let failed = |error| {
            tracing::error!(%error, "a part can't be written to a temporary file");
            ErrorInternalServerError("")
        };
        let mut part = self.0.begin();
        while let Some(chunk) = content.chunk().await? {
            part.write(&chunk).await.map_err(failed)?;
        }
        part.end().await.map_err(failed)
    }
}
