//! A request as two digests (rules F1 to F5).
//!
//! `docs/fingerprint.md` is the specification for other implementations.

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
        let raw = request.raw.map(|raw| digest(request, b'R', raw, secret));
        let content = match (content, raw) {
            (Content::Rejected(content), _) => return Self::new(request, content, secret),
            (Content::Canonical(encoding), _) => digest(request, b'C', encoding, secret),
            (Content::Raw | Content::Absent, Some(raw)) => raw,
            (Content::Raw | Content::Absent, None) | (Content::None, _) => {
                digest(request, b'N', &[], secret)
            }
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

fn digest(request: RequestParts<'_>, kind: u8, content: &[u8], secret: Option<&[u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"idem fingerprint");
    hasher.update([VERSION, kind]);
    update_text(&mut hasher, request.method);
    update_text(&mut hasher, request.path);
    match request.query {
        None => hasher.update([0]),
        Some(query) => {
            hasher.update([1]);
            update_text(&mut hasher, query);
        }
    }
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
