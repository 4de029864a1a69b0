//! Checks of a handler's arguments by their types, so that the compiler's error names the mistake.
//!
//! An inherent method wins over a trait's method if the bounds of its `impl` hold. Only then the
//! bounds of the method itself are checked. So a bound that can't hold is an error for the types of
//! that `impl`, and for no others.

use std::marker::PhantomData;

use axum::body::Body;
use axum::extract::{
    Form, FromRef, FromRequest, FromRequestParts, Json, Path, Query, RawForm, Request, State,
};
use bytes::Bytes;
use idem_core::adapter::{Payload, Readable};
use idem_core::{Content, EncodeError};

use super::RequestBody;

/// An argument of the type `T`, on a router with the state `S`. Without `state = …` that is `()`.
#[derive(Debug)]
pub struct Probe<T, S>(PhantomData<fn() -> (T, S)>);

impl<T, S> Probe<T, S> {
    pub const NEW: Self = Self(PhantomData);
}

impl<T, S> Clone for Probe<T, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, S> Copy for Probe<T, S> {}

/// The extractors that read the body, whatever they make of it.
pub trait ReadsBody {}

macro_rules! readers {
    ($($extractor:ty $(, [$parameter:ident])?;)*) => {$(
        impl $(<$parameter>)? ReadsBody for $extractor {}
    )*};
}

readers!(Json<T>, [T]; Form<T>, [T]; Bytes; String; RawForm; Request; Body;);

#[cfg(feature = "multipart")]
impl<S: crate::Sink> ReadsBody for crate::Multipart<S> {}

impl<B: ReadsBody> ReadsBody for Option<B> {}

impl<B: ReadsBody, E> ReadsBody for Result<B, E> {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` reads the body, so it has to be the last argument",
    label = "another argument comes after this one",
    note = "axum reads the body with the last argument, and a request has one body"
)]
pub trait CanComeEarlier {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` reads the body, and `body = \"none\"` says that the handler reads none",
    label = "nothing would bind this body to the key",
    note = "remove `body = \"none\"`; `fingerprint` chooses what of a body is bound to the key"
)]
pub trait ReadsNothing {}

// Whether the argument reads the body, and whether it is an extractor if it does not: by methods of one
// name each. For a reference to a probe they are tried in this order: an inherent one, and those of a
// trait of the probe, of its reference, and of the probe by value.

impl<T: ReadsBody, S> Probe<T, S> {
    pub fn comes_earlier(&self)
    where
        T: CanComeEarlier,
    {
    }

    pub fn reads_nothing(&self)
    where
        T: ReadsNothing,
    {
    }
}

/// An argument that is made from the request's head.
pub trait OfHead {
    fn extracts_from(&self) -> &Self {
        self
    }

    fn comes_earlier(&self) {}

    fn reads_nothing(&self) {}
}

impl<S, T: FromRequestParts<S>> OfHead for Probe<T, S> {}

/// An extractor of the application's own that reads the body.
pub trait OfBody<T, M> {
    fn extracts_from(&self) -> &Self {
        self
    }

    fn comes_earlier(&self)
    where
        T: CanComeEarlier,
    {
    }

    fn reads_nothing(&self)
    where
        T: ReadsNothing,
    {
    }
}

impl<S, M, T: FromRequest<S, M>> OfBody<T, M> for &Probe<T, S> {}

/// An argument that is an extractor for another state, or for none.
pub trait OfOtherState<T, S>: Sized {
    #[must_use]
    fn extracts_from(self) -> Self
    where
        T: ExtractorOf<S>,
    {
        self
    }

    fn comes_earlier(self) {}

    fn reads_nothing(self) {}
}

impl<T, S> OfOtherState<T, S> for Probe<T, S> {}

// Whether a request and the state have a part for the extractor. `extracts` asks about the request
// alone; the others ask where the state is known, of an argument that comes earlier or last.

macro_rules! payloads {
    ($($extractor:ident),*) => {$(
        impl<T, S> Probe<$extractor<T>, S> {
            pub fn extracts(&self) -> &Self
            where
                T: Readable,
            {
                self
            }

            pub fn extracts_from(&self) -> &Self {
                self
            }

            pub fn extracts_last_from(&self) {}
        }
    )*};
}

payloads!(Json, Form, Path, Query);

impl<T, S> Probe<State<T>, S> {
    pub fn extracts_from(&self) -> &Self
    where
        T: SubstateOf<S>,
    {
        self
    }

    pub fn extracts_last_from(&self)
    where
        T: SubstateOf<S>,
    {
    }
}

/// An argument of another type.
pub trait OtherExtractor<T, S> {
    fn extracts(&self) -> &Self {
        self
    }

    fn extracts_last_from<M>(&self)
    where
        T: LastExtractorOf<S, M>,
    {
    }
}

impl<T, S> OtherExtractor<T, S> for Probe<T, S> {}

#[diagnostic::on_unimplemented(
    message = "the state `{S}` holds no `{Self}`",
    label = "not a part of the state",
    note = "derive `axum::extract::FromRef` for `{S}`, with a field of this type, or take `State<{S}>`"
)]
pub trait SubstateOf<S> {}

#[diagnostic::do_not_recommend]
impl<S, T: FromRef<S>> SubstateOf<S> for T {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor of a request's head, on a router with the state `{S}`",
    label = "axum can't make this argument",
    note = "implement `FromRequestParts<{S}>` for it, or take it by an extractor such as `Path`, `Query`, `State` or `Extension`",
    note = "an argument that reads the body comes last"
)]
pub trait ExtractorOf<S> {}

#[diagnostic::do_not_recommend]
impl<S, T: FromRequestParts<S>> ExtractorOf<S> for T {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor, on a router with the state `{S}`",
    label = "axum can't make this argument",
    note = "implement `FromRequest<{S}>` or `FromRequestParts<{S}>` for it, or take it by an extractor such as `Json`"
)]
pub trait LastExtractorOf<S, M> {}

#[diagnostic::do_not_recommend]
impl<S, M, T: FromRequest<S, M>> LastExtractorOf<S, M> for T {}

// The content of the last argument, by three methods of one name. The first takes the probe by value
// and is inherent, the second takes it by value, and the third by reference: in this order they are
// tried.

impl<T: RequestBody, S> Probe<T, S> {
    /// # Errors
    ///
    /// If the payload can't be serialized.
    pub fn content(self, body: &T) -> Result<Content, EncodeError> {
        body.content()
    }
}

/// An argument that is made from the request's head reads no body. The body's bytes are bound all the
/// same: a middleware can have put into the head what it read from them.
pub trait ContentOfHead<T>: Sized {
    /// # Errors
    ///
    /// None.
    fn content(self, _: &T) -> Result<Content, EncodeError> {
        Ok(Content::Raw)
    }
}

impl<S, T: FromRequestParts<S>> ContentOfHead<T> for Probe<T, S> {}

/// Only a call that does not compile gets here.
pub trait ContentOfOther<T> {
    /// # Errors
    ///
    /// None.
    fn content(&self, _: &T) -> Result<Content, EncodeError>
    where
        T: Bindable,
    {
        Ok(Content::Raw)
    }
}

impl<T, S> ContentOfOther<T> for Probe<T, S> {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be bound to the key",
    label = "axum reads the body with the last argument, and nothing says what of this one is bound",
    note = "if the handler reads no body, write `body = \"none\"`",
    note = "if this is the body, choose what is bound: `fingerprint = \"raw\"` for the bytes, or `fingerprint = path::to::function`; an extractor of your own implements `RequestBody`",
    note = "if this is the type of a payload, take it by an extractor: `Json<{Self}>`"
)]
pub trait Bindable {}

impl<T: Payload> Bindable for Json<T> {}

impl<T: Payload> Bindable for Form<T> {}

impl<B: Bindable> Bindable for Option<B> {}

impl<B: Bindable, E> Bindable for Result<B, E> {}

/// Compiles if the router's state holds the engine.
pub const fn assert_held<S, E: HeldBy<S>>() {}

#[diagnostic::on_unimplemented(
    message = "the state `{S}` holds no `{Self}`",
    label = "the handler's transaction needs this engine",
    note = "the state is a struct of the application with a field of the type `{Self}`; derive `axum::extract::FromRef` for it, and hand it to `with_state`",
    note = "of a state `Arc<App>` this is the `App`, and the attribute has `state = Arc<App>`"
)]
pub trait HeldBy<S> {}

#[diagnostic::do_not_recommend]
impl<S, E: FromRef<S>> HeldBy<S> for E {}
