//! The bytes of an encoding.

use std::ops::Deref;

/// Bytes that grow at their end.
///
/// The room after the end holds zeros or old bytes, and the end is a number of its own. So a tag and
/// its content need one check for room, the end stays in a register, and blocks of a fixed size can
/// be read beyond the end. With a `Vec`, each part of a write checks its room and reads and writes
/// its length.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    end: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; 256],
            end: 0,
        }
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.end);
        self.bytes
    }

    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    #[inline]
    pub(super) fn put(&mut self, byte: u8) {
        self.put_tagged(byte, &[]);
    }

    /// Appends a tag and the bytes that follow it.
    #[inline]
    pub(super) fn put_tagged(&mut self, tag: u8, content: &[u8]) {
        let end = self.end + 1 + content.len();
        if let Some([first, rest @ ..]) = self.bytes.get_mut(self.end..end) {
            *first = tag;
            rest.copy_from_slice(content);
            self.end = end;
        } else {
            self.grow_and_put(tag, content);
        }
    }

    /// Appends bytes without a tag.
    pub(super) fn extend(&mut self, content: &[u8]) {
        if let Some((first, rest)) = content.split_first() {
            self.put_tagged(*first, rest);
        }
    }

    /// The bytes, and at least this many after their end.
    #[inline]
    pub(super) fn with_room(&mut self, room: usize) -> &[u8] {
        if self.bytes.len() - self.end < room {
            self.bytes.resize(self.end + room, 0);
        }
        &self.bytes
    }

    /// Moves the end back.
    #[inline]
    pub(super) fn truncate(&mut self, end: usize) {
        self.end = end;
    }

    /// The bytes from `start` on.
    #[inline]
    pub(super) fn tail(&mut self, start: usize) -> &mut [u8] {
        &mut self.bytes[start..self.end]
    }

    /// Makes room for the few bytes that usually close a document, too, so that one large string
    /// does not double the buffer.
    #[cold]
    #[inline(never)]
    fn grow_and_put(&mut self, tag: u8, content: &[u8]) {
        self.bytes.truncate(self.end);
        self.bytes.reserve(content.len() + 64);
        self.bytes.push(tag);
        self.bytes.extend_from_slice(content);
        self.end = self.bytes.len();
        self.bytes.resize(self.bytes.capacity(), 0);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}
