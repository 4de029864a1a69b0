//! Finds the body among a handler's arguments, and checks them, by their types.
//!
//! An inherent item wins over a trait's item if the bounds of its `impl` hold. So a type can be asked
//! whether it implements a trait: by constants as long as it has no generic parameter, else by
//! methods. The bounds of a method are checked afterwards, and one that can't hold is an error for
//! the types of that `impl`.

use std::marker::PhantomData;

use actix_web::web::{Bytes, Form, Json, Path, Payload as Stream, Query};
use actix_web::{Either, FromRequest};
use idem_core::adapter::{Payload, Readable};
use idem_core::{Content, EncodeError};

use super::{RequestBody, RequestPart};

/// Asks a type for its traits.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    pub const NEW: Self = Self(PhantomData);
}

/// The extractors that read the body, whatever they make of it.
pub trait ReadsBody {}

impl<T> ReadsBody for Json<T> {}

impl<T> ReadsBody for Form<T> {}

impl ReadsBody for Bytes {}

impl ReadsBody for String {}

impl ReadsBody for Stream {}

#[cfg(feature = "multipart")]
impl<S: crate::Sink> ReadsBody for crate::Multipart<S> {}

#[cfg(feature = "multipart")]
impl<T: actix_multipart::form::MultipartCollect> ReadsBody
    for actix_multipart::form::MultipartForm<T>
{
}

impl<B: ReadsBody> ReadsBody for Option<B> {}

impl<B: ReadsBody, E> ReadsBody for Result<B, E> {}

impl<L: ReadsBody, R: ReadsBody> ReadsBody for Either<L, R> {}

impl<T: RequestBody> Probe<T> {
    pub const IS_BODY: bool = true;
}

impl<T: RequestPart> Probe<T> {
    pub const IS_PART: bool = true;
}

impl<T: ReadsBody> Probe<T> {
    pub const READS: bool = true;

    pub fn reads_nothing(&self)
    where
        T: ReadsNothing,
    {
    }

    pub fn is_no_body(&self)
    where
        T: IsNoBody,
    {
    }
}

/// The answers of a type that is not of these kinds.
pub trait Other {
    const IS_BODY: bool = false;
    const IS_PART: bool = false;
    const READS: bool = false;

    fn reads_nothing(&self) {}

    fn is_no_body(&self) {}
}

impl<T> Other for Probe<T> {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` reads the body, and `body = \"none\"` says that the handler reads none",
    label = "nothing would bind this body to the key",
    note = "remove `body = \"none\"`; `fingerprint` chooses what of a body is bound to the key"
)]
pub trait ReadsNothing {}

#[diagnostic::on_unimplemented(
    message = "two arguments read the body; a request has one",
    label = "`body = \"…\"` names another argument",
    note = "take the body once"
)]
pub trait IsNoBody {}

macro_rules! wrappers {
    ($($extractor:ident),*) => {$(
        impl<T> Probe<$extractor<T>> {
            pub fn extracts(&self) -> &Self
            where
                T: Readable,
            {
                self
            }
        }
    )*};
}

wrappers!(Json, Form, Path, Query);

/// An argument of another type.
pub trait OtherExtractor<T> {
    fn extracts(&self) -> &Self
    where
        T: Extractor,
    {
        self
    }
}

impl<T> OtherExtractor<T> for Probe<T> {}

/// A type that a handler can take by value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor",
    label = "actix-web can't make this argument from a request",
    note = "implement `actix_web::FromRequest` for it, or take it by an extractor such as `Json`, `Path` or `Data`"
)]
pub trait Extractor {}

#[diagnostic::do_not_recommend]
impl<T: FromRequest> Extractor for T {}

/// The role of an argument, as far as its type and its neighbours show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It reads no body, or another argument is the body.
    Part,
    Body,
    /// It reads the body, and shows nothing that can be bound.
    Unbound,
    /// An earlier argument is the body already.
    SecondBody,
    /// It may be the body; its type does not say.
    Unknown,
}

impl Role {
    pub const fn is_body(self) -> bool {
        matches!(self, Self::Body)
    }
}

/// The answers of an argument's type.
#[derive(Debug, Clone, Copy)]
pub struct Answers {
    pub is_body: bool,
    pub is_part: bool,
    pub reads: bool,
}

/// Finds the body from the answers of all arguments.
pub const fn roles<const COUNT: usize>(arguments: [Answers; COUNT]) -> [Role; COUNT] {
    let mut roles = [Role::Part; COUNT];
    let (mut found, mut index) = (false, 0);
    while index < COUNT {
        let Answers { is_body, reads, .. } = arguments[index];
        if is_body || reads {
            roles[index] = match (found, is_body) {
                (true, _) => Role::SecondBody,
                (false, true) => Role::Body,
                (false, false) => Role::Unbound,
            };
            found = true;
        }
        index += 1;
    }
    let mut index = 0;
    while index < COUNT && !found {
        if !arguments[index].is_part {
            roles[index] = Role::Unknown;
        }
        index += 1;
    }
    roles
}

/// Compiles if an argument of the type `T` can have the role.
pub const fn check<const ROLE: u8, T>()
where
    As<ROLE>: Fits<T>,
{
}

/// A role as a type.
#[derive(Debug)]
pub struct As<const ROLE: u8>;

/// Implemented for every role except a second body.
#[diagnostic::on_unimplemented(
    message = "two arguments read the body; a request has one",
    label = "another argument before this one reads it",
    note = "take the body once; with two extractors of your own, `body = \"…\"` names the one that is bound to the key"
)]
pub trait Fits<T> {}

#[diagnostic::do_not_recommend]
impl<T> Fits<T> for As<{ Role::Part as u8 }> {}

#[diagnostic::do_not_recommend]
impl<T> Fits<T> for As<{ Role::Body as u8 }> {}

impl<T: Bindable> Fits<T> for As<{ Role::Unbound as u8 }> {}

impl<T: SaysItsPart> Fits<T> for As<{ Role::Unknown as u8 }> {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be bound to the key",
    label = "nothing says what of this body is bound",
    note = "implement `RequestBody` for it, or choose what is bound: `fingerprint = path::to::function`, or `fingerprint = \"raw\"` for the bytes"
)]
pub trait Bindable {}

impl<T: Payload> Bindable for Json<T> {}

impl<T: Payload> Bindable for Form<T> {}

impl<B: Bindable> Bindable for Option<B> {}

impl<B: Bindable, E> Bindable for Result<B, E> {}

impl<L: Bindable, R: Bindable> Bindable for Either<L, R> {}

#[diagnostic::on_unimplemented(
    message = "nothing says whether `{Self}` reads the body",
    label = "a body that this argument reads would not be bound to the key",
    note = "if no argument reads the body, write `body = \"none\"`, or implement `RequestPart` for this one",
    note = "if this is the body, choose what is bound: `fingerprint = \"raw\"` for the bytes, or `body = \"…\"` and `fingerprint = path::to::function`; an extractor of your own implements `RequestBody`"
)]
pub trait SaysItsPart {}

/// Stands for the body of a handler without one. The body's bytes are bound all the same: a middleware
/// can have put what it read from them where an extractor finds it.
#[derive(Debug)]
pub struct Nothing;

impl RequestBody for Nothing {
    fn content(&self) -> Result<Content, EncodeError> {
        Ok(Content::Raw)
    }
}

/// One of two values of any types.
pub fn choose<const FIRST: bool, A, B>(
    first: A,
    second: B,
) -> <Choice<FIRST> as Choose<A, B>>::Chosen
where
    Choice<FIRST>: Choose<A, B>,
{
    Choice::<FIRST>::choose(first, second)
}

#[derive(Debug)]
pub struct Choice<const FIRST: bool>;

pub trait Choose<A, B> {
    type Chosen;

    fn choose(first: A, second: B) -> Self::Chosen;
}

impl<A, B> Choose<A, B> for Choice<true> {
    type Chosen = A;

    fn choose(first: A, _: B) -> A {
        first
    }
}

impl<A, B> Choose<A, B> for Choice<false> {
    type Chosen = B;

    fn choose(_: A, second: B) -> B {
        second
    }
}
