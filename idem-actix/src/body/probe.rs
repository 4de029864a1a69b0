//! Finds the body among a handler's arguments, by their types.
//!
//! An inherent constant wins over a trait's constant if its bounds hold. So a type can be asked
//! whether it implements a trait, as long as the type has no generic parameter.

use std::marker::PhantomData;

use actix_web::FromRequest;
use idem_core::{Content, EncodeError};

use super::{RequestBody, RequestPart};

/// Asks a type for its traits.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T: RequestBody> Probe<T> {
    pub const IS_BODY: bool = true;
}

impl<T: RequestPart> Probe<T> {
    pub const IS_PART: bool = true;
}

/// The answer of a type that is not a body.
pub trait NotBody {
    const IS_BODY: bool = false;
}

impl<T> NotBody for Probe<T> {}

/// The answer of a type that may read a body.
pub trait NotPart {
    const IS_PART: bool = false;
}

impl<T> NotPart for Probe<T> {}

/// The role of an argument, as far as its type and its neighbours show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It reads no body, or another argument is the body.
    Part,
    Body,
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

/// Finds the body from the answers of all arguments: `(IS_BODY, IS_PART)`.
pub const fn roles<const COUNT: usize>(arguments: [(bool, bool); COUNT]) -> [Role; COUNT] {
    let mut roles = [Role::Part; COUNT];
    let (mut found, mut index) = (false, 0);
    while index < COUNT {
        if arguments[index].0 {
            roles[index] = if found { Role::SecondBody } else { Role::Body };
            found = true;
        }
        index += 1;
    }
    let mut index = 0;
    while index < COUNT && !found {
        if !arguments[index].1 {
            roles[index] = Role::Unknown;
        }
        index += 1;
    }
    roles
}

/// Compiles if an argument of the type `T` can have the role.
pub const fn check<const ROLE: u8, T: Extractor>()
where
    As<ROLE>: Fits<T>,
{
}

/// A type that a handler can take by value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no extractor",
    label = "actix-web can't make this argument out of a request",
    note = "implement `actix_web::FromRequest` for it, or take it by an extractor such as `Json`, `Path` or `Data`"
)]
pub trait Extractor {}

#[diagnostic::do_not_recommend]
impl<T: FromRequest> Extractor for T {}

/// A role as a type.
#[derive(Debug)]
pub struct As<const ROLE: u8>;

/// Implemented for every role except a second body.
#[diagnostic::on_unimplemented(
    message = "two arguments read the body; a request has one",
    label = "another argument before this one reads it",
    note = "`body = \"…\"` names the one that is bound to the key, if this one reads none"
)]
pub trait Fits<T> {}

#[diagnostic::do_not_recommend]
impl<T> Fits<T> for As<{ Role::Part as u8 }> {}

#[diagnostic::do_not_recommend]
impl<T> Fits<T> for As<{ Role::Body as u8 }> {}

impl<T: RequestBody> Fits<T> for As<{ Role::Unknown as u8 }> {}

/// Stands for the body of a handler without one.
#[derive(Debug)]
pub struct Nothing;

impl RequestBody for Nothing {
    fn content(&self) -> Result<Content, EncodeError> {
        Ok(Content::None)
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
