//! Numbers that `serde_json` keeps as text, which it does with its feature `arbitrary_precision`.

use std::{io::Write, mem};

use super::{
    encoder::{Encoder, tag},
    map::{Entry, key_parts},
};

/// The struct as which `serde_json` serializes such a number; its one field has the same name.
pub(super) const TOKEN: &str = "$serde_json::private::Number";

/// Replaces the map that holds a number's text by the number: the map's tag is the last byte before `start`, its
/// entries are those from `first` on. Answers `false`, and changes nothing, if the map has another shape.
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
    /// What the number is without `arbitrary_precision`, as far as that is told from no other text of another value.
    fn from_text(text: &[u8]) -> Self {
        let (Ok(text), Some(decimal)) = (str::from_utf8(text), Decimal::parse(text)) else {
            return Self::Text;
        };
        if let Ok(integer) = text.parse::<u64>() {
            return Self::Integer(tag::POSITIVE, integer);
        }
        // `-0` is a float to `serde_json`.
        if let Ok(integer @ ..0) = text.parse::<i64>() {
            return Self::Integer(tag::NEGATIVE, integer.unsigned_abs());
        }
        match text.parse::<f64>() {
            Ok(float) if decimal.is_shortest_for(float) => Self::Float(float),
            _ => Self::Text,
        }
    }
}

/// A number in JSON's grammar, taken apart.
struct Decimal<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (text, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (integer, fraction) = match text.iter().position(|byte| *byte == b'.') {
            Some(at) => (&text[..at], digits(&text[at + 1..])?),
            None => (text, &[][..]),
        };
        let integer = digits(integer)?;
        if integer.len() > 1 && integer[0] == b'0' {
            return None;
        }
        Some(Self {
            negative,
            integer,
            fraction,
            exponent,
        })
    }

    /// Whether this is the same number as the shortest text that reads back as `float`. Each float has one such text,
    /// so that no two different numbers become the same float.
    fn is_shortest_for(&self, float: f64) -> bool {
        let mut buffer = [0; 32];
        let mut rest = &mut buffer[..];
        if !float.is_finite() || write!(rest, "{float:e}").is_err() {
            return false;
        }
        let unused = rest.len();
        let length = buffer.len() - unused;
        Decimal::parse(&buffer[..length]).is_some_and(|shortest| self.equals(&shortest))
    }

    fn equals(&self, other: &Self) -> bool {
        if !self.significant().eq(other.significant()) {
            return false;
        }
        let is_zero = self.significant().next().is_none();
        is_zero || (self.negative, self.magnitude()) == (other.negative, other.magnitude())
    }

    /// The digits without zeros at either end.
    fn significant(&self) -> impl Iterator<Item = u8> {
        let digits = self.integer.iter().chain(self.fraction).copied();
        let zeros = digits.clone().rev().take_while(|digit| *digit == b'0');
        let length = self.integer.len() + self.fraction.len() - zeros.count();
        digits.take(length).skip_while(|digit| *digit == b'0')
    }

    /// Where the point is, counted from the first significant digit.
    fn magnitude(&self) -> i128 {
        let digits = self.integer.iter().chain(self.fraction);
        let zeros = digits.take_while(|digit| **digit == b'0').count();
        self.integer.len() as i128 - zeros as i128 + i128::from(self.exponent)
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let exponent = digits(text)?.iter().fold(0_i64, |exponent, digit| {
        exponent
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    Some(if negative { -exponent } else { exponent })
}

fn digits(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(text)
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
