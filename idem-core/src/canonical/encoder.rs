//! The output buffer, and the layout of each scalar in it.

use std::fmt::{self, Display, Write};

use serde::Serialize;

use super::{EncodeError, buffer::Buffer, sort::Entry};

/// The first byte of every encoded value.
pub(super) mod tag {
    pub(in super::super) const END: u8 = 0x00;
    pub(in super::super) const NULL: u8 = 0x01;
    pub(in super::super) const FALSE: u8 = 0x02;
    pub(in super::super) const TRUE: u8 = 0x03;
    pub(in super::super) const NONE: u8 = 0x04;
    pub(in super::super) const SOME: u8 = 0x05;
    pub(in super::super) const FLOAT: u8 = 0x06;
    pub(in super::super) const NUMBER: u8 = 0x07;
    pub(in super::super) const BYTES: u8 = 0x08;
    pub(in super::super) const SEQUENCE: u8 = 0x09;
    pub(in super::super) const MAP: u8 = 0x0a;
    pub(in super::super) const UNIT_VARIANT: u8 = 0x0b;
    pub(in super::super) const VARIANT: u8 = 0x0c;
    pub(in super::super) const STRING: u8 = 0x0d;
    /// The number of bytes of the magnitude is added to this tag, and to [`NEGATIVE`].
    pub(in super::super) const POSITIVE: u8 = 0x20;
    pub(in super::super) const NEGATIVE: u8 = 0x40;
    /// The length of a shorter string is added to this tag.
    pub(in super::super) const SHORT_STRING: u8 = 0x80;
}

const NAN: u64 = 0x7ff8_0000_0000_0000;

pub(super) struct Encoder {
    pub(super) out: Buffer,
    /// Entries of all open maps, those of the innermost map last.
    pub(super) entries: Vec<Entry>,
    /// The permutation that sorted the last map: a guess for the next one.
    pub(super) order: Vec<usize>,
    pub(super) scratch: Vec<u8>,
    failed: bool,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            out: Buffer::new(),
            entries: Vec::new(),
            order: Vec::new(),
            scratch: Vec::new(),
            failed: false,
        }
    }

    pub(super) fn into_bytes(self) -> Result<Vec<u8>, EncodeError> {
        self.check()?;
        Ok(self.out.into_bytes())
    }

    /// Encodes a part of the value.
    #[inline]
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        match value.serialize(&mut *self) {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// Marks the buffer as meaningless, in case the caller drops the error.
    #[cold]
    pub(super) fn fail(&mut self, error: EncodeError) -> Result<(), EncodeError> {
        self.failed = true;
        Err(error)
    }

    #[inline]
    pub(super) fn check(&self) -> Result<(), EncodeError> {
        if self.failed {
            return Err(EncodeError::DroppedError);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn put_tag(&mut self, tag: u8) {
        self.out.put(tag);
    }

    #[inline]
    pub(super) fn put_string(&mut self, text: &str) {
        match u8::try_from(text.len()) {
            Ok(length) if length < tag::SHORT_STRING => {
                self.out
                    .put_tagged(tag::SHORT_STRING + length, text.as_bytes());
            }
            _ => self.put_long(tag::STRING, text.as_bytes()),
        }
    }

    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_long(tag::BYTES, bytes);
    }

    /// Writes a number as its text: ASCII, or any text that a foreign `Serialize` gave.
    pub(super) fn put_number(&mut self, text: &[u8]) {
        self.put_long(tag::NUMBER, text);
    }

    /// Encodes a text as a string without holding the text in one piece first.
    pub(super) fn put_display<T: Display + ?Sized>(&mut self, text: &T) -> fmt::Result {
        let start = self.out.end();
        self.out.put(tag::SHORT_STRING);
        write!(Text(&mut self.out), "{text}")?;
        let length = self.out.end() - start - 1;
        match u8::try_from(length) {
            Ok(length) if length < tag::SHORT_STRING => self.out.tail(start)[0] += length,
            _ => {
                let content = self.out.end();
                self.put_length(tag::STRING, length);
                let header = self.out.end() - content;
                // The length takes the place of the tag of a short string.
                self.out.tail(start).rotate_left(1);
                self.out.truncate(self.out.end() - 1);
                self.out.tail(start).rotate_right(header);
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn put_integer(&mut self, sign: u8, magnitude: u64) {
        let zero_bits = magnitude.leading_zeros() & !7;
        let [length, ..] = (8 - zero_bits / 8).to_le_bytes();
        let end = self.out.end() + 1 + usize::from(length);
        // A block of a fixed size, cut to the length, is cheaper to append than a slice of any
        // length.
        let block = magnitude.wrapping_shl(zero_bits).to_be_bytes();
        self.out.put_tagged(sign + length, &block);
        self.out.truncate(end);
    }

    pub(super) fn put_wide_integer(&mut self, sign: u8, magnitude: u128) {
        if let Ok(magnitude) = u64::try_from(magnitude) {
            return self.put_integer(sign, magnitude);
        }
        let bytes = magnitude.to_be_bytes();
        let zero_bytes = magnitude.leading_zeros() / 8;
        let [low, ..] = (16 - zero_bytes).to_le_bytes();
        self.out
            .put_tagged(sign + low, &bytes[16 - usize::from(low)..]);
    }

    #[inline]
    pub(super) fn put_float(&mut self, float: f64) {
        let bits = if float.is_nan() {
            NAN
        } else {
            (float + 0.0).to_bits()
        };
        self.out.put_tagged(tag::FLOAT, &bits.to_be_bytes());
    }

    #[cold]
    fn put_long(&mut self, tag: u8, content: &[u8]) {
        self.put_length(tag, content.len());
        self.out.extend(content);
    }

    /// Writes a tag and a length in LEB128.
    fn put_length(&mut self, tag: u8, length: usize) {
        self.out.put(tag);
        let mut rest = length;
        while rest >= 0x80 {
            let [low, ..] = rest.to_le_bytes();
            self.out.put(low | 0x80);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.out.put(low);
    }
}

struct Text<'a>(&'a mut Buffer);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend(text.as_bytes());
        Ok(())
    }
}
