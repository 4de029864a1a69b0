//! A request as two digests (rules F1 to F5).
//!
//! `docs/fingerprint.md` is the specification for other implementations.

use std::borrow::Cow;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::canonical;
use crate::digest::update_text;

/// The version of the digests that this release makes.
pub(crate) const VERSION: u8 = 1;

/// The bytes of a stored fingerprint: version, content digest, raw digest.
pub(crate) const LENGTH: usize = 65;

/// The content of a request's body that is bound to its key, besides the raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// The canonical encoding of the deserialized body, or of the result of a function over it.
    Canonical(Vec<u8>),
    /// The bytes alone: `fingerprint = "raw"`.
    Raw,
    /// The handler reads no body.
    None,
    /// An optional body that is not there: bound by the bytes. If there are any, they are of a body
    /// that could not be extracted, as in [`Rejected`](Self::Rejected).
    Absent,
    /// The content of a request of which an argument could not be extracted, such as a `Result` that
    /// is an `Err`. Only a success is bound to the key ([rule O7]).
    ///
    /// [rule O7]: crate::_documentation::contract#o-outcomes
    Rejected(Box<Content>),
}

impl Content {
    /// The canonical encoding of `value`.
    ///
    /// # Errors
    ///
    /// If the value's own `Serialize` fails.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, canonical::EncodeError> {
        canonical::encode(value).map(Self::Canonical)
    }

    /// The same content, where an argument could not be extracted: see [`Rejected`](Self::Rejected).
    #[must_use]
    pub fn rejected(self) -> Self {
        Self::Rejected(Box::new(self))
    }

    /// Whether a body or another argument could not be extracted. `raw` are the body's bytes, if they
    /// could be read.
    pub(crate) fn is_rejected(&self, raw: Option<&[u8]>) -> bool {
        match self {
            Self::Rejected(_) => true,
            Self::Absent => raw.is_none_or(|raw| !raw.is_empty()),
            Self::Canonical(_) | Self::Raw | Self::None => false,
        }
    }

    /// Whether this is, or stands for, the body's bytes.
    pub(crate) fn is_of_bytes(&self) -> bool {
        matches!(self, Self::Raw | Self::Absent)
    }
}

/// The target and the body of a request, as received.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The concrete path, with all nesting prefixes, not decoded.
    pub path: &'a str,
    /// The query without its `?`, not decoded.
    pub query: Option<&'a str>,
    /// The request's body. `None` if its bytes were not kept: then they are not bound.
    pub raw: Option<&'a [u8]>,
}

/// What of a request is bound to its key besides its content: an endpoint's choice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Binding<'a> {
    /// What of its target.
    pub target: BoundTarget,
    /// The headers that are bound by name, as `encode_headers` writes them; empty without any.
    pub headers: &'a [u8],
}

/// What of a request's method, path and query is bound to its key (rules F1, F6 and F7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BoundTarget {
    /// All of it, the query as received.
    #[default]
    Exact,
    /// All of it, whatever the order of the query's parameters.
    SortedQuery,
    /// All of it but these parameters of the query.
    QueryExcept(&'static [&'static str]),
    /// Method and path.
    NoQuery,
    /// Nothing, and no content either: `fingerprint = "none"`.
    Nothing,
}

impl BoundTarget {
    /// The bound part of a query. Parameters are not decoded.
    fn query(self, query: &str) -> Cow<'_, str> {
        match self {
            Self::Exact => Cow::Borrowed(query),
            Self::NoQuery | Self::Nothing => Cow::Borrowed(""),
            Self::SortedQuery => {
                let mut parameters: Vec<&str> = query.split('&').collect();
                // Parameters of one name keep their order, which can have a meaning.
                parameters.sort_by_key(|parameter| parameter_name(parameter));
                Cow::Owned(parameters.join("&"))
            }
            Self::QueryExcept(names) => {
                let mut parameters: Vec<&str> = query.split('&').collect();
                parameters.retain(|parameter| !names.contains(&parameter_name(parameter)));
                Cow::Owned(parameters.join("&"))
            }
        }
    }
}

fn parameter_name(parameter: &str) -> &str {
    parameter
        .split_once('=')
        .map_or(parameter, |(name, _)| name)
}

/// The bound headers of a request: for each name its lines, in their order. A header that is missing
/// has none.
pub(crate) fn encode_headers<'h, L>(names: &[&str], lines: impl Fn(&str) -> L) -> Vec<u8>
where
    L: Iterator<Item = &'h [u8]>,
{
    let mut encoding = Vec::new();
    if names.is_empty() {
        return encoding;
    }
    let number = |encoding: &mut Vec<u8>, number: usize| {
        encoding.extend((number as u64).to_be_bytes());
    };
    number(&mut encoding, names.len());
    for name in names {
        let lines: Vec<&[u8]> = lines(name).collect();
        number(&mut encoding, name.len());
        encoding.extend(name.as_bytes());
        number(&mut encoding, lines.len());
        for line in lines {
            number(&mut encoding, line.len());
            encoding.extend(line);
        }
    }
    encoding
}

/// Versioned digests of a request: one over its deserialized body, one over its raw bytes, both
/// with path and query.
///
/// A retry matches if either digest is equal. So a retry with other white space in its JSON, or
/// with a default that is generated at parse time, is still the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    content: [u8; 32],
    raw: [u8; 32],
}

impl Fingerprint {
    /// The fingerprint of a request, keyed with `secret` if the application has one.
    pub fn new(request: RequestParts<'_>, content: &Content, secret: Option<&[u8]>) -> Self {
        Self::bound(request, content, Binding::default(), secret)
    }

    /// The same for an endpoint that chooses what is bound.
    pub fn bound(
        request: RequestParts<'_>,
        content: &Content,
        binding: Binding<'_>,
        secret: Option<&[u8]>,
    ) -> Self {
        let digest = |kind, content: &[u8]| digest(request, binding, kind, content, secret);
        if binding.target == BoundTarget::Nothing {
            let nothing = digest(b'U', &[]);
            return Self {
                content: nothing,
                raw: nothing,
            };
        }
        let raw = request.raw.map(|raw| digest(b'R', raw));
        let content = match (content, raw) {
            (Content::Rejected(content), _) => {
                return Self::bound(request, content, binding, secret);
            }
            (Content::Canonical(encoding), _) => digest(b'C', encoding),
            (Content::Raw | Content::Absent, Some(raw)) => raw,
            (Content::Raw | Content::Absent, None) | (Content::None, _) => digest(b'N', &[]),
        };
        let raw = raw.unwrap_or(content);
        Self { content, raw }
    }

    /// Whether both are fingerprints of the same request.
    pub fn matches(&self, other: &Self) -> bool {
        self.raw == other.raw || self.content == other.content
    }

    /// The stored form.
    pub fn to_bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [VERSION; LENGTH];
        bytes[1..33].copy_from_slice(&self.content);
        bytes[33..].copy_from_slice(&self.raw);
        bytes
    }

    /// Reads the stored form. `None` for another version or length: never take that for a mismatch.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&version, digests) = bytes.split_first()?;
        let (content, raw) = digests.split_at_checked(32)?;
        (version == VERSION).then_some(())?;
        Some(Self {
            content: content.try_into().ok()?,
            raw: raw.try_into().ok()?,
        })
    }
}

fn digest(
    request: RequestParts<'_>,
    binding: Binding<'_>,
    kind: u8,
    content: &[u8],
    secret: Option<&[u8]>,
) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"idem fingerprint");
    // A kind of its own, so that headers are never taken for content.
    let kind = if binding.headers.is_empty() {
        kind
    } else {
        kind.to_ascii_lowercase()
    };
    hasher.update([VERSION, kind]);
    if binding.target != BoundTarget::Nothing {
        update_text(&mut hasher, request.method);
        update_text(&mut hasher, request.path);
        match request.query.map(|query| binding.target.query(query)) {
            // `/payments?` is the same request as `/payments`.
            Some(query) if !query.is_empty() => {
                hasher.update([1]);
                update_text(&mut hasher, &query);
            }
            _ => hasher.update([0]),
        }
    }
    hasher.update(binding.headers);
    hasher.update(content);
    let digest = hasher.finalize();
    match secret.map(Hmac::<Sha256>::new_from_slice) {
        Some(Ok(keyed)) => keyed.chain_update(digest).finalize().into_bytes().into(),
        // HMAC takes a key of any length.
        Some(Err(_)) | None => digest.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(path: &'a str, query: Option<&'a str>, raw: &'a [u8]) -> RequestParts<'a> {
        RequestParts {
            method: "POST",
            path,
            query,
            raw: Some(raw),
        }
    }

    fn fingerprint(path: &str, query: Option<&str>, raw: &str, body: &str) -> Fingerprint {
        let content = Content::of(body).unwrap();
        Fingerprint::new(request(path, query, raw.as_bytes()), &content, None)
    }

    #[test]
    fn f1_either_the_bytes_or_the_body_may_match() {
        let first = fingerprint("/p", None, "{\"a\": 1}", "a1");
        assert!(first.matches(&fingerprint("/p", None, "{\"a\":1}", "a1")));
        assert!(first.matches(&fingerprint("/p", None, "{\"a\": 1}", "generated default")));
        assert!(!first.matches(&fingerprint("/p", None, "{\"a\":2}", "a2")));
    }

    #[test]
    fn f1_path_and_query_are_bound_as_received() {
        let first = fingerprint("/a/1", Some("x=1"), "", "");
        for (path, query) in [
            ("/a/2", Some("x=1")),
            ("/a/1", Some("x=01")),
            ("/a/1", Some("")),
            ("/a/1", None),
            ("/a/1?x=1", None),
        ] {
            assert!(
                !first.matches(&fingerprint(path, query, "", "")),
                "{path} {query:?}"
            );
        }
    }

    #[test]
    fn m1_a_named_operation_does_not_merge_methods() {
        let with = |method| {
            let request = RequestParts {
                method,
                ..request("/p", None, b"")
            };
            Fingerprint::new(request, &Content::None, None)
        };
        assert!(!with("POST").matches(&with("DELETE")));
    }

    #[test]
    fn f3_the_digest_is_the_one_that_is_written_down() {
        let content = Content::Raw;
        let bytes =
            Fingerprint::new(request("/payments", Some("a=1"), b"{}"), &content, None).to_bytes();
        let expected = "cd13e3ee0eee07ace3776ef3965882d2e7d630fec97964da069888efc5b7724d";
        assert_eq!(
            crate::digest::hex(&bytes),
            format!("01{expected}{expected}")
        );
    }

    #[test]
    fn f6_the_digests_of_headers_and_of_nothing_are_those_that_are_written_down() {
        let lines = |name: &str| {
            let line = (name == "if-match").then_some(b"\"v1\"".as_slice());
            line.into_iter()
        };
        let headers = &encode_headers(&["if-match", "x-variant"], lines)[..];
        let digests = |target, headers, content| {
            let binding = Binding { target, headers };
            let request = request("/payments", Some("a=1"), b"{}");
            let stored = Fingerprint::bound(request, &content, binding, None).to_bytes();
            crate::digest::hex(&stored)
        };
        let raw = "ce671f138afd3070d3f77421a821649e8a0712f0de98aa0792df1282fde907da";
        let none = "75d5c8e527f703da40967bb74a06ed0ca8f4a128d1d44013f77967a8d31d9323";
        let exact = BoundTarget::Exact;
        assert_eq!(
            digests(exact, headers, Content::None),
            format!("01{none}{raw}")
        );
        let nothing = BoundTarget::Nothing;
        for content in [Content::None, Content::Raw, Content::of("x").unwrap()] {
            let digest = "61a6f01b442bac8c6367956a0eb727c621e07d95443796d7a51686d4184668f4";
            let stored = digests(nothing, &[], content.clone());
            assert_eq!(stored, format!("01{digest}{digest}"));
            let digest = "891b47e9b8bcb43b76636085370f8bf9693293f0c016faa41f073f0a4a1c9605";
            let stored = digests(nothing, headers, content);
            assert_eq!(stored, format!("01{digest}{digest}"));
        }
        assert!(encode_headers(&[], lines).is_empty());
    }

    #[test]
    fn f6_headers_are_never_taken_for_content() {
        let headers = encode_headers(&["a"], |_| std::iter::empty());
        let binding = Binding {
            headers: &headers,
            ..Binding::default()
        };
        let plain = Fingerprint::new(request("/p", None, &headers), &Content::Raw, None);
        let bound = Fingerprint::bound(request("/p", None, b""), &Content::Raw, binding, None);
        assert!(!bound.matches(&plain));
    }

    #[test]
    fn f7_a_query_is_reduced_to_its_bound_part() {
        let except = BoundTarget::QueryExcept(&["utm_source", "b"]);
        for (target, query, expected) in [
            (BoundTarget::Exact, "b&a=1", "b&a=1"),
            (BoundTarget::SortedQuery, "b&a=2&a=1", "a=2&a=1&b"),
            (BoundTarget::SortedQuery, "a=1&b=2", "a=1&b=2"),
            (except, "a=b&utm_source=x&b&b=1&bb=%", "a=b&bb=%"),
            (except, "b", ""),
            (BoundTarget::NoQuery, "a=1", ""),
        ] {
            assert_eq!(target.query(query), expected, "{query}");
        }
    }

    #[test]
    fn f3_the_stored_form_survives_and_other_versions_are_refused() {
        let fingerprint = fingerprint("/p", None, "x", "x");
        let bytes = fingerprint.to_bytes();
        assert_eq!(Fingerprint::from_bytes(&bytes), Some(fingerprint));
        assert_eq!(Fingerprint::from_bytes(&bytes[..64]), None);
        assert_eq!(Fingerprint::from_bytes(&[&bytes[..], &[0]].concat()), None);
        let mut future = bytes;
        future[0] = VERSION + 1;
        assert_eq!(Fingerprint::from_bytes(&future), None);
    }

    #[test]
    fn f4_raw_binds_the_bytes_alone() {
        let raw = |bytes| Fingerprint::new(request("/p", None, bytes), &Content::Raw, None);
        assert!(raw(b"1").matches(&raw(b"1")));
        assert!(!raw(b"1").matches(&raw(b" 1")));
    }

    #[test]
    fn f4_without_a_body_only_path_and_query_are_bound() {
        let none = |path, bytes| Fingerprint::new(request(path, None, bytes), &Content::None, None);
        assert!(none("/p", b"").matches(&none("/p", b"ignored")));
        assert!(!none("/p", b"").matches(&none("/q", b"")));
    }

    #[test]
    fn f6_without_bytes_the_content_alone_is_bound() {
        let of = |path, body: &str| {
            let request = RequestParts {
                raw: None,
                ..request(path, None, b"")
            };
            Fingerprint::new(request, &Content::of(body).unwrap(), None)
        };
        assert!(of("/p", "a").matches(&of("/p", "a")));
        assert!(!of("/p", "a").matches(&of("/p", "b")));
        assert!(!of("/p", "a").matches(&of("/q", "a")));
    }

    #[test]
    fn o7_a_rejection_binds_what_its_content_binds() {
        let of = |content| Fingerprint::new(request("/p", None, b"{"), &content, None);
        assert_eq!(of(Content::Raw.rejected()), of(Content::Raw));
        assert_eq!(of(Content::Absent), of(Content::Raw));
        assert!(Content::Raw.rejected().is_rejected(Some(b"")));
        assert!(Content::Absent.is_rejected(Some(b"{")));
        assert!(!Content::Absent.is_rejected(Some(b"")));
        assert!(!Content::Raw.is_rejected(Some(b"{")));
    }

    #[test]
    fn a_secret_keys_both_digests() {
        let with = |secret| Fingerprint::new(request("/p", None, b"1"), &Content::None, secret);
        assert!(with(Some(b"s".as_slice())).matches(&with(Some(b"s"))));
        assert!(!with(Some(b"s".as_slice())).matches(&with(Some(b"t"))));
        assert!(!with(Some(b"s".as_slice())).matches(&with(None)));
    }
}
