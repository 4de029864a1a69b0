//! The first read of a request, and the extraction after it.

use std::any::type_name;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::error::InternalError;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::TryFutureExt as _;
use futures_util::future::MapOk;
use idem_core::adapter::{
    Admissible, HeaderNames, InHeader, KeySource, RequestHead, Source, StoreOf,
};

use crate::locate::Locate;
use crate::payload::Shared;
use crate::response::respond;
use crate::route;

/// The head of the request. `K` says where its key is, and `B` names the headers that are bound to the
/// key.
pub struct Preflight<P: Source, K = InHeader, B = ()>(
    pub(crate) Admissible<StoreOf<P>, Head, K>,
    PhantomData<fn() -> B>,
);

/// Method, target and route of a request.
pub(crate) struct Head(pub(crate) HttpRequest);

impl RequestHead for Head {
    fn method(&self) -> &str {
        self.0.method().as_str()
    }

    fn path(&self) -> &str {
        self.0.match_info().get_ref().path()
    }

    fn query(&self) -> Option<&str> {
        self.0.uri().query()
    }

    fn template(&self) -> Option<Cow<'_, str>> {
        let pattern = self.0.match_pattern()?;
        Some(Cow::Owned(route::template(&pattern)))
    }
}

/// A request with its arguments, which are extracted after the first read.
pub struct Extracted<R, A> {
    /// The result of the first read.
    pub request: R,
    /// The handler's arguments.
    pub arguments: A,
    /// The body's bytes as received.
    pub raw: Raw,
    /// The request, from which a response can be made.
    pub http: HttpRequest,
}

/// The bytes of a body: `None` if they are not kept, or actix-web's error if they can't be read.
pub struct Raw(pub(crate) Result<Option<Bytes>, Error>);

/// An argument, and its type's name if it has taken the payload, as every reader of a body does.
pub struct Argument<T>(pub T, pub Option<&'static str>);

impl<T: FromRequest> FromRequest for Argument<T> {
    type Error = T::Error;
    type Future = MapOk<T::Future, fn(T) -> Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let was_there = !matches!(payload, Payload::None);
        let argument = T::from_request(request, payload);
        let argument_of: fn(T) -> Self = if was_there && matches!(payload, Payload::None) {
            |value| Self(value, Some(type_name::<T>()))
        } else {
            |value| Self(value, None)
        };
        argument.map_ok(argument_of)
    }
}

impl<P: Locate, K: KeySource, B: HeaderNames> Preflight<P, K, B> {
    async fn new(request: &HttpRequest) -> Result<Self, Error> {
        let engine = P::locate(request).await?;
        let head = Head(request.clone());
        let lines = |name: &str| request.headers().get_all(name).map(AsRef::as_ref);
        let admissible = Admissible::new(engine, head, lines, B::NAMES);
        let admissible = admissible.map_err(|response| refused(respond(response)))?;
        Ok(Self(admissible, PhantomData))
    }
}

pub(crate) fn refused(response: HttpResponse) -> Error {
    InternalError::from_response("refused by `#[idempotent]`", response).into()
}

impl<P, K, B, A> FromRequest for Extracted<Preflight<P, K, B>, A>
where
    P: Locate + 'static,
    K: KeySource + 'static,
    B: HeaderNames + 'static,
    A: FromRequest + 'static,
{
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let http = request.clone();
        let payload = Shared::new(payload.take());
        #[cfg(feature = "multipart")]
        actix_web::HttpMessage::extensions_mut(request).insert(payload.clone());
        Box::pin(async move {
            let request = Preflight::new(&http).await?;
            let arguments = A::from_request(&http, &mut payload.reader()).await;
            let arguments = arguments.map_err(Into::into)?;
            let rest = if payload.is_settled() {
                Ok(())
            } else {
                // Within the application's limit for payloads.
                let rest = Bytes::from_request(&http, &mut payload.reader()).await;
                rest.map(drop)
            };
            Ok(Self {
                request,
                arguments,
                raw: Raw(rest.map(|()| payload.bytes())),
                http,
            })
        })
    }
}
