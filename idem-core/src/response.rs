//! The recorded part of a response, and its replay (rules R3, R4 and R7).

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::identity::Identity;
use crate::record::{Record, Timestamp, Unreadable};

/// A complete response, as adapters pass it to the engine and receive it from the engine.
pub type Response = http::Response<Bytes>;

/// The default name of [`Marker::Replayed`].
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The default name of [`Marker::Expires`].
pub const EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");

/// The default name of [`Marker::Body`].
const BODY: HeaderName = HeaderName::from_static("idempotency-body");

/// A header that the library adds to responses, whose name [`Config::try_with_marker`] changes
/// ([rule R13]).
///
/// [`Config::try_with_marker`]: crate::Config::try_with_marker
/// [rule R13]: crate::_documentation::contract#r-first-request-and-replay
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Marker {
    /// `Idempotency-Replayed`: the answer is a replay. Its value is `true`.
    Replayed,
    /// `Idempotency-Expires`: the time until which the answer is remembered, as an RFC 9651 Date.
    Expires,
    /// `Idempotency-Body`: the body was not recorded, as the endpoint wants it. Its value is `omitted`.
    Body,
}

/// The names of the markers.
#[derive(Debug, Clone)]
pub(crate) struct MarkerNames([HeaderName; 3]);

impl MarkerNames {
    pub(crate) const DEFAULT: Self = Self([REPLAYED, EXPIRES, BODY]);

    pub(crate) fn of(&self, marker: Marker) -> &HeaderName {
        &self.0[marker as usize]
    }

    pub(crate) fn set(&mut self, marker: Marker, name: HeaderName) {
        self.0[marker as usize] = name;
    }

    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }

    /// Removes those that a handler has set.
    pub(crate) fn remove_from(&self, headers: &mut HeaderMap) {
        for name in &self.0 {
            headers.remove(name);
        }
    }

    /// Adds the time until which the response is remembered.
    pub(crate) fn mark_expiry(&self, headers: &mut HeaderMap, expires_at: Timestamp) {
        let date = format!("@{}", expires_at.unix_seconds());
        if let Ok(date) = HeaderValue::try_from(date) {
            headers.insert(self.of(Marker::Expires), date);
        }
    }
}

/// The headers that are recorded by default.
pub(crate) const ALLOWED: [HeaderName; 11] = [
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_ENCODING,
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::VARY,
    header::LOCATION,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
    header::RETRY_AFTER,
];

/// The headers that are never recorded, even if the application allows them: they belong to one
/// connection, one time or one caller.
pub(crate) const NEVER: [HeaderName; 22] = [
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("proxy-authentication-info"),
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::DATE,
    header::CONTENT_LENGTH,
    header::AGE,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-trace-id"),
    REPLAYED,
    EXPIRES,
    BODY,
];

/// The headers that are recorded at one endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed<'a> {
    pub(crate) names: &'a [HeaderName],
    /// The cookies whose `Set-Cookie` is recorded.
    pub(crate) cookies: &'a [&'a str],
}

impl Allowed<'_> {
    pub(crate) fn contains(self, name: &HeaderName, value: &HeaderValue) -> bool {
        self.names.contains(name)
            || name == header::SET_COOKIE
                && cookie_name(value).is_some_and(|name| self.cookies.contains(&name))
    }
}

/// The name of the cookie that a `Set-Cookie` sets.
fn cookie_name(value: &HeaderValue) -> Option<&str> {
    let equals = value.as_bytes().iter().position(|&byte| byte == b'=')?;
    let name = std::str::from_utf8(&value.as_bytes()[..equals]).ok()?;
    Some(name.trim_matches([' ', '\t']))
}

/// The version of the stored form.
const FORMAT: u8 = 1;

/// The number of bytes of a SHA-256 that guard the stored form.
const CHECKSUM: usize = 8;

/// The part of a response that is stored next to its status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The allowed headers, duplicates in order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole body.
    pub body: Bytes,
}

impl Recorded {
    /// Takes the recorded part of a response.
    pub(crate) fn of(response: &Response, allowed: Allowed<'_>) -> Self {
        let headers = response.headers().iter();
        let recorded = headers.filter(|(name, value)| allowed.contains(name, value));
        Self {
            headers: recorded
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body: response.body().clone(),
        }
    }

    /// Leaves out the body and the headers that describe it, and says so (rule R11). The header is part of
    /// the record, since the endpoint may be another one by the time of the replay.
    pub(crate) fn without_body(mut self, markers: &MarkerNames) -> Self {
        if !self.body.is_empty() {
            self.body = Bytes::new();
            self.headers
                .retain(|(name, _)| !name.as_str().starts_with("content-"));
            let omitted = HeaderValue::from_static("omitted");
            self.headers
                .push((markers.of(Marker::Body).clone(), omitted));
        }
        self
    }

    /// The stored form: version, length of the header lines, header lines as in HTTP/1, body, and
    /// a checksum that also covers the identity and the status.
    pub fn encode(&self, identity: &Identity, status: StatusCode) -> Vec<u8> {
        let lines: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 3)
            .sum();
        let mut encoding = Vec::with_capacity(5 + lines + self.body.len() + CHECKSUM);
        encoding.push(FORMAT);
        encoding.extend(u32::try_from(lines).unwrap_or(u32::MAX).to_be_bytes());
        for (name, value) in &self.headers {
            encoding.extend_from_slice(name.as_str().as_bytes());
            encoding.push(b':');
            encoding.extend_from_slice(value.as_bytes());
            encoding.extend_from_slice(b"\r\n");
        }
        encoding.extend_from_slice(&self.body);
        encoding.extend(checksum(&encoding, identity, status));
        encoding
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if a byte of the stored form, the status or the identity has changed.
    pub fn decode(
        encoding: Vec<u8>,
        identity: &Identity,
        status: StatusCode,
    ) -> Result<Self, Unreadable> {
        if encoding.first() != Some(&FORMAT) {
            return Err(Unreadable("response is of an unknown version"));
        }
        let end = encoding.len().saturating_sub(CHECKSUM);
        let mut encoding = Bytes::from(encoding);
        let stored = encoding.split_off(end);
        if *stored != checksum(&encoding, identity, status) {
            return Err(Unreadable("response fails its checksum"));
        }
        let cut_short = Unreadable("response is cut short");
        let length: [u8; 4] = encoding
            .get(1..5)
            .and_then(|length| length.try_into().ok())
            .ok_or(cut_short)?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| cut_short)?;
        let body_at = length.checked_add(5).ok_or(cut_short)?;
        if encoding.len() < body_at {
            return Err(cut_short);
        }
        Ok(Self {
            headers: decode_lines(&encoding[5..body_at]).ok_or(Unreadable("header line"))?,
            body: encoding.slice(body_at..),
        })
    }
}

/// In the extensions of every replay: for a layer or a middleware that marks the answer, or makes a part
/// of it anew ([rule R5]).
///
/// A layer around the endpoint runs after the handler's extractors, so it sees only replays that the
/// client may have:
///
/// ```
/// # use idem_core::Replayed;
/// # let mut response = http::Response::new(());
/// if let Some(replayed) = response.extensions().get::<Replayed>() {
///     let age = replayed.age.as_secs();
///     response.headers_mut().insert("age", age.into());
/// }
/// ```
///
/// [rule R5]: crate::_documentation::contract#r-first-request-and-replay
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The time since the original answer, by the database's clock.
    pub age: Duration,
}

/// The replay of a record that was read at `now`. There is none as long as its response is sealed.
pub(crate) fn replay(record: &Record, now: Timestamp, markers: &MarkerNames) -> Option<Response> {
    let recorded = record.response.readable()?;
    let mut response = Response::new(recorded.body.clone());
    let age = record.settled_at.until(now);
    response.extensions_mut().insert(Replayed { age });
    *response.status_mut() = record.status;
    for (name, value) in &recorded.headers {
        response.headers_mut().append(name, value.clone());
    }
    let headers = response.headers_mut();
    let replayed = markers.of(Marker::Replayed);
    headers.insert(replayed, HeaderValue::from_static("true"));
    markers.mark_expiry(headers, record.expires_at);
    Some(response)
}

fn checksum(encoding: &[u8], identity: &Identity, status: StatusCode) -> [u8; CHECKSUM] {
    let mut hasher = Sha256::new();
    hasher.update(identity.as_bytes());
    hasher.update(status.as_u16().to_be_bytes());
    hasher.update(encoding);
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(&hasher.finalize()[..CHECKSUM]);
    checksum
}

fn decode_lines(mut lines: &[u8]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    while !lines.is_empty() {
        let colon = lines.iter().position(|&byte| byte == b':')?;
        let end = lines.windows(2).position(|pair| pair == b"\r\n")?;
        let value = lines.get(colon + 1..end)?;
        headers.push((
            HeaderName::from_bytes(&lines[..colon]).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        ));
        lines = &lines[end + 2..];
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::key::IdempotencyKey;
    use crate::operation::Operation;

    fn identity(key: &str) -> Identity {
        let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
        Identity::new(None, &Operation::named("test"), &key)
    }

    fn recorded() -> Recorded {
        Recorded {
            headers: vec![
                (header::LINK, HeaderValue::from_static("</1>; rel=next")),
                (header::LINK, HeaderValue::from_static("</2>; rel=last")),
                (header::ETAG, HeaderValue::from_bytes(b"\"\xff:\"").unwrap()),
                (header::LOCATION, HeaderValue::from_static("")),
            ],
            body: Bytes::from_static(b"\x00\xff\r\n:"),
        }
    }

    #[test]
    fn r4_only_allowed_headers_are_recorded_duplicates_in_order() {
        let response = http::Response::builder()
            .header("link", "a")
            .header("set-cookie", "secret")
            .header("link", "b")
            .header("x-request-id", "1")
            .body(Bytes::new())
            .unwrap();
        let allowed = Allowed {
            names: &ALLOWED,
            cookies: &[],
        };
        let recorded = Recorded::of(&response, allowed);
        let values: Vec<_> = recorded.headers.iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["a", "b"]);
    }

    #[test]
    fn r11_a_head_has_no_body_and_no_header_of_one() {
        let response = |body: &'static [u8]| {
            let builder = http::Response::builder()
                .header("content-type", "application/json")
                .header("location", "/keys/1");
            let response = builder.body(Bytes::from_static(body)).unwrap();
            let allowed = Allowed {
                names: &ALLOWED,
                cookies: &[],
            };
            Recorded::of(&response, allowed)
        };
        let head = response(b"secret").without_body(&MarkerNames::DEFAULT);
        let expected = [
            (header::LOCATION, HeaderValue::from_static("/keys/1")),
            (BODY, HeaderValue::from_static("omitted")),
        ];
        assert_eq!(head.headers, expected);
        assert_eq!(head.body, "");
        // Nothing is left out of it.
        assert_eq!(
            response(b"").without_body(&MarkerNames::DEFAULT),
            response(b"")
        );
    }

    prop_compose! {
        fn any_recorded()(
            headers in vec(("[a-z][a-z0-9-]{0,9}", vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80_u8..], 0..20)), 0..5),
            body in vec(any::<u8>(), 0..100),
        ) -> Recorded {
            let header = |(name, value): (String, Vec<u8>)| {
                (name.parse().unwrap(), HeaderValue::from_bytes(&value).unwrap())
            };
            Recorded {
                headers: headers.into_iter().map(header).collect(),
                body: body.into(),
            }
        }
    }

    fn decoded(encoding: Vec<u8>) -> Result<Recorded, Unreadable> {
        Recorded::decode(encoding, &identity("k"), StatusCode::OK)
    }

    proptest! {
        #[test]
        fn r3_every_response_is_read_back(recorded in any_recorded()) {
            prop_assert_eq!(decoded(recorded.encode(&identity("k"), StatusCode::OK)), Ok(recorded));
        }

        #[test]
        fn x21_a_changed_byte_is_found(recorded in any_recorded(), at in any::<Index>(), flip in 1_u8..) {
            let mut encoding = recorded.encode(&identity("k"), StatusCode::OK);
            *at.get_mut(&mut encoding) ^= flip;
            prop_assert!(decoded(encoding).is_err());
        }

        #[test]
        fn x21_a_cut_is_found(recorded in any_recorded(), keep in any::<Index>()) {
            let mut encoding = recorded.encode(&identity("k"), StatusCode::OK);
            encoding.truncate(keep.index(encoding.len()));
            prop_assert!(decoded(encoding).is_err());
        }

        /// A forger, or another release, can compute the checksum.
        #[test]
        fn x21_whatever_passes_the_checksum_is_refused_or_read_in_full(
            format in prop_oneof![4 => Just(FORMAT), 1 => any::<u8>()],
            length in prop_oneof![0..20_u32, any::<u32>()],
            rest in prop_oneof![
                "(a|:|\r\n|b:\u{ff}\r\n){0,8}".prop_map(String::into_bytes),
                vec(any::<u8>(), 0..64),
            ],
            fits in any::<bool>(),
        ) {
            let length = if fits { u32::try_from(rest.len()).unwrap() } else { length };
            let mut encoding = [&[format][..], &length.to_be_bytes(), &rest].concat();
            encoding.extend(checksum(&encoding, &identity("k"), StatusCode::OK));
            match decoded(encoding) {
                Err(error) => {
                    let is_unknown = error == Unreadable("response is of an unknown version");
                    prop_assert_eq!(is_unknown, format != FORMAT);
                }
                Ok(recorded) => {
                    prop_assert_eq!(format, FORMAT);
                    let line = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len() + 3;
                    let lines: usize = recorded.headers.iter().map(line).sum();
                    prop_assert_eq!(lines, length as usize);
                    prop_assert_eq!(&recorded.body[..], &rest[lines..]);
                    prop_assert_eq!(decoded(recorded.encode(&identity("k"), StatusCode::OK)), Ok(recorded));
                }
            }
        }

        #[test]
        fn x21_any_bytes_are_refused(bytes in vec(any::<u8>(), 0..64)) {
            prop_assert!(decoded(bytes).is_err());
        }
    }

    #[test]
    fn x21_a_record_moved_to_another_identity_or_status_is_found() {
        let encoding = recorded().encode(&identity("k"), StatusCode::OK);
        assert!(Recorded::decode(encoding.clone(), &identity("other"), StatusCode::OK).is_err());
        assert!(Recorded::decode(encoding, &identity("k"), StatusCode::CREATED).is_err());
    }
}
