//! Numbers that `serde_json` keeps as text, with its feature `arbitrary_precision`.

use std::{io::Write, mem};

use super::{
    encoder::{Encoder, tag},
    sort::{Entry, key_parts},
};

/// `serde_json` serializes such a number as a struct of this name; its one field has the same name.
pub(super) const TOKEN: &str = "$serde_json::private::Number";

/// Replaces the map with a number's text by the number. The map's tag is the last byte before
/// `start`; its entries begin at index `first`. Returns `false`, and changes nothing, if the map
/// has another shape.
#[cold]
pub(super) fn replace(encoder: &mut Encoder, start: usize, first: usize) -> bool {
    let [Entry { key_end, .. }] = encoder.entries[first..] else {
        return false;
    };
    let (key, value) = encoder.out[start..].split_at(key_end - start);
    let (tag::STRING, text) = key_parts(value) else {
        return false;
    };
    if key_parts(key) != (tag::STRING, TOKEN.as_bytes()) {
        return false;
    }
    let mut scratch = mem::take(&mut encoder.scratch);
    scratch.clear();
    scratch.extend_from_slice(text);
    encoder.out.truncate(start - 1);
    match Number::from_text(&scratch) {
        Number::Integer(sign, magnitude) => encoder.put_integer(sign, magnitude),
        Number::Float(float) => encoder.put_float(float),
        Number::Text => encoder.put_number(&scratch),
    }
    encoder.scratch = scratch;
    true
}

#[derive(Debug, PartialEq)]
enum Number {
    Integer(u8, u64),
    Float(f64),
    Text,
}

impl Number {
    fn from_text(text: &[u8]) -> Self {
        Self::without_text(text).unwrap_or(Self::Text)
    }

    /// The number as `serde_json` reads it without `arbitrary_precision`; `None` if numbers of
    /// other values would then be read as the same.
    fn without_text(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let digits = significant_digits(text)?;
        if let Ok(integer) = text.parse::<u64>() {
            return Some(Self::Integer(tag::POSITIVE, integer));
        }
        // `-0` is a float to `serde_json`.
        if let Ok(integer @ ..0) = text.parse::<i64>() {
            return Some(Self::Integer(tag::NEGATIVE, integer.unsigned_abs()));
        }
        let float = text.parse().ok()?;
        is_shortest(digits, float).then_some(Self::Float(float))
    }
}

/// Whether these are the digits of the shortest decimal that reads as `float`. The digits must come
/// from a decimal that reads as `float`. That decimal is then the shortest one: with the same
/// digits, two decimals differ by a power of ten, and rounding never does.
fn is_shortest(digits: impl Iterator<Item = u8>, float: f64) -> bool {
    let mut buffer = [0; 32];
    let mut rest = &mut buffer[..];
    if !float.is_finite() || write!(rest, "{float:e}").is_err() {
        return false;
    }
    let length = 32 - rest.len();
    str::from_utf8(&buffer[..length])
        .ok()
        .and_then(significant_digits)
        .is_some_and(|shortest| shortest.eq(digits))
}

/// The digits of a number in JSON's grammar, without zeros at either end.
fn significant_digits(text: &str) -> Option<impl Iterator<Item = u8>> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent.strip_prefix(['+', '-']).unwrap_or(exponent),
        ),
        None => (unsigned, "0"),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if ![integer, fraction, exponent].into_iter().all(is_number)
        || (integer.len() > 1 && integer.starts_with('0'))
    {
        return None;
    }
    let digits = integer.bytes().chain(fraction.bytes());
    let zeros = digits
        .clone()
        .rev()
        .take_while(|digit| *digit == b'0')
        .count();
    let length = integer.len() + fraction.len() - zeros;
    Some(digits.take(length).skip_while(|digit| *digit == b'0'))
}

#[cfg(test)]
mod tests {
    use super::{Number, tag};

    fn number(text: &str) -> Number {
        Number::from_text(text.as_bytes())
    }

    #[test]
    fn integers_of_64_bits_are_integers() {
        assert_eq!(number("0"), Number::Integer(tag::POSITIVE, 0));
        assert_eq!(
            number("18446744073709551615"),
            Number::Integer(tag::POSITIVE, u64::MAX)
        );
        assert_eq!(
            number("-9223372036854775808"),
            Number::Integer(tag::NEGATIVE, 1 << 63)
        );
    }

    #[test]
    fn whatever_the_shortest_text_of_a_float_says_is_the_float() {
        for (text, float) in [
            ("-0", 0.0),
            ("0.0", 0.0),
            ("0e999", 0.0),
            ("1.0", 1.0),
            ("1e2", 100.0),
            ("0.1", 0.1),
            ("0.10", 0.1),
            ("1E-1", 0.1),
            ("-12.50e+1", -125.0),
            ("100000000000000000000", 1e20),
            ("-9223372036854776000", -9_223_372_036_854_775_808.0),
            ("1.7976931348623157e308", f64::MAX),
            ("5e-324", 5e-324),
            // Halfway between two texts of 17 digits; the one farther from zero counts.
            ("1746108739471178.3", 1_746_108_739_471_178.3),
        ] {
            assert_eq!(number(text), Number::Float(float), "{text}");
        }
    }

    #[test]
    fn what_no_float_says_as_briefly_stays_text() {
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "0.1000000000000000055511151231257827",
            "0.12345678901234567890",
            "1e400",
            "1e-400",
            "1e99999999999999999999",
            "1746108739471178.2",
            "1746108739471178.25",
        ] {
            assert_eq!(number(text), Number::Text, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_number_stays_text() {
        for text in [
            "", "-", "+1", "01", "-01", ".5", "5.", "1e", "1e+", "0x10", "inf", "NaN", "1_000",
            " 1", "1.2.3", "--1", "1e5e5", "１",
        ] {
            assert_eq!(number(text), Number::Text, "{text}");
        }
    }
}
