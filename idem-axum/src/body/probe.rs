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

/// An argument of the type `T`, on a router with the state `K`: [`Known`] or [`Unknown`].
#[derive(Debug)]
pub struct Probe<T, K>(PhantomData<fn() -> (T, K)>);

impl<T, K> Probe<T, K> {
    pub const NEW: Self = Self(PhantomData);
}

/// The state that `state = …` names.
#[derive(Debug)]
pub struct Known<S>(PhantomData<fn() -> S>);

/// The attribute does not name the state.
#[derive(Debug)]
pub struct Unknown;

/// The extractors that read the body, whatever they make of it.
pub trait ReadsBody {}

macro_rules! readers {
    ($($extractor:ty $(, [$parameter:ident])?;)*) => {$(
        impl $(<$parameter>)? ReadsBody for $extractor {}
    )*};
}

readers!(Json<T>, [T]; Form<T>, [T]; Bytes; String; RawForm; Request; Body;);

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

impl<T: ReadsBody, K> Probe<T, K> {
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

/// An argument that is not known to read the body.
pub trait NotReader {
    fn comes_earlier(&self) {}

    fn reads_nothing(&self) {}
}

impl<T, K> NotReader for Probe<T, K> {}

macro_rules! wrappers {
    ($($extractor:ident),*) => {$(
        impl<T, K> Probe<$extractor<T>, K> {
            pub fn extracts(&self) -> &Self
            where
                T: Readable,
            {
                self
            }

            pub fn extracts_last(&self) -> &Self
            where
                T: Readable,
            {
                self
            }
        }
    )*};
}

wrappers!(Json, Form, Path, Query);

impl<T, K> Probe<State<T>, K> {
    pub fn extracts(&self) -> &Self
    where
        T: PartOfState<K>,
    {
        self
    }

    pub fn extracts_last(&self) -> &Self
    where
        T: PartOfState<K>,
    {
        self
    }
}

/// An argument that only the state's type decides about.
pub trait OtherExtractor<T, K> {
    fn extracts(&self) -> &Self
    where
        T: Extractor<K>,
    {
        self
    }

    fn extracts_last<M>(&self) -> &Self
    where
        T: LastExtractor<K, M>,
    {
        self
    }
}

impl<T, K> OtherExtractor<T, K> for Probe<T, K> {}

pub trait PartOfState<K> {}

impl<T> PartOfState<Unknown> for T {}

impl<S, T: SubstateOf<S>> PartOfState<Known<S>> for T {}

#[diagnostic::on_unimplemented(
    message = "the state `{S}` holds no `{Self}`",
    label = "not a part of the state",
    note = "derive `axum::extract::FromRef` for `{S}`, with a field of this type, or take `State<{S}>`"
)]
pub trait SubstateOf<S> {}

#[diagnostic::do_not_recommend]
impl<S, T: FromRef<S>> SubstateOf<S> for T {}

pub trait Extractor<K> {}

impl<T> Extractor<Unknown> for T {}

impl<S, T: ExtractorFor<S>> Extractor<Known<S>> for T {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor of a request's head, on a router with the state `{S}`",
    label = "axum can't make this argument",
    note = "implement `FromRequestParts<{S}>` for it, or take it by an extractor such as `Path`, `Query`, `State` or `Extension`",
    note = "an argument that reads the body comes last"
)]
pub trait ExtractorFor<S> {}

#[diagnostic::do_not_recommend]
impl<S, T: FromRequestParts<S>> ExtractorFor<S> for T {}

pub trait LastExtractor<K, M> {}

impl<T> LastExtractor<Unknown, ()> for T {}

impl<S, M, T: LastExtractorFor<S, M>> LastExtractor<Known<S>, M> for T {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor, on a router with the state `{S}`",
    label = "axum can't make this argument",
    note = "implement `FromRequest<{S}>` or `FromRequestParts<{S}>` for it, or take it by an extractor such as `Json`"
)]
pub trait LastExtractorFor<S, M> {}

#[diagnostic::do_not_recommend]
impl<S, M, T: FromRequest<S, M>> LastExtractorFor<S, M> for T {}

// The content of the last argument, by three methods of one name. The first takes the probe by value
// and is inherent, the second takes it by value, and the third by reference: in this order they are
// tried.

impl<T: RequestBody, K> Probe<T, K> {
    /// # Errors
    ///
    /// If the payload can't be serialized.
    pub fn content(self, body: &T) -> Result<Content, EncodeError> {
        body.content()
    }
}

/// An argument that is made from the request's head reads no body.
pub trait ContentOfHead<T>: Sized {
    /// # Errors
    ///
    /// None.
    fn content(self, _: &T) -> Result<Content, EncodeError> {
        Ok(Content::None)
    }
}

impl<T: FromHead<K>, K> ContentOfHead<T> for Probe<T, K> {}

pub trait FromHead<K> {}

impl<T: FromRequestParts<()>> FromHead<Unknown> for T {}

impl<S, T: FromRequestParts<S>> FromHead<Known<S>> for T {}

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

impl<T, K> ContentOfOther<T> for Probe<T, K> {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be bound to the key",
    label = "axum reads the body with the last argument, and nothing says what of this one is bound",
    note = "if the handler reads no body, write `body = \"none\"`",
    note = "if this is the body, implement `RequestBody` for it, or choose what is bound: `fingerprint = path::to::function`, or `fingerprint = \"raw\"` for the bytes"
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
    note = "derive `axum::extract::FromRef` for `{S}`, with a field of the type `{Self}`",
    note = "for a state of another crate's type, such as `Arc<App>`, make a struct that holds it"
)]
pub trait HeldBy<S> {}

#[diagnostic::do_not_recommend]
impl<S, E: FromRef<S>> HeldBy<S> for E {}
