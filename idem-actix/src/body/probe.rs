//! Finds the body among a handler's arguments, by their types.
//!
//! An inherent constant wins over one of a trait where its bounds hold; so a type can be asked
//! whether it implements something, as long as it has no generic parameter.

use std::marker::PhantomData;

use idem_core::Content;
use idem_core::canonical::EncodeError;

use super::{RequestBody, RequestPart};

/// Asks a type.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T: RequestBody> Probe<T> {
    pub const IS_BODY: bool = true;
}

impl<T: RequestPart> Probe<T> {
    pub const IS_PART: bool = true;
}

/// The answer of types that are no body.
pub trait NotBody {
    const IS_BODY: bool = false;
}

impl<T> NotBody for Probe<T> {}

/// The answer of types that may read a body.
pub trait NotPart {
    const IS_PART: bool = false;
}

impl<T> NotPart for Probe<T> {}

/// Checks what the arguments say, `(IS_BODY, IS_PART)` for each, and tells which is the body.
///
/// # Panics
///
/// When the handler is compiled, if two are, or if none is and one may be.
pub const fn body<const COUNT: usize>(arguments: [(bool, bool); COUNT]) -> [bool; COUNT] {
    let mut is_body = [false; COUNT];
    let (mut bodies, mut parts, mut index) = (0, 0, 0);
    while index < COUNT {
        let (body, part) = arguments[index];
        is_body[index] = body;
        bodies += body as usize;
        parts += part as usize;
        index += 1;
    }
    assert!(bodies < 2, "two arguments read the body; a request has one");
    assert!(
        bodies == 1 || parts == COUNT,
        "no argument can be fingerprinted; derive `Serialize` for the payload, implement `RequestBody` for an extractor \
         of your own, or say what is bound: `fingerprint = \"raw\"` for the bytes, `body = \"none\"` if nothing reads a body"
    );
    is_body
}

/// The body where there is none.
#[derive(Debug)]
pub struct Nothing;

impl RequestBody for Nothing {
    fn content(&self) -> Result<Content, EncodeError> {
        Ok(Content::None)
    }
}

/// One of two values, whatever their types.
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
