//! The key of an intent.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The first of the texts that are hashed, so that no other digest can be a key.
const LABEL: &str = "idem-client/1";

/// The idempotency key of an intent: a UUID of version 8, derived from words that don't change.
///
/// The same words have the same key in every process and in every release. So a key need not be stored.
///
/// # How it is derived
///
/// 1. Take four texts, in this order: `idem-client/1`, the key space, the operation, the business id.
/// 2. Write each as the number of its UTF-8 bytes, in 8 bytes with the most significant first, and then
///    the bytes themselves.
/// 3. Take the first 16 bytes of the SHA-256 of all that.
/// 4. Set the upper four bits of byte 6 to `1000` (version 8), and the upper two bits of byte 8 to `10`.
/// 5. Write the bytes as a UUID, in lower case.
///
/// In Python:
///
/// ```python
/// import hashlib, struct, uuid
///
/// def key(space, operation, id):
///     parts = [p.encode() for p in ("idem-client/1", space, operation, id)]
///     digest = hashlib.sha256(b"".join(struct.pack(">Q", len(p)) + p for p in parts)).digest()
///     b = bytearray(digest[:16])
///     b[6], b[8] = b[6] & 0x0f | 0x80, b[8] & 0x3f | 0x80
///     return str(uuid.UUID(bytes=bytes(b)))
/// ```
///
/// Test vectors:
///
/// ```
/// use idem_client::Key;
///
/// for (space, operation, id, key) in [
///     ("orders.example/prod", "pay-invoice", "17", "0bbc999f-aa24-833f-a318-4b94d3eb1514"),
///     ("orders.example/prod", "pay-invoice", "18", "f0d4d6fe-deba-833e-9f0f-6bbb52260c74"),
///     ("orders.example/prodpay", "-invoice", "17", "b515549f-e364-8839-a2fb-9d14ce5e1ada"),
///     ("büro.example", "rechnung-zahlen", "2026-11/Ä", "14840686-d5eb-8c7f-9466-2d4fdfda9e36"),
/// ] {
///     assert_eq!(Key::derive(space, operation, id).to_string(), key);
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of these words. [`Client::once`](crate::Client::once) derives it, too.
    pub fn derive(space: &str, operation: &str, id: &str) -> Self {
        let mut hasher = Sha256::new();
        for text in [LABEL, space, operation, id] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        let digest = hasher.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(index, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
