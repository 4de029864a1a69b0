//! The headers that say when to ask again, and until when.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};

pub(crate) const EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");

/// The marker of a replay: that of idem by default, and that of services which follow Stripe.
const REPLAYED: [&str; 2] = ["idempotency-replayed", "idempotent-replayed"];

const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(crate) fn is_replayed(headers: &HeaderMap) -> bool {
    REPLAYED.iter().any(|name| headers.contains_key(*name))
}

/// Whether the request goes on, and the same request is the poll, as the client has preferred.
pub(crate) fn is_pending(headers: &HeaderMap) -> bool {
    text(headers, &APPLIED).is_some_and(|value| value.eq_ignore_ascii_case("respond-async"))
}

/// The least time until the next attempt, by `Retry-After`: a number of seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    let seconds = value.parse().map(Duration::from_secs);
    let until = || Some(since(headers, httpdate::parse_http_date(value).ok()?));
    seconds.ok().or_else(until)
}

/// The time until the record is forgotten, by `Idempotency-Expires`, an RFC 9651 Date such as `@1795389049`.
pub(crate) fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &EXPIRES)?.strip_prefix('@')?;
    let seconds = value.split(';').next()?.trim().parse().ok()?;
    let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some(since(headers, expires))
}

/// The time from the answer to this date, by the answer's own clock if it says its time.
fn since(headers: &HeaderMap, date: SystemTime) -> Duration {
    let now = text(headers, &DATE).and_then(|now| httpdate::parse_http_date(now).ok());
    let now = now.unwrap_or_else(SystemTime::now);
    date.duration_since(now).unwrap_or_default()
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Fri, 27 Nov 2026 03:04:05 GMT";

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let lines = lines.iter();
        let lines = lines.map(|(name, value)| (name.clone(), value.parse().unwrap()));
        lines.collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_of_the_answers_clock() {
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Fri, 27 Nov 2026 03:05:05 GMT", Some(60)),
            ("Fri, 27 Nov 2026 03:04:04 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            let headers = headers(&[(DATE, NOW), (RETRY_AFTER, value)]);
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&headers), expected, "{value}");
        }
    }

    #[test]
    fn lifetime_is_counted_by_the_answers_clock() {
        let now = httpdate::parse_http_date(NOW).unwrap();
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        for (value, seconds) in [
            (format!("@{}", now + 90), Some(90)),
            (format!("@{};a=1", now + 90), Some(90)),
            (format!("@{}", now - 90), Some(0)),
            (format!("{}", now + 90), None),
            (format!("@{}", u64::MAX), None),
        ] {
            let headers = headers(&[(DATE, NOW), (EXPIRES, &value)]);
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(lifetime(&headers), expected, "{value}");
        }
        let without_date = headers(&[(EXPIRES, "@1")]);
        assert_eq!(lifetime(&without_date), Some(Duration::ZERO));
    }
}
