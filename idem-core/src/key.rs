//! The idempotency key (rules K1 to K7).

use std::fmt;

use http::HeaderName;

/// The most characters a key may have.
pub(crate) const MAX_LENGTH: usize = 255;

/// A client's unique value for one intended effect: 1 to 255 visible ASCII characters without
/// comma, `"` and `\`.
///
/// A bare token and an [RFC 9651 string](https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3) are
/// the same key:
///
/// ```
/// # use idem_core::IdempotencyKey;
/// let bare = IdempotencyKey::parse(b"8e03978e-40d5")?;
/// let quoted = IdempotencyKey::parse(b"\"8e03978e-40d5\";v=1")?;
/// assert_eq!(bare, quoted);
/// # Ok::<(), idem_core::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Reads the value of one header line.
    ///
    /// # Errors
    ///
    /// If the value is not a key: see [`KeyError`].
    pub fn parse(value: &[u8]) -> Result<Self, KeyError> {
        let value = value.trim_ascii();
        if value.starts_with(b"\"") {
            let item: sfv::Item = sfv::Parser::new(value)
                .parse()
                .map_err(|_| KeyError::Quoting)?;
            let string = item.bare_item.as_string().ok_or(KeyError::Quoting)?;
            Self::checked(string.as_str().as_bytes())
        } else {
            Self::checked(value)
        }
    }

    /// Reads the key from all header lines of its name; `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`KeyError::Repeated`] for a second line, and every error of [`parse`](Self::parse).
    pub fn from_lines<'a>(
        lines: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, KeyError> {
        let mut lines = lines.into_iter();
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        if lines.next().is_some() {
            return Err(KeyError::Repeated);
        }
        Self::parse(line).map(Some)
    }

    /// Takes a value whole, as the field of a form has it: quotes and spaces are characters of it,
    /// and a key can't have these.
    pub(crate) fn whole(value: &str) -> Result<Self, KeyError> {
        Self::checked(value.as_bytes())
    }

    /// The key as it was sent, without quotes and parameters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn checked(characters: &[u8]) -> Result<Self, KeyError> {
        if characters.is_empty() {
            return Err(KeyError::Empty);
        }
        if characters.len() > MAX_LENGTH {
            return Err(KeyError::TooLong);
        }
        let allowed = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'\\');
        if !characters.iter().all(allowed) {
            return Err(KeyError::Character);
        }
        let key = std::str::from_utf8(characters).map_err(|_| KeyError::Character)?;
        Ok(Self(key.into()))
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The reason why a value is not an idempotency key ([rules K2 to K4, and K7]).
///
/// [rules K2 to K4, and K7]: crate::_documentation::contract#k-the-key
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Nothing between the quotes, or nothing at all.
    #[error("the key is empty")]
    Empty,
    /// More than 255 characters.
    #[error("the key is longer than {MAX_LENGTH} characters")]
    TooLong,
    /// A character that a key can't have.
    #[error("the key has a character other than visible ASCII, or a comma, quote or backslash")]
    Character,
    /// The value begins as an RFC 9651 string, but is not one.
    #[error("the quoted key is not an RFC 9651 string")]
    Quoting,
    /// The header was sent more than once.
    #[error("the header is repeated")]
    Repeated,
    /// Not what [`KeyRule::uuid`] asks for.
    #[error("the key must be a UUID, as in `8e03978e-40d5-43dd-bc93-6894a57f9324`")]
    NotUuid,
    /// Shorter than [`KeyRule::min_length`] says.
    #[error("the key must have at least {0} characters")]
    TooShort(usize),
    /// Without the beginning that [`KeyRule::prefix`] says.
    #[error("the key must begin with `{0}`")]
    Prefix(&'static str),
    /// Against a rule of the application's own: [`KeyRule::new`].
    #[error("{0}")]
    Rule(&'static str),
}

impl KeyError {
    /// Whether the value is a key, and one that the application doesn't accept.
    pub(crate) fn is_of_a_rule(self) -> bool {
        matches!(
            self,
            Self::NotUuid | Self::TooShort(_) | Self::Prefix(_) | Self::Rule(_)
        )
    }
}

/// A rule for keys besides those that hold for every key ([rule K7]): see
/// [`Config::with_key_rule`](crate::Config::with_key_rule).
///
/// A key that is easy to guess, such as a number that counts up, is one that two clients choose
/// for two effects. A rule refuses such keys.
///
/// ```
/// # use idem_core::{Config, KeyRule};
/// let ulid = KeyRule::new("the key must be a ULID", |key| {
///     key.len() == 26 && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
/// });
/// let config = Config::new().with_key_rule(ulid);
/// ```
///
/// [rule K7]: crate::_documentation::contract#k-the-key
#[derive(Debug, Clone, Copy)]
pub struct KeyRule(Rule);

#[derive(Debug, Clone, Copy)]
enum Rule {
    Uuid,
    MinLength(usize),
    Prefix(&'static str),
    Own(&'static str, fn(&str) -> bool),
}

impl KeyRule {
    /// A UUID of any version, in its usual form with hyphens. Upper and lower case make two keys.
    pub const fn uuid() -> Self {
        Self(Rule::Uuid)
    }

    /// At least this many characters.
    pub const fn min_length(characters: usize) -> Self {
        Self(Rule::MinLength(characters))
    }

    /// A beginning, such as `order_`.
    pub const fn prefix(beginning: &'static str) -> Self {
        Self(Rule::Prefix(beginning))
    }

    /// A rule of the application's own. `says` is the rule as a sentence, which clients get:
    /// `"the key must be a ULID"`.
    pub const fn new(says: &'static str, holds: fn(&str) -> bool) -> Self {
        Self(Rule::Own(says, holds))
    }

    pub(crate) fn check(&self, key: &IdempotencyKey) -> Result<(), KeyError> {
        let key = key.as_str();
        let holds = match self.0 {
            Rule::Uuid => is_uuid(key),
            Rule::MinLength(least) => key.len() >= least,
            Rule::Prefix(beginning) => key.starts_with(beginning),
            Rule::Own(_, holds) => holds(key),
        };
        if holds { Ok(()) } else { Err(self.error()) }
    }

    /// The error of a key that breaks the rule.
    pub(crate) const fn error(self) -> KeyError {
        match self.0 {
            Rule::Uuid => KeyError::NotUuid,
            Rule::MinLength(least) => KeyError::TooShort(least),
            Rule::Prefix(beginning) => KeyError::Prefix(beginning),
            Rule::Own(says, _) => KeyError::Rule(says),
        }
    }
}

fn is_uuid(key: &str) -> bool {
    key.len() == 36
        && key.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Where an endpoint's requests have their key, for the problem that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the endpoint's own headers. Without any, in the header that the application's
    /// [`Config`](crate::Config) names.
    Headers(&'static [&'static str]),
    /// In a field of an argument, by the name that clients know.
    Field(&'static str),
}

impl KeyPlace {
    pub(crate) const HEADER: Self = Self::Headers(&[]);

    /// The place in words. `header` is the application's.
    pub(crate) fn describe(self, header: &HeaderName) -> String {
        match self {
            Self::Headers([]) => format!("in the header `{header}`"),
            Self::Headers(names) => format!("in the header `{}`", names.join("` or `")),
            Self::Field(name) => format!("in the field `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> Result<String, KeyError> {
        IdempotencyKey::parse(value.as_bytes()).map(|key| key.as_str().to_owned())
    }

    #[test]
    fn k2_bare_and_quoted_are_the_same_key() {
        assert_eq!(parsed("8e03"), Ok("8e03".into()));
        assert_eq!(parsed("\"8e03\""), Ok("8e03".into()));
        assert_eq!(parsed("  \"8e03\" "), Ok("8e03".into()));
    }

    #[test]
    fn k2_parameters_follow_a_quoted_key_only() {
        assert_eq!(parsed("\"k\";a=1;b"), Ok("k".into()));
        assert_eq!(parsed("k;a=1"), Ok("k;a=1".into()));
        assert_eq!(parsed("\"k\";="), Err(KeyError::Quoting));
        assert_eq!(parsed("\"k\" x"), Err(KeyError::Quoting));
    }

    #[test]
    fn k3_length_is_counted_inside_the_quotes() {
        let longest = "k".repeat(255);
        assert_eq!(parsed(&longest), Ok(longest.clone()));
        assert_eq!(parsed(&format!("\"{longest}\"")), Ok(longest));
        assert_eq!(parsed(&"k".repeat(256)), Err(KeyError::TooLong));
        assert_eq!(
            parsed(&format!("\"{}\"", "k".repeat(256))),
            Err(KeyError::TooLong)
        );
    }

    #[test]
    fn k4_everything_else_is_malformed() {
        assert_eq!(parsed(""), Err(KeyError::Empty));
        assert_eq!(parsed("\"\""), Err(KeyError::Empty));
        assert_eq!(parsed("a b"), Err(KeyError::Character));
        assert_eq!(parsed("\"a b\""), Err(KeyError::Character));
        assert_eq!(parsed("a,b"), Err(KeyError::Character));
        assert_eq!(parsed("\"a\", \"b\""), Err(KeyError::Quoting));
        assert_eq!(parsed("a\"b"), Err(KeyError::Character));
        assert_eq!(parsed("\"a"), Err(KeyError::Quoting));
        assert_eq!(parsed("\"a\\\\b\""), Err(KeyError::Character));
        assert_eq!(parsed("caf\u{e9}"), Err(KeyError::Character));
        assert_eq!(parsed("a\tb"), Err(KeyError::Character));
        assert_eq!(
            IdempotencyKey::from_lines([b"a".as_slice(), b"a"]),
            Err(KeyError::Repeated)
        );
    }

    #[test]
    fn k1_a_value_that_is_taken_whole_has_no_quotes_and_no_parameters() {
        let whole = |value| IdempotencyKey::whole(value).map(|key| key.as_str().to_owned());
        assert_eq!(whole("8e03;v=1"), Ok("8e03;v=1".into()));
        assert_eq!(whole(""), Err(KeyError::Empty));
        for value in ["\"8e03\"", " 8e03", "8e03 ", "8e03\n", "8,03"] {
            assert_eq!(whole(value), Err(KeyError::Character), "{value:?}");
        }
    }

    #[test]
    fn k7_a_rule_holds_or_says_what_it_asks_for() {
        let check = |rule: KeyRule, key: &str| rule.check(&IdempotencyKey::whole(key).unwrap());
        let uuid = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(check(KeyRule::uuid(), uuid), Ok(()));
        assert_eq!(check(KeyRule::uuid(), &uuid.to_uppercase()), Ok(()));
        for other in [
            &uuid[1..],
            &uuid.replace('-', ""),
            &uuid.replace('e', "g"),
            "8e03978e-40d5-43dd-bc93-6894a57f932-",
        ] {
            assert_eq!(check(KeyRule::uuid(), other), Err(KeyError::NotUuid));
        }
        assert_eq!(check(KeyRule::min_length(3), "abc"), Ok(()));
        assert_eq!(
            check(KeyRule::min_length(3), "ab"),
            Err(KeyError::TooShort(3))
        );
        assert_eq!(check(KeyRule::prefix("a_"), "a_1"), Ok(()));
        assert_eq!(
            check(KeyRule::prefix("a_"), "b_1"),
            Err(KeyError::Prefix("a_"))
        );
        let even = KeyRule::new("the key must have an even length", |key| {
            key.len().is_multiple_of(2)
        });
        assert_eq!(check(even, "ab"), Ok(()));
        let error = check(even, "abc").unwrap_err();
        assert_eq!(error.to_string(), "the key must have an even length");
    }

    /// Rule K3, as a regular expression.
    const KEY: &str = r"[!#-+\--\[\]-~]{1,255}";

    /// The parameters that may follow a string by RFC 9651, section 3.1.2, with values of every
    /// type.
    const PARAMETERS: &str = concat!(
        r"(; *[a-z*][a-z0-9_.*-]{0,4}(=(-?[0-9]{1,15}|-?[0-9]{1,12}\.[0-9]{1,3}|\?[01]|@-?[0-9]{1,11}",
        r"|[A-Za-z*][a-z:/]{0,3}|:[A-Za-z0-9+/]{4}:|\x22[ !#-\[\]-~]{0,3}\x22))?){0,3}",
    );

    fn is_key(characters: &[u8]) -> bool {
        let is_visible = |byte: &u8| (0x21..=0x7e).contains(byte) && !b",\"\\".contains(byte);
        (1..=255).contains(&characters.len()) && characters.iter().all(is_visible)
    }

    proptest! {
        #[test]
        fn k2_k3_every_key_is_read_back_bare_and_quoted(
            key in KEY, parameters in PARAMETERS, before in "[ \t]{0,2}", after in "[ \t]{0,2}",
        ) {
            prop_assert_eq!(parsed(&format!("{before}{key}{after}")), Ok(key.clone()));
            let quoted = format!("{before}\"{key}\"{parameters}{after}");
            prop_assert_eq!(parsed(&quoted), Ok(key), "{}", quoted);
        }

        #[test]
        fn k4_nothing_else_is_a_key(
            value in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "[ -~]{0,6}".prop_map(String::into_bytes),
                "[ka ,;=\"\\\\\t]{0,8}".prop_map(String::into_bytes),
                "\"?[k-m]{250,260}\"?".prop_map(String::into_bytes),
            ],
        ) {
            let trimmed = value.trim_ascii();
            match (IdempotencyKey::parse(&value), trimmed.strip_prefix(b"\"")) {
                (parsed, None) => {
                    let parsed = parsed.map(|key| key.as_str().as_bytes().to_vec());
                    prop_assert_eq!(parsed.ok(), is_key(trimmed).then(|| trimmed.to_vec()));
                }
                (Ok(key), Some(rest)) => {
                    prop_assert!(is_key(key.as_str().as_bytes()));
                    let after = rest.strip_prefix(key.as_str().as_bytes());
                    let after = after.and_then(|rest| rest.strip_prefix(b"\""));
                    let parameters = after.and_then(|after| after.first().copied());
                    prop_assert!(after.is_some() && matches!(parameters, None | Some(b';')));
                }
                (Err(_), Some(rest)) => {
                    prop_assert!(!rest.strip_suffix(b"\"").is_some_and(is_key));
                }
            }
        }
    }
}
