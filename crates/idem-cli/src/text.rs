//! Numbers, times and foreign bytes as people read them.

use std::fmt::Write as _;
use std::time::Duration;

use idem_core::Timestamp;

/// A point of the calendar as in RFC 3339, to the microsecond.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let (seconds, micros) = (time.unix_seconds(), time.0.rem_euclid(1_000_000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The algorithm is `civil_from_days` of Howard Hinnant; its years begin in March.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The same to the second.
pub(crate) fn seconds(time: Timestamp) -> String {
    rfc3339(Timestamp(time.unix_seconds().saturating_mul(1_000_000))).replace(".000000Z", "Z")
}

/// A duration in its two largest units.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(length, _)| seconds >= *length);
    let first = first.unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, unit) in units.iter().skip(first).take(2) {
        if rest >= *length || parts.is_empty() {
            parts.push(format!("{} {unit}", rest / length));
        }
        rest %= length;
    }
    parts.join(" ")
}

pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut scaled = count;
    let mut unit = 0;
    while scaled >= 1_000_000 && unit + 1 < UNITS.len() {
        scaled /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", scaled / 1000, scaled % 1000 / 100, UNITS[unit])
}

/// Text of somebody else, without characters that would control the terminal.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            let _ = write!(harmless, "{}", character.escape_default());
        } else {
            harmless.push(character);
        }
    }
    harmless
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Rows with aligned columns. The columns from `numbers` on are aligned to the right.
pub(crate) fn table(rows: &[Vec<String>], numbers: std::ops::Range<usize>) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = if numbers.contains(&column) {
                write!(line, "{gap}{cell:>width$}")
            } else {
                write!(line, "{gap}{cell:width$}")
            };
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_827_696_000_001, "2000-02-29T12:34:56.000001Z"),
            (1_798_761_599_999_999, "2026-12-31T23:59:59.999999Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(micros)), text);
        }
        assert_eq!(seconds(Timestamp(1_500_000)), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn durations_have_two_units_and_sizes_one() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3661, "1 h 1 min"),
            (86_400, "1 d"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        for (count, text) in [
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_234_567, "1.2 MB"),
            (9_876_543_210, "9.8 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn foreign_text_does_not_control_the_terminal() {
        assert_eq!(
            harmless("a\x1b[2J\r\u{9b}\n\tü"),
            "a\\u{1b}[2J\\r\\u{9b}\n\tü"
        );
    }
}
