//! What a record is stored under (rules S1, S4 and S5).

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use sha2::{Digest as _, Sha256};

use crate::digest::{hex, update_text};
use crate::key::IdempotencyKey;
use crate::operation::Operation;

/// 32 bytes that stand for (scope, operation, key).
///
/// The first half is a digest of the scope alone, so that all records of a scope lie together in
/// the one index there is: erasing a scope needs neither a second index nor the scope's text in
/// the database. The second half is a digest of all three. Both are SHA-256 over length-prefixed
/// parts, cut to 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    /// The identity of (scope, operation, key), without a namespace.
    pub fn new(scope: Option<&str>, operation: &Operation, key: &IdempotencyKey) -> Self {
        Self::in_namespace(None, scope, operation, key)
    }

    /// The identity of (scope, operation, key) in the namespace of
    /// [`Config::with_namespace`](crate::Config::with_namespace).
    pub fn in_namespace(
        namespace: Option<&str>,
        scope: Option<&str>,
        operation: &Operation,
        key: &IdempotencyKey,
    ) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"idem identity 1");
        update_scope(&mut hasher, namespace, scope);
        update_text(&mut hasher, operation.as_str());
        update_text(&mut hasher, key.as_str());
        let mut identity = [0; 32];
        identity[..16].copy_from_slice(&ScopeDigest::in_namespace(namespace, scope).0);
        identity[16..].copy_from_slice(&hasher.finalize()[..16]);
        Self(identity)
    }

    /// An identity of no request.
    #[cfg(all(test, feature = "seal"))]
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// An identity that nobody else has.
    pub(crate) fn random() -> Self {
        let random = RandomState::new();
        let mut bytes = [0; 32];
        for (place, chunk) in bytes.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&random.hash_one(place).to_be_bytes());
        }
        Self(bytes)
    }

    /// The identity's bytes, the records' primary key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The beginnings of its two halves, which the log has.
    pub(crate) fn beginnings(&self) -> [u64; 2] {
        [0, 16].map(|start| {
            let bytes = self.0[start..].iter().take(8);
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        })
    }

    /// A number for databases whose advisory locks are named by one.
    ///
    /// It comes from the half that depends on all three parts. Two identities that share it only
    /// wait for each other.
    pub fn lock_id(&self) -> i64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[16..24]);
        i64::from_be_bytes(bytes)
    }

    /// A value derived from the identity for another use, as lower-case hex; other uses give
    /// unrelated values.
    pub(crate) fn derive(&self, usage: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"idem derived 1");
        hasher.update(self.0);
        update_text(&mut hasher, usage);
        hex(&hasher.finalize()[..16])
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The first half of the identities of one scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScopeDigest([u8; 16]);

impl ScopeDigest {
    /// The digest of a scope, without a namespace; `None` stands for the endpoints that are spelled out
    /// as unscoped.
    pub fn new(scope: Option<&str>) -> Self {
        Self::in_namespace(None, scope)
    }

    /// The digest of a scope in the namespace of
    /// [`Config::with_namespace`](crate::Config::with_namespace).
    pub fn in_namespace(namespace: Option<&str>, scope: Option<&str>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"idem scope 1");
        update_scope(&mut hasher, namespace, scope);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize()[..16]);
        Self(digest)
    }

    /// The least identity that a record of this scope can have.
    pub fn first(&self) -> [u8; 32] {
        self.padded(0)
    }

    /// The greatest identity that a record of this scope can have.
    pub fn last(&self) -> [u8; 32] {
        self.padded(0xff)
    }

    /// Whether it is the scope of this identity.
    pub(crate) fn contains(&self, identity: &Identity) -> bool {
        identity.0.starts_with(&self.0)
    }

    fn padded(self, with: u8) -> [u8; 32] {
        let mut bytes = [with; 32];
        bytes[..16].copy_from_slice(&self.0);
        bytes
    }
}

impl fmt::Debug for ScopeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A scope without a namespace begins with 0 or 1, and one with a namespace with 2.
fn update_scope(hasher: &mut Sha256, namespace: Option<&str>, scope: Option<&str>) {
    if let Some(namespace) = namespace {
        hasher.update([2]);
        update_text(hasher, namespace);
    }
    match scope {
        None => hasher.update([0]),
        Some(scope) => {
            hasher.update([1]);
            update_text(hasher, scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(scope: Option<&str>, operation: &str, key: &str) -> Identity {
        let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
        Identity::new(scope, &Operation::named(operation), &key)
    }

    #[test]
    fn s4_concatenation_tricks_are_different_identities() {
        let all = [
            identity(Some("a"), "bc", "k"),
            identity(Some("ab"), "c", "k"),
            identity(Some("a\0b"), "c", "k"),
            identity(Some("a "), "bc", "k"),
            identity(Some("A"), "bc", "k"),
            identity(Some("\u{e4}"), "bc", "k"),
            identity(Some("a\u{308}"), "bc", "k"),
            identity(Some(""), "abc", "k"),
            identity(None, "abc", "k"),
            identity(Some("a"), "b", "ck"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index} is not alone");
        }
    }

    #[test]
    fn e4_a_scope_encloses_its_identities_alone() {
        let mine = identity(Some("a"), "op", "k");
        let scope = ScopeDigest::new(Some("a"));
        assert!(scope.first() <= *mine.as_bytes() && *mine.as_bytes() <= scope.last());
        assert!(scope.contains(&mine));
        let other = identity(Some("b"), "op", "k");
        assert!(*other.as_bytes() < scope.first() || scope.last() < *other.as_bytes());
        assert!(!scope.contains(&other));
    }

    #[test]
    fn s5_namespaces_share_nothing() {
        let (operation, key) = (Operation::named("op"), IdempotencyKey::parse(b"k").unwrap());
        let identity = |namespace, scope| {
            let identity = Identity::in_namespace(namespace, scope, &operation, &key);
            let digest = ScopeDigest::in_namespace(namespace, scope);
            assert!(digest.contains(&identity));
            (identity, digest)
        };
        let all = [
            identity(None, Some("a")),
            identity(None, None),
            identity(Some("a"), None),
            identity(Some("a"), Some("a")),
            identity(Some("b"), Some("a")),
            identity(Some("b"), None),
            identity(Some("ba"), Some("")),
        ];
        for (at, (identity, digest)) in all.iter().enumerate() {
            for (other, other_digest) in &all[at + 1..] {
                assert!(!digest.contains(other) && !other_digest.contains(identity));
                assert_ne!(identity.lock_id(), other.lock_id());
                assert_ne!(identity.derive("psp"), other.derive("psp"));
            }
        }
    }

    #[test]
    fn s1_identities_are_stable_across_releases() {
        let operation = Operation::named("create_payment");
        let key = IdempotencyKey::parse(b"8e03").unwrap();
        for (namespace, golden) in [(None, GOLDEN), (Some("billing"), GOLDEN_IN_BILLING)] {
            let identity = Identity::in_namespace(namespace, Some("acme"), &operation, &key);
            assert_eq!(format!("{identity:?}"), golden);
        }
    }

    const GOLDEN: &str = "5be2493c8035f23c3b921797a35e815d7a81fb1aeb83081d9dc21982fd49df4b";
    const GOLDEN_IN_BILLING: &str =
        "90cd4902cc043f4672d34588483f9b3f1a713f76d4a19d2e1be0a66634c96589";
}
