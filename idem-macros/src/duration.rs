//! Durations in the attribute: `"24h"`, `"1d 12h"`.

use crate::suggest;

/// One year. A client doesn't retry after that.
const LONGEST: u64 = 365 * 24 * 60 * 60;

/// The units, and the seconds in each.
const UNITS: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];

/// The seconds in `text`.
///
/// A duration is one or more whole numbers, each followed by its unit without a space. Each unit can be given once, in
/// any order, and spaces between the parts are allowed. The sum is at most one year.
///
/// # Errors
///
/// The problem and its remedy, without the text itself.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    if text.trim().is_empty() {
        return Err(r#"it is empty; write a number and a unit, such as "24h""#.to_owned());
    }
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let part = Part::split(rest);
        let (unit, seconds) = part.unit(text)?;
        rest = part.rest.trim_start();
        if seen.contains(&unit) {
            return Err(format!(
                "unit `{unit}` is given twice; add the two numbers up"
            ));
        }
        seen.push(unit);
        total = part
            .number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(seconds))
            .and_then(|seconds| total.checked_add(seconds))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(|| r#"more than one year; use at most "365d""#.to_owned())?;
    }
    Ok(total)
}

/// A number, its unit, and the rest of the text.
struct Part<'a> {
    number: &'a str,
    unit: &'a str,
    rest: &'a str,
}

impl<'a> Part<'a> {
    fn split(text: &'a str) -> Self {
        let digits = text
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, tail) = text.split_at(digits);
        let letters = tail
            .find(|letter: char| !letter.is_alphabetic())
            .unwrap_or(tail.len());
        let (unit, rest) = tail.split_at(letters);
        Self { number, unit, rest }
    }

    /// The unit and its seconds. `text` is the whole duration, for the remedy.
    fn unit(&self, text: &str) -> Result<(&'static str, u64), String> {
        if let Some(known) = UNITS.iter().find(|(name, _)| *name == self.unit)
            && !self.number.is_empty()
        {
            return Ok(*known);
        }
        let next = self.rest.chars().next();
        let names = suggest::list(UNITS.iter().map(|(name, _)| *name), '`');
        Err(match (self.number, self.unit, next) {
            ("", "", Some(letter)) => {
                format!(
                    r#"unexpected `{letter}`; write whole numbers with a unit, such as "1d 12h""#
                )
            }
            ("", unit, _) => format!(r#"missing number before `{unit}`; write it as in "24h""#),
            (_, "", Some('.' | ',')) => {
                r#"not a whole number; use a smaller unit, such as "90m" in place of "1.5h""#
                    .to_owned()
            }
            (_, "", Some(letter)) if !letter.is_whitespace() => {
                format!(
                    r#"unexpected `{letter}`; write whole numbers with a unit, such as "1d 12h""#
                )
            }
            (_, "", _) if self.rest.trim_start().starts_with(char::is_alphabetic) => {
                r#"space before the unit; write them together, such as "24h""#.to_owned()
            }
            (number, "", _) => {
                let example = if number == text {
                    format!("{number}h")
                } else {
                    "1d 12h".to_owned()
                };
                format!("missing unit; use {names}, such as \"{example}\"")
            }
            (_, unit, _) => format!("unknown unit `{unit}`; use {names}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_with_units_and_their_sums() {
        for (text, seconds) in [
            ("0s", 0),
            ("1s", 1),
            ("90m", 5_400),
            ("24h", 86_400),
            ("1d", 86_400),
            ("1d 12h", 129_600),
            ("1d12h", 129_600),
            ("12h 1d", 129_600),
            ("  1d   2h\t3m 4s ", 93_784),
            ("00007s", 7),
            ("365d", LONGEST),
            ("31536000s", LONGEST),
            ("364d 24h", LONGEST),
        ] {
            assert_eq!(parse(text), Ok(seconds), "{text:?}");
        }
    }

    #[test]
    fn every_problem_has_a_remedy() {
        for (text, problem) in [
            (
                "",
                r#"it is empty; write a number and a unit, such as "24h""#,
            ),
            (
                "  ",
                r#"it is empty; write a number and a unit, such as "24h""#,
            ),
            (
                "24",
                r#"missing unit; use `s`, `m`, `h` or `d`, such as "24h""#,
            ),
            (
                "1h 30",
                r#"missing unit; use `s`, `m`, `h` or `d`, such as "1d 12h""#,
            ),
            ("h", r#"missing number before `h`; write it as in "24h""#),
            (
                "one day",
                r#"missing number before `one`; write it as in "24h""#,
            ),
            (
                "24 h",
                r#"space before the unit; write them together, such as "24h""#,
            ),
            ("24H", "unknown unit `H`; use `s`, `m`, `h` or `d`"),
            ("500ms", "unknown unit `ms`; use `s`, `m`, `h` or `d`"),
            ("2w", "unknown unit `w`; use `s`, `m`, `h` or `d`"),
            ("24hours", "unknown unit `hours`; use `s`, `m`, `h` or `d`"),
            (
                "1_000s",
                r#"unexpected `_`; write whole numbers with a unit, such as "1d 12h""#,
            ),
            (
                "1.5h",
                r#"not a whole number; use a smaller unit, such as "90m" in place of "1.5h""#,
            ),
            (
                "-1h",
                r#"unexpected `-`; write whole numbers with a unit, such as "1d 12h""#,
            ),
            (
                "+1h",
                r#"unexpected `+`; write whole numbers with a unit, such as "1d 12h""#,
            ),
            (
                "1h, 2m",
                r#"unexpected `,`; write whole numbers with a unit, such as "1d 12h""#,
            ),
            ("1h 2h", "unit `h` is given twice; add the two numbers up"),
            ("366d", r#"more than one year; use at most "365d""#),
            ("365d 1s", r#"more than one year; use at most "365d""#),
            (
                "18446744073709551615d",
                r#"more than one year; use at most "365d""#,
            ),
            (
                "99999999999999999999999999s",
                r#"more than one year; use at most "365d""#,
            ),
            (
                "٣h",
                "unexpected `٣`; write whole numbers with a unit, such as \"1d 12h\"",
            ),
            ("1ĥ", "unknown unit `ĥ`; use `s`, `m`, `h` or `d`"),
        ] {
            assert_eq!(parse(text).unwrap_err(), problem, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_sum_within_a_year_is_read_back(days in 0u64..364, hours in 0u64..24, minutes in 0u64..60, seconds in 0u64..60) {
            let expected = days * 86_400 + hours * 3_600 + minutes * 60 + seconds;
            prop_assert_eq!(parse(&format!("{days}d {hours}h {minutes}m {seconds}s")), Ok(expected));
            prop_assert_eq!(parse(&format!("{seconds}s{minutes}m{hours}h{days}d")), Ok(expected));
        }

        #[test]
        fn no_text_panics_or_passes_a_year(text in ".{0,40}") {
            if let Ok(seconds) = parse(&text) {
                prop_assert!(seconds <= LONGEST);
            }
        }

        #[test]
        fn no_text_of_the_right_letters_panics_or_passes_a_year(text in "[0-9smhd .]{0,40}") {
            if let Ok(seconds) = parse(&text) {
                prop_assert!(seconds <= LONGEST);
            }
        }
    }
}
