//! The client's wish for an answer before the attempt has ended (rule C7; [RFC 7240]).
//!
//! [RFC 7240]: https://www.rfc-editor.org/rfc/rfc7240

use std::time::Duration;

/// `Prefer: respond-async`, and the time in its `wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RespondAsync {
    wait: Option<Duration>,
}

impl RespondAsync {
    /// Reads the lines of `Prefer`. Of two preferences of one name the first counts; one that can't be read is
    /// ignored, as the RFC says.
    pub(crate) fn of<'h>(lines: impl Iterator<Item = &'h [u8]>) -> Option<Self> {
        let mut is_wanted = false;
        let mut wait = None;
        for line in lines.filter_map(|line| std::str::from_utf8(line).ok()) {
            for preference in split(line, ',') {
                // Parameters follow after a semicolon.
                let preference = split(preference, ';').next().unwrap_or_default();
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                let (name, value) = (name.trim(), value.trim().trim_matches('"'));
                if name.eq_ignore_ascii_case("respond-async") {
                    is_wanted = true;
                } else if name.eq_ignore_ascii_case("wait") {
                    wait = wait.or_else(|| value.parse().ok());
                }
            }
        }
        let wait = wait.map(Duration::from_secs);
        is_wanted.then_some(Self { wait })
    }

    /// How long the client waits at an endpoint that lets it wait for `limit`.
    pub(crate) fn patience(self, limit: Duration) -> Duration {
        self.wait.map_or(limit, |wait| wait.min(limit))
    }
}

/// Splits at a separator outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |letter| {
        match letter {
            _ if is_escaped => {
                is_escaped = false;
                return false;
            }
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        letter == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn patience(lines: &[&str]) -> Option<u64> {
        let lines = lines.iter().map(|line| line.as_bytes());
        Some(RespondAsync::of(lines)?.patience(LIMIT).as_secs())
    }

    #[test]
    fn c7_the_client_says_how_long_it_waits() {
        for (lines, expected) in [
            (&["respond-async"][..], Some(5)),
            (&["respond-async, wait=3"], Some(3)),
            (&["wait=0,respond-async"], Some(0)),
            (&["respond-async; wait=3"], Some(5)), // a parameter, which has no meaning here
            (&["Respond-Async", "WAIT = 4"], Some(4)),
            (&["respond-async, wait=60"], Some(5)),
            (&["respond-async, wait=1, wait=2"], Some(1)),
            (&[r#"respond-async, wait="2""#], Some(2)),
            (&["respond-async, wait=soon"], Some(5)),
            (&[r#"note="a, \", respond-async", wait=1"#], None),
            (&[r#"note="a, wait=1", respond-async"#], Some(5)),
            (&["return=minimal, wait=1"], None),
            (&["respond-asynchronously"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(patience(lines), expected, "{lines:?}");
        }
    }
}
