//! The request's body: read by its extractor, remembered, and bound to the key.

use axum::extract::{
    Extension, Form, FromRequest, FromRequestParts, Json, MatchedPath, OriginalUri, Path, Query,
    RawForm, RawQuery, Request, State,
};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};
use idem_core::adapter::{self, Misuse};
use idem_core::{Content, EncodeError, Settle};
use serde::Serialize;

#[cfg(not(feature = "multipart"))]
use self::remembered::Remembered;
use crate::response::respond;

#[allow(missing_docs)]
pub(crate) mod probe;
mod remembered;

#[cfg(feature = "multipart")]
pub(crate) use self::remembered::Remembered;

/// A handler's last argument, and its content that is bound to the idempotency key.
///
/// Implemented for `Json` and `Form` of any `Serialize` type, for `Bytes`, `String` and `Request`, for
/// `Option` and `Result` of these, and for axum's extractors that read no body. A `None` and an `Err`
/// are bound by the raw bytes, and only if the handler succeeds: what could not be extracted claims
/// nothing. Your own extractor returns the content that it has read, and `Content::Raw.rejected()` if
/// it holds a rejection:
///
/// ```
/// use idem_axum::{Content, EncodeError, RequestBody};
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
    label = "the last argument is the body, and nothing binds this one to the key",
    note = "derive `Serialize` for the payload, or choose what is bound: `fingerprint = path::to::function`, or `fingerprint = \"raw\"` for the bytes",
    note = "an extractor of your own can implement `RequestBody`"
)]
pub trait RequestBody {
    /// The content that is bound to the key.
    ///
    /// # Errors
    ///
    /// If the payload's own `Serialize` fails. The request is then refused as misconfigured.
    fn content(&self) -> Result<Content, EncodeError>;
}

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

// The last four extract the body's bytes. The others read no body, and the bytes are bound all the
// same: a middleware can have filled an `Extension` from them.
macro_rules! raw {
    ($($extractor:ty $(, [$parameter:ident])?;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl $(<$parameter>)? RequestBody for $extractor {
            fn content(&self) -> Result<Content, EncodeError> {
                Ok(Content::Raw)
            }
        }
    )*};
}

raw!(
    State<T>, [T];
    Path<T>, [T];
    Query<T>, [T];
    Extension<T>, [T];
    RawQuery;
    OriginalUri;
    MatchedPath;
    HeaderMap;
    Method;
    Uri;
    Version;
    Bytes;
    String;
    RawForm;
    Request;
);

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

/// Replaces the last argument of a handler without extractors.
#[derive(Debug)]
pub struct Nothing;

impl<S: Sync> FromRequestParts<S> for Nothing {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self)
    }
}

/// The last argument, with the bytes from which it was extracted.
#[derive(Debug)]
pub struct Body<T> {
    /// The extracted value.
    pub value: T,
    /// The bytes as received.
    pub raw: Raw,
}

/// The bytes of a body: `None` if they are not kept, or axum's answer if they can't be read.
#[derive(Debug)]
pub struct Raw(pub(crate) Result<Option<Bytes>, Box<Response>>);

/// Marks how the value in a [`Body`] is extracted. axum's own markers are private, and an impl for
/// them would overlap with axum's blanket impl.
#[derive(Debug)]
pub struct Via<M>(std::marker::PhantomData<M>);

impl<S, M, T> FromRequest<S, Via<M>> for Body<T>
where
    S: Send + Sync,
    T: FromRequest<S, M> + Send,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        #[cfg_attr(not(feature = "multipart"), allow(unused_mut))]
        let (mut parts, body) = request.into_parts();
        // A layer or an earlier argument can have put it there.
        if parts.extensions.get::<Settle>().is_some() {
            return Err(respond(adapter::misused(Misuse::SettleInRequest)));
        }
        let remembered = Remembered::new(body);
        // The extensions hold the limit that the application sets for request bodies.
        let mut limited = Request::new(remembered.reader());
        limited.extensions_mut().clone_from(&parts.extensions);
        #[cfg(feature = "multipart")]
        parts.extensions.insert(remembered.clone());
        let request = Request::from_parts(parts, remembered.reader());
        let value = T::from_request(request, state).await;
        let value = value.map_err(IntoResponse::into_response)?;
        let rest = if remembered.is_settled() {
            Ok(())
        } else {
            let rest = Bytes::from_request(limited, state).await;
            rest.map(drop)
                .map_err(|rejection| Box::new(rejection.into_response()))
        };
        let raw = Raw(rest.map(|()| remembered.bytes()));
        Ok(Self { value, raw })
    }
}
