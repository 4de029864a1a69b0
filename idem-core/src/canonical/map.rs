//! Maps and structs: entries in any order, sorted by key once they are complete.

use std::cmp::Ordering;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, SerializeStructVariant};

use super::{
    EncodeError,
    encoder::{Encoder, tag},
    number,
};

/// Smaller entries are moved as one block of this size.
const BLOCK: usize = 32;

pub(super) struct MapEncoder<'a> {
    encoder: &'a mut Encoder,
    /// The position of the first entry in the output. `first` is its index in [`Encoder::entries`].
    start: usize,
    first: usize,
    /// Start and end of a key that waits for its value.
    pending: Option<(usize, usize)>,
    is_number: bool,
}

/// The position of one entry of an open map in the output. The entry ends at the start of the next
/// one.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Decides the order of most pairs of keys without a read of the keys.
    prefix: u64,
    start: usize,
    /// Equal to `start` for a field that contributes nothing.
    pub(super) key_end: usize,
}

impl<'a> MapEncoder<'a> {
    #[inline]
    pub(super) fn new(encoder: &'a mut Encoder, is_number: bool) -> Self {
        encoder.put_tag(tag::MAP);
        Self {
            start: encoder.out.len(),
            first: encoder.entries.len(),
            encoder,
            pending: None,
            is_number,
        }
    }

    #[inline]
    fn finish(self) -> Result<(), EncodeError> {
        self.encoder.check()?;
        if !(self.is_number && number::replace(self.encoder, self.start, self.first)) {
            finish(self.encoder, self.start, self.first);
        }
        self.encoder.entries.truncate(self.first);
        Ok(())
    }
}

impl SerializeMap for MapEncoder<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        if self.pending.is_some() {
            return self.encoder.fail(EncodeError::UnpairedEntry);
        }
        let start = self.encoder.out.len();
        self.encoder.value(key)?;
        self.pending = Some((start, self.encoder.out.len()));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let Some((start, key_end)) = self.pending.take() else {
            return self.encoder.fail(EncodeError::UnpairedEntry);
        };
        self.encoder.value(value)?;
        let (kind, content) = key_parts(&self.encoder.out[start..key_end]);
        self.encoder.entries.push(Entry {
            prefix: prefix(kind, content),
            start,
            key_end,
        });
        Ok(())
    }

    fn end(self) -> Result<(), EncodeError> {
        if self.pending.is_some() {
            return self.encoder.fail(EncodeError::UnpairedEntry);
        }
        self.finish()
    }
}

impl SerializeStruct for MapEncoder<'_> {
    type Ok = ();
    type Error = EncodeError;

    #[expect(
        clippy::inline_always,
        reason = "with the field's name constant, the key and its prefix are a few stores"
    )]
    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        let start = self.encoder.out.len();
        self.encoder.put_string(key);
        let mut key_end = self.encoder.out.len();
        self.encoder.value(value)?;
        if self.encoder.out[key_end..] == [tag::NONE] {
            self.encoder.out.truncate(start);
            key_end = start;
        }
        self.encoder.entries.push(Entry {
            prefix: prefix(tag::STRING, key.as_bytes()),
            start,
            key_end,
        });
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        self.finish()
    }
}

impl SerializeStructVariant for MapEncoder<'_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        SerializeStruct::serialize_field(self, key, value)
    }

    #[inline]
    fn end(self) -> Result<(), EncodeError> {
        self.finish()
    }
}

fn finish(encoder: &mut Encoder, start: usize, first: usize) {
    let Encoder { out, entries, .. } = &mut *encoder;
    if !entries[first..].is_sorted_by(|a, b| order(out, a, b).is_le()) {
        sort(encoder, start, first);
    }
    encoder.put_tag(tag::END);
}

/// Sorts the entries from index `first` by their keys. Their bytes are the output from `start`.
fn sort(encoder: &mut Encoder, start: usize, first: usize) {
    let Encoder {
        out,
        entries,
        order: indices,
        scratch,
        ..
    } = encoder;
    let end = out.len();
    let count = entries.len() - first;
    entries.push(Entry {
        prefix: 0,
        start: end,
        key_end: end,
    });
    let entries = &entries[first..];

    // The elements of a list tend to be alike, so the last permutation often fits again. If it
    // makes the keys strictly ascending, no other permutation does.
    let ascending = |a: &usize, b: &usize| order(out, &entries[*a], &entries[*b]).is_lt();
    if indices.len() != count || !indices.is_sorted_by(ascending) {
        indices.clear();
        indices.extend(0..count);
        indices.sort_by(|a, b| order(out, &entries[*a], &entries[*b]));
    }

    out.extend_from_slice(&[0; BLOCK]);
    scratch.clear();
    for &index in &*indices {
        let (from, to) = (entries[index].start, entries[index + 1].start);
        if to - from <= BLOCK {
            let length = scratch.len() + to - from;
            scratch.extend_from_slice(&out[from..from + BLOCK]);
            scratch.truncate(length);
        } else {
            scratch.extend_from_slice(&out[from..to]);
        }
    }
    out.truncate(end);
    out[start..].copy_from_slice(scratch);
}

/// The order of two keys: by kind, then strings by their text and other keys by their bytes.
#[inline]
fn order(out: &[u8], a: &Entry, b: &Entry) -> Ordering {
    a.prefix.cmp(&b.prefix).then_with(|| {
        let (kind_a, content_a) = key_parts(&out[a.start..a.key_end]);
        let (kind_b, content_b) = key_parts(&out[b.start..b.key_end]);
        (kind_a, content_a).cmp(&(kind_b, content_b))
    })
}

/// The kind and the first seven bytes of a key, filled up with zeros. The zeros keep the order:
/// they can only make two keys equal, and then the keys themselves decide.
#[inline]
fn prefix(kind: u8, content: &[u8]) -> u64 {
    let head = content.iter().take(7);
    let missing = 7 - head.len();
    let word = head.fold(u64::from(kind), |word, byte| word << 8 | u64::from(*byte));
    word << (8 * missing)
}

/// The kind of an encoded key, which is the same for every string, and the rest that counts. A
/// field that contributes nothing has no key any more.
pub(super) fn key_parts(key: &[u8]) -> (u8, &[u8]) {
    match key {
        [] => (0, key),
        [tag::SHORT_STRING..=u8::MAX, text @ ..] => (tag::STRING, text),
        [tag::STRING, rest @ ..] => {
            let length = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
            (tag::STRING, &rest[length..])
        }
        [kind, rest @ ..] => (*kind, rest),
    }
}
