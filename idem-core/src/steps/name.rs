//! The names of steps.

use std::fmt::Display;

/// The most bytes of a name, with its second part.
const MOST: usize = 255;

/// The name of a step: a literal, or in a loop a literal and the item's own name, such as
/// `("mail", line.id)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepName(String);

impl StepName {
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl From<&'static str> for StepName {
    fn from(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

impl<D: Display> From<(&'static str, D)> for StepName {
    fn from((name, item): (&'static str, D)) -> Self {
        Self(format!("{name}/{item}"))
    }
}

/// Whether a name may be used. The attribute checks literals as well.
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    let (literal, item) = name.split_once('/').unwrap_or((name, ""));
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if literal.is_empty() || literal.len() > 64 || !literal.bytes().all(is_plain) {
        return Err("a name has 1 to 64 of a-z, 0-9, `_`, `.` and `-`");
    }
    if name.len() > MOST || item.contains('\0') {
        return Err("a name with the item has at most 255 bytes, and no NUL");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t11_name_is_short_and_plain() {
        let long = "a".repeat(64);
        for name in ["ride", "a.b-c_9", &long, "mail/7", "mail/Ü ' \\"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(65);
        let item = format!("a/{}", "b".repeat(254));
        for name in ["", "Ride", "a b", "/7", "a/\0", &too_long, &item] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
