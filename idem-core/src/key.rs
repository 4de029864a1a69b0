//! The `Idempotency-Key` header (rules K1 to K5).

use std::fmt;

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

/// The reason why a header is not an idempotency key ([rules K2 to K4]).
///
/// [rules K2 to K4]: crate::_documentation::contract#k-the-key
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
