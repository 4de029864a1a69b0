//! Where an endpoint has its keys, and which headers it binds, as types: on axum the head of a request
//! is read before any value of the endpoint's exists.

use std::marker::PhantomData;

use crate::config::Config;
use crate::key::{IdempotencyKey, KeyError, KeyPlace};
use crate::problem::Problem;

/// A request that is refused for its key, with the place where the key should be.
type Refused = (Problem, KeyPlace);

/// Where an endpoint has its keys.
pub trait KeySource {
    /// What the arguments say about the key, once they are extracted.
    type Argument;

    /// Whether a GET is let in (rule S1).
    const ALLOWS_GET: bool;

    /// The key in the head. `lines` gives the values of a header by its name.
    ///
    /// # Errors
    ///
    /// If the request is refused before its arguments are extracted.
    fn in_head<'h, L>(
        lines: impl Fn(&str) -> L,
        config: &Config,
    ) -> Result<Option<IdempotencyKey>, Refused>
    where
        L: Iterator<Item = &'h [u8]>;

    /// The key of the request. `head` is the one in the head.
    ///
    /// # Errors
    ///
    /// If the request is refused after its arguments were extracted.
    fn with_argument(
        head: Option<IdempotencyKey>,
        argument: Self::Argument,
        config: &Config,
    ) -> Result<Option<IdempotencyKey>, Refused>;
}

/// In the first of the headers `N` that the request has. Without any name, in the application's
/// header. With `OPTIONAL`, a request can be without a key.
#[derive(Debug)]
pub struct InHeader<N = (), const OPTIONAL: bool = false>(PhantomData<fn() -> N>);

impl<N: HeaderNames, const OPTIONAL: bool> KeySource for InHeader<N, OPTIONAL> {
    type Argument = ();

    const ALLOWS_GET: bool = false;

    fn in_head<'h, L>(
        lines: impl Fn(&str) -> L,
        config: &Config,
    ) -> Result<Option<IdempotencyKey>, Refused>
    where
        L: Iterator<Item = &'h [u8]>,
    {
        let key = if N::NAMES.is_empty() {
            IdempotencyKey::from_lines(lines(config.header.as_str()))
        } else {
            let mut keys = N::NAMES
                .iter()
                .map(|name| IdempotencyKey::from_lines(lines(name)));
            keys.find(|key| *key != Ok(None)).unwrap_or(Ok(None))
        };
        checked(key, OPTIONAL, KeyPlace::Headers(N::NAMES), config)
    }

    fn with_argument(
        head: Option<IdempotencyKey>,
        (): (),
        _: &Config,
    ) -> Result<Option<IdempotencyKey>, Refused> {
        Ok(head)
    }
}

/// In an argument of the handler.
#[derive(Debug)]
pub struct InArgument<const OPTIONAL: bool = false>;

/// The value of the argument that is the key.
#[derive(Debug)]
pub struct KeyArgument {
    name: &'static str,
    value: Option<String>,
}

impl KeyArgument {
    /// `name` is the name that clients know.
    pub fn new(name: &'static str, value: Option<String>) -> Self {
        Self { name, value }
    }

    pub(crate) fn into_value(self) -> Option<String> {
        self.value
    }
}

impl<const OPTIONAL: bool> KeySource for InArgument<OPTIONAL> {
    type Argument = KeyArgument;

    const ALLOWS_GET: bool = true;

    fn in_head<'h, L>(_: impl Fn(&str) -> L, _: &Config) -> Result<Option<IdempotencyKey>, Refused>
    where
        L: Iterator<Item = &'h [u8]>,
    {
        Ok(None)
    }

    fn with_argument(
        _: Option<IdempotencyKey>,
        argument: KeyArgument,
        config: &Config,
    ) -> Result<Option<IdempotencyKey>, Refused> {
        let key = argument.value.as_deref().map(IdempotencyKey::whole);
        checked(
            key.transpose(),
            OPTIONAL,
            KeyPlace::Field(argument.name),
            config,
        )
    }
}

/// The key that was read in `place`, if it is there or `optional`, and if the application accepts it.
fn checked(
    key: Result<Option<IdempotencyKey>, KeyError>,
    optional: bool,
    place: KeyPlace,
    config: &Config,
) -> Result<Option<IdempotencyKey>, Refused> {
    let accepted = match &key {
        Ok(None) if !optional => return Err((Problem::KeyMissing, place)),
        Ok(Some(key)) => config.check_key(key),
        Ok(None) => Ok(()),
        Err(error) => Err(*error),
    };
    match accepted {
        Ok(()) => Ok(key.unwrap_or_default()),
        Err(error) => Err((Problem::KeyMalformed(error), place)),
    }
}

/// Headers' names, as a type.
pub trait HeaderNames {
    const NAMES: &'static [&'static str];
}

/// One header's name, as a type.
pub trait HeaderName {
    const NAME: &'static str;
}

/// A name of up to 64 bytes: its ASCII, filled up with zeros.
#[derive(Debug)]
pub struct Name<const A: u128, const B: u128 = 0, const C: u128 = 0, const D: u128 = 0>;

impl<const A: u128, const B: u128, const C: u128, const D: u128> Name<A, B, C, D> {
    const BYTES: &'static [u8; 64] = &{
        let words = [
            A.to_be_bytes(),
            B.to_be_bytes(),
            C.to_be_bytes(),
            D.to_be_bytes(),
        ];
        let mut bytes = [0; 64];
        let mut index = 0;
        while index < 64 {
            bytes[index] = words[index / 16][index % 16];
            index += 1;
        }
        bytes
    };

    const LENGTH: usize = {
        let mut length = 0;
        while length < 64 && Self::BYTES[length] != 0 {
            length += 1;
        }
        length
    };
}

impl<const A: u128, const B: u128, const C: u128, const D: u128> HeaderName for Name<A, B, C, D> {
    const NAME: &'static str = match std::str::from_utf8(Self::BYTES.split_at(Self::LENGTH).0) {
        Ok(name) => name,
        Err(_) => panic!("not a header's name"),
    };
}

macro_rules! lists {
    ($($($name:ident)*;)*) => {$(
        impl<$($name: HeaderName),*> HeaderNames for ($($name,)*) {
            const NAMES: &'static [&'static str] = &[$($name::NAME),*];
        }
    )*};
}

// The attribute allows no more names than these.
lists!(; A; A B; A B C; A B C D; A B C D E; A B C D E F; A B C D E F G; A B C D E F G H;);

#[cfg(test)]
mod tests {
    use super::*;

    /// `x-github-delivery` and `svix-id`.
    type Webhook = (
        Name<0x782d_6769_7468_7562_2d64_656c_6976_6572, 0x7900_0000_0000_0000_0000_0000_0000_0000>,
        Name<0x7376_6978_2d69_6400_0000_0000_0000_0000>,
    );

    fn key(headers: &[(&str, &'static str)]) -> Result<Option<String>, Problem> {
        let lines = |name: &str| {
            let lines = headers.iter().filter(move |(header, _)| *header == name);
            lines
                .map(|(_, value)| value.as_bytes())
                .collect::<Vec<_>>()
                .into_iter()
        };
        let key = InHeader::<Webhook>::in_head(lines, &Config::new());
        key.map(|key| key.map(|key| key.as_str().to_owned()))
            .map_err(|(problem, place)| {
                assert_eq!(place, KeyPlace::Headers(Webhook::NAMES));
                problem
            })
    }

    #[test]
    fn k1_names_of_headers_are_types() {
        assert_eq!(Webhook::NAMES, ["x-github-delivery", "svix-id"]);
        assert_eq!(<()>::NAMES, [""; 0]);
    }

    #[test]
    fn k1_the_first_header_that_is_there_has_the_key() {
        let (first, second) = (("x-github-delivery", "a"), ("svix-id", "b"));
        assert_eq!(key(&[second, first]), Ok(Some("a".to_owned())));
        assert_eq!(key(&[second]), Ok(Some("b".to_owned())));
        assert_eq!(key(&[("idempotency-key", "a")]), Err(Problem::KeyMissing));
        let bad = key(&[("x-github-delivery", "a b"), second]);
        assert_eq!(bad, Err(Problem::KeyMalformed(KeyError::Character)));
        assert_eq!(
            key(&[first, first]),
            Err(Problem::KeyMalformed(KeyError::Repeated))
        );
    }
}
