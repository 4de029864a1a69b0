//! The order of the entries of a map.

use std::cmp::Ordering;

use super::encoder::{Encoder, tag};

/// Smaller entries are moved as one block of this size.
const BLOCK: usize = 32;

/// The position of one entry of an open map in the output.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Decides the order of most pairs of keys without a read of the keys.
    pub(super) prefix: u64,
    pub(super) start: usize,
    /// Equal to `start` for a field that contributes nothing.
    pub(super) key_end: usize,
    pub(super) end: usize,
}

/// Sorts the entries from index `first` by their keys. Their bytes are the output from `start`.
pub(super) fn sort(encoder: &mut Encoder, start: usize, first: usize) {
    let Encoder {
        out,
        entries,
        order: indices,
        scratch,
        ..
    } = encoder;
    let entries = &entries[first..];
    if entries.is_sorted_by(|a, b| order(out, a, b).is_le()) {
        return;
    }
    let length = out.end() - start;
    if scratch.len() < length + BLOCK {
        scratch.resize(length + BLOCK, 0);
    }
    let bytes = out.with_room(BLOCK);
    // The elements of a list tend to be alike, so the last permutation often fits again. If it
    // makes the keys strictly ascending, no other permutation does.
    if indices.len() != entries.len() || !gather(bytes, entries, indices, scratch, Ordering::is_lt)
    {
        indices.clear();
        indices.extend(0..entries.len());
        indices.sort_by(|a, b| order(bytes, &entries[*a], &entries[*b]));
        gather(bytes, entries, indices, scratch, Ordering::is_le);
    }
    out.tail(start).copy_from_slice(&scratch[..length]);
}

/// Copies the entries in the order of `indices` to `target`, until the keys of two neighbours are
/// not as `expected`. There is room for a block after the end of both.
#[inline]
fn gather(
    out: &[u8],
    entries: &[Entry],
    indices: &[usize],
    target: &mut [u8],
    expected: impl Fn(Ordering) -> bool,
) -> bool {
    let mut last: Option<&Entry> = None;
    let mut end = 0;
    for &index in indices {
        let entry = &entries[index];
        if let Some(last) = last
            && last.prefix >= entry.prefix
            && !expected(order(out, last, entry))
        {
            return false;
        }
        last = Some(entry);
        let length = entry.end - entry.start;
        let (from, to) = (&out[entry.start..], &mut target[end..]);
        to[..BLOCK].copy_from_slice(&from[..BLOCK]);
        if length > BLOCK {
            to[BLOCK..length].copy_from_slice(&from[BLOCK..length]);
        }
        end += length;
    }
    true
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
pub(super) fn prefix(kind: u8, content: &[u8]) -> u64 {
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
