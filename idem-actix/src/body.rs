//! Finds the argument that is the body, and the content that is bound to the key.

use actix_web::dev::{ConnectionInfo, PeerAddr};
use actix_web::http::{Method, Uri};
use actix_web::web::{Bytes, Data, Form, Header, Json, Path, Payload, Query, ReqData, ThinData};
use actix_web::{Either, HttpRequest};
use idem_core::{Content, EncodeError};
use serde::Serialize;

#[allow(missing_docs)]
pub(crate) mod probe;

/// The argument of a handler that is bound to the idempotency key.
///
/// Implemented for `Json` and `Form` of any `Serialize` type, for `Bytes`, `String` and `Payload`,
/// and for `Option`, `Result` and `Either` of these. A `None` and an `Err` are bound by the raw bytes,
/// and only if the handler succeeds: what could not be extracted claims nothing. A `Payload` is first
/// read within the application's `PayloadConfig`; the handler can then read it again. Your own
/// extractor returns the content that it has read, and `Content::Raw.rejected()` if it holds a
/// rejection:
///
/// ```
/// use idem_actix::{Content, EncodeError, RequestBody};
///
/// struct Validated<T>(T);
///
/// impl<T: serde::Serialize> RequestBody for Validated<T> {
///     fn content(&self) -> Result<Content, EncodeError> {
///         Content::of(&self.0)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be fingerprinted",
    label = "nothing binds this argument to the key",
    note = "derive `Serialize` for the payload, or choose what is bound: `fingerprint = path::to::function`, or `fingerprint = \"raw\"` for the bytes",
    note = "an extractor of your own implements `RequestBody` if it reads the body, and `RequestPart` if it does not",
    note = "`body = \"…\"` names the argument that is the body, and no other"
)]
pub trait RequestBody {
    /// The content that is bound to the key.
    ///
    /// # Errors
    ///
    /// If the payload's own `Serialize` fails. The request is then refused as misconfigured.
    fn content(&self) -> Result<Content, EncodeError>;
}

/// An argument that reads no body, such as most of actix-web's extractors.
///
/// It matters only for handlers without a [`RequestBody`]: if all of their arguments are parts,
/// there is nothing to bind. Implement it for your own extractor, or write `body = "none"` on a
/// handler instead.
pub trait RequestPart {}

macro_rules! payloads {
    ($($extractor:ident),*) => {$(
        #[diagnostic::do_not_recommend]
        impl<T: Serialize> RequestBody for $extractor<T> {
            fn content(&self) -> Result<Content, EncodeError> {
                Content::of(&self.0)
            }
        }
    )*};
}

payloads!(Json, Form);

macro_rules! bytes {
    ($($extractor:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl RequestBody for $extractor {
            fn content(&self) -> Result<Content, EncodeError> {
                Ok(Content::Raw)
            }
        }
    )*};
}

bytes!(Bytes, String, Payload);

/// `None` does not say that there is no body, so it is bound by the bytes. There may be none.
#[diagnostic::do_not_recommend]
impl<B: RequestBody> RequestBody for Option<B> {
    fn content(&self) -> Result<Content, EncodeError> {
        self.as_ref().map_or(Ok(Content::Absent), B::content)
    }
}

/// A body that could not be extracted is bound by its bytes.
#[diagnostic::do_not_recommend]
impl<B: RequestBody, E> RequestBody for Result<B, E> {
    fn content(&self) -> Result<Content, EncodeError> {
        self.as_ref()
            .map_or_else(|_| Ok(Content::Raw.rejected()), B::content)
    }
}

#[diagnostic::do_not_recommend]
impl<L: RequestBody, R: RequestBody> RequestBody for Either<L, R> {
    fn content(&self) -> Result<Content, EncodeError> {
        match self {
            Self::Left(body) => body.content(),
            Self::Right(body) => body.content(),
        }
    }
}

macro_rules! parts {
    ($($extractor:ty $(, [$($parameter:tt)+])?;)*) => {$(
        impl $(<$($parameter)+>)? RequestPart for $extractor {}
    )*};
}

parts!(
    Data<T>, [T: ?Sized];
    Header<T>, [T];
    Path<T>, [T];
    Query<T>, [T];
    ReqData<T>, [T: Clone + 'static];
    ThinData<T>, [T];
    ConnectionInfo;
    HttpRequest;
    Method;
    PeerAddr;
    Uri;
);

impl<P: RequestPart> RequestPart for Option<P> {}

impl<P: RequestPart, E> RequestPart for Result<P, E> {}
