//! A decoder that follows the written specification. It returns the meaning of a value, so the
//! encoding is injective. It accepts only the one allowed form of everything, so the encoding is
//! canonical.

use std::collections::BTreeMap;

use crate::model::Meaning;

pub(crate) fn decode(encoded: &[u8]) -> Meaning {
    let mut reader = Reader { rest: encoded };
    let meaning = reader.value();
    assert!(reader.rest.is_empty(), "bytes after the value");
    meaning
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn value(&mut self) -> Meaning {
        match self.byte() {
            0x01 => Meaning::Null,
            0x02 => Meaning::Bool(false),
            0x03 => Meaning::Bool(true),
            0x04 => Meaning::None,
            0x05 => Meaning::Some(Box::new(self.value())),
            0x06 => Meaning::Float(self.float()),
            0x07 => {
                let length = self.length();
                Meaning::Number(self.take(length).into())
            }
            0x08 => {
                let length = self.length();
                Meaning::Bytes(self.take(length).into())
            }
            0x09 => {
                let mut values = Vec::new();
                while !self.end() {
                    values.push(self.value());
                }
                Meaning::Sequence(values)
            }
            0x0a => Meaning::Map(self.map()),
            0x0b => Meaning::UnitVariant(self.name()),
            0x0c => {
                let name = self.name();
                Meaning::Variant(name, Box::new(self.value()))
            }
            0x0d => {
                let length = self.length();
                assert!(length > 0x7f, "a short string in the long form");
                Meaning::Str(self.text(length))
            }
            tag @ 0x20..=0x30 => Meaning::Integer(false, self.magnitude(tag - 0x20)),
            tag @ 0x41..=0x50 => Meaning::Integer(true, self.magnitude(tag - 0x40)),
            tag @ 0x80.. => Meaning::Str(self.text(usize::from(tag - 0x80))),
            tag => panic!("{tag:#04x} begins no value"),
        }
    }

    fn end(&mut self) -> bool {
        let end = self.rest[0] == 0x00;
        if end {
            self.byte();
        }
        end
    }

    fn map(&mut self) -> BTreeMap<Meaning, Vec<Meaning>> {
        let mut map = BTreeMap::<_, Vec<_>>::new();
        let mut last = None;
        while !self.end() {
            let before = self.rest;
            let key = self.value();
            let encoded = &before[..before.len() - self.rest.len()];
            let rank = match &key {
                Meaning::Str(text) => (0x0d, text.clone().into_bytes()),
                _ => (encoded[0], encoded[1..].to_vec()),
            };
            assert!(last.is_none_or(|last| last <= rank), "keys out of order");
            last = Some(rank);
            let value = self.value();
            map.entry(key).or_default().push(value);
        }
        map
    }

    fn name(&mut self) -> String {
        match self.value() {
            Meaning::Str(name) => name,
            other => panic!("{other:?} names no variant"),
        }
    }

    fn text(&mut self, length: usize) -> String {
        String::from_utf8(self.take(length).into()).expect("strings are UTF-8")
    }

    fn float(&mut self) -> u64 {
        let bits = self
            .take(8)
            .iter()
            .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        let float = f64::from_bits(bits);
        assert!(float != 0.0 || bits == 0, "a negative zero");
        assert!(
            !float.is_nan() || bits == 0x7ff8_0000_0000_0000,
            "another NaN"
        );
        bits
    }

    fn magnitude(&mut self, length: u8) -> u128 {
        let bytes = self.take(length.into());
        assert_ne!(bytes.first(), Some(&0), "a leading zero");
        bytes
            .iter()
            .fold(0, |magnitude, byte| magnitude << 8 | u128::from(*byte))
    }

    fn length(&mut self) -> usize {
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte();
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                assert!(byte != 0 || shift == 0, "a length with a leading zero");
                break;
            }
        }
        length
    }
}
