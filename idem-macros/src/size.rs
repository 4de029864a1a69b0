//! Sizes in the attribute: `"4MiB"`.

use crate::suggest;

/// 1 GiB. No database takes a longer value.
const LARGEST: u64 = 1 << 30;

/// The units, and the bytes in each.
const UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)];

/// The bytes in `text`: a whole number and its unit, without a space.
///
/// # Errors
///
/// The problem and its remedy, without the text itself.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let Some((_, bytes)) = known.filter(|_| !number.is_empty()) else {
        return Err(problem(number, unit));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*bytes))
        .filter(|bytes| *bytes <= LARGEST)
        .ok_or_else(|| r#"more than 1 GiB; use at most "1024MiB""#.to_owned())
}

/// Why `number` and `unit`, the rest of the text, are not a size.
fn problem(number: &str, unit: &str) -> String {
    let names = suggest::list(UNITS.iter().map(|(name, _)| *name), '`');
    let stray = unit.chars().find(|letter| !letter.is_alphabetic());
    match (number, unit, stray) {
        ("", "", _) => r#"it is empty; write a number and a unit, such as "4MiB""#.to_owned(),
        (number, "", _) => format!("missing unit; use {names}, such as \"{number}KiB\""),
        ("", unit, None) => format!(r#"missing number before `{unit}`; write it as in "4MiB""#),
        (_, unit, None) => format!("unknown unit `{unit}`; use {names}"),
        (_, _, Some('.' | ',')) if !number.is_empty() && unit.starts_with(['.', ',']) => {
            r#"not a whole number; use a smaller unit, such as "1536KiB" in place of "1.5MiB""#
                .to_owned()
        }
        (_, unit, Some(_)) if !number.is_empty() && unit.starts_with(char::is_whitespace) => {
            r#"space before the unit; write them together, such as "4MiB""#.to_owned()
        }
        (_, _, Some(letter)) => {
            format!(r#"unexpected `{letter}`; write a whole number with a unit, such as "4MiB""#)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_with_units() {
        for (text, bytes) in [
            ("0B", 0),
            ("1B", 1),
            ("512KiB", 524_288),
            ("4MiB", 4_194_304),
            (" 4MiB ", 4_194_304),
            ("0004MiB", 4_194_304),
            ("1024MiB", LARGEST),
            ("1073741824B", LARGEST),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn every_problem_has_a_remedy() {
        let unknown = |unit| format!("unknown unit `{unit}`; use `B`, `KiB` or `MiB`");
        let unexpected = |letter| {
            format!("unexpected `{letter}`; write a whole number with a unit, such as \"4MiB\"")
        };
        let whole =
            r#"not a whole number; use a smaller unit, such as "1536KiB" in place of "1.5MiB""#;
        let space = r#"space before the unit; write them together, such as "4MiB""#;
        let empty = r#"it is empty; write a number and a unit, such as "4MiB""#;
        let large = r#"more than 1 GiB; use at most "1024MiB""#;
        for (text, problem) in [
            ("", empty.to_owned()),
            ("  ", empty.to_owned()),
            (
                "64",
                r#"missing unit; use `B`, `KiB` or `MiB`, such as "64KiB""#.to_owned(),
            ),
            (
                "MiB",
                r#"missing number before `MiB`; write it as in "4MiB""#.to_owned(),
            ),
            ("4 MiB", space.to_owned()),
            ("1.5MiB", whole.to_owned()),
            ("1,5MiB", whole.to_owned()),
            ("4MB", unknown("MB")),
            ("4M", unknown("M")),
            ("4mib", unknown("mib")),
            ("1GiB", unknown("GiB")),
            ("4MiBs", unknown("MiBs")),
            ("1_000B", unexpected("_")),
            ("-1B", unexpected("-")),
            ("1MiB 512KiB", unexpected(" ")),
            (".5MiB", unexpected(".")),
            ("1025MiB", large.to_owned()),
            ("1073741825B", large.to_owned()),
            ("99999999999999999999B", large.to_owned()),
            ("18446744073709551615MiB", large.to_owned()),
        ] {
            assert_eq!(parse(text).unwrap_err(), problem, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_passes_the_largest(text in "[0-9KMiB .]{0,24}|.{0,24}") {
            if let Ok(bytes) = parse(&text) {
                prop_assert!(bytes <= LARGEST);
            }
        }
    }
}
