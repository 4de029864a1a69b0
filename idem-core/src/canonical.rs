//! The canonical encoding: the input of a request's fingerprint.
//!
//! [`encode`] turns any [`Serialize`] value into bytes. Two values have the same bytes if and only
//! if they have the same meaning. `docs/fingerprint.md` defines *the same meaning* byte for byte;
//! in short:
//!
//! - Every value carries its kind and its length, so two different values never run together.
//! - Integers count by their value, not by their Rust type, exactly over all of `i128` and `u128`.
//!   Floats count by their bits, with `-0.0` as `0.0` and one NaN. An integer and a float are never
//!   the same.
//! - Maps and structs are one kind, sorted by key. A struct field that is `None` contributes
//!   nothing, so an `Option` field can be added to a type, and older requests keep their encoding.
//!   A map entry whose value is `None` does contribute, and a struct with `#[serde(flatten)]`
//!   counts as a map.
//! - Enum variants count by name; newtype structs are transparent.
//! - `serde_json`'s features `preserve_order` and `arbitrary_precision` make no difference to a
//!   value that fits a 64-bit integer or a double.
//!
//! ```
//! use std::collections::HashMap;
//!
//! use idem_core::adapter::canonical::encode;
//! use serde::Serialize;
//!
//! #[derive(Serialize)]
//! struct Transfer {
//!     to: u32,
//!     cents: u64,
//!     note: Option<String>,
//! }
//!
//! let transfer = Transfer { to: 7, cents: 1999, note: None };
//! let entries = HashMap::from([("cents", 1999), ("to", 7)]);
//! assert_eq!(encode(&transfer)?, encode(&entries)?);
//! # Ok::<(), idem_core::adapter::canonical::EncodeError>(())
//! ```
//!
//! # Cost
//!
//! Everything goes into one growing buffer, without an allocation per value. A map whose entries
//! arrive in order stays as it is. Any other map is sorted when it is complete, which copies its
//! bytes twice. So the worst case, a map out of order at every level, copies about twice the size
//! times the depth. The framework's body limit bounds the size, and the format's recursion limit
//! (128 in `serde_json`) bounds the depth. Only the value's own `Serialize` recurses.

mod buffer;
mod encoder;
mod map;
mod number;
mod serializer;
mod sort;

use std::fmt::Display;

use serde::Serialize;

use self::encoder::Encoder;

/// The version of the encoding that [`encode`] writes.
/// The bytes do not contain it; the digest over the bytes does.
pub const VERSION: u8 = 1;

/// Encodes a value canonically.
///
/// # Errors
///
/// If the value's own [`Serialize`] fails, or breaks serde's protocol. The encoding itself refuses
/// nothing.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.value(value)?;
    encoder.into_bytes()
}

/// Why a value has no canonical encoding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value's own `Serialize` failed with this message.
    #[error("{0}")]
    Custom(String),
    /// A map's keys and values were not serialized in turn.
    #[error("a map was serialized with a key or a value missing")]
    UnpairedEntry,
    /// A part of the value failed, and the surrounding `Serialize` ignored the error.
    #[error("a part of the value failed to serialize, and its error was dropped")]
    DroppedError,
}

impl serde::ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}
