//! Maps and structs: entries in any order, sorted by key once they are complete.

use serde::ser::{Serialize, SerializeMap, SerializeStruct, SerializeStructVariant};

use super::{
    EncodeError,
    encoder::{Encoder, tag},
    number,
    sort::{Entry, key_parts, prefix, sort},
};

/// A foreign `Serialize` can say any length.
const MOST_RESERVED: usize = 64;

pub(super) struct MapEncoder<'a> {
    encoder: &'a mut Encoder,
    /// The position of the first entry in the output. `first` is its index in [`Encoder::entries`].
    start: usize,
    first: usize,
    /// Start and end of a key that waits for its value.
    pending: Option<(usize, usize)>,
    is_number: bool,
}

impl<'a> MapEncoder<'a> {
    #[inline]
    pub(super) fn new(encoder: &'a mut Encoder, length: usize, is_number: bool) -> Self {
        encoder.put_tag(tag::MAP);
        encoder.entries.reserve(length.min(MOST_RESERVED));
        Self {
            start: encoder.out.end(),
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
            sort(self.encoder, self.start, self.first);
            self.encoder.put_tag(tag::END);
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
        let start = self.encoder.out.end();
        self.encoder.value(key)?;
        self.pending = Some((start, self.encoder.out.end()));
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
            end: self.encoder.out.end(),
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
        let start = self.encoder.out.end();
        self.encoder.put_string(key);
        let mut key_end = self.encoder.out.end();
        self.encoder.value(value)?;
        if self.encoder.out.end() == key_end + 1 && self.encoder.out[key_end] == tag::NONE {
            self.encoder.out.truncate(start);
            key_end = start;
        }
        self.encoder.entries.push(Entry {
            prefix: prefix(tag::STRING, key.as_bytes()),
            start,
            key_end,
            end: self.encoder.out.end(),
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
