//! Values of every kind in serde's data model, and the meaning of each, written without the
//! encoder.

use std::{collections::BTreeMap, fmt};

use serde::{
    Serialize, Serializer,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use crate::NumberText;

/// A value as the author of a type would define it.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    Unit,
    UnitStruct,
    None,
    Some(Box<Model>),
    Bool(bool),
    /// With the narrowest width to use.
    Signed(u32, i128),
    Unsigned(u32, u128),
    F32(f32),
    F64(f64),
    Number(Number),
    Char(char),
    Str(String),
    Display(String),
    Bytes(Vec<u8>),
    Newtype(Box<Model>),
    Sequence(Vec<Model>),
    Tuple(Vec<Model>),
    TupleStruct(Vec<Model>),
    Map(Vec<(Model, Model)>),
    Struct(Fields),
    UnitVariant(&'static str),
    NewtypeVariant(&'static str, Box<Model>),
    TupleVariant(&'static str, Vec<Model>),
    StructVariant(&'static str, Fields),
}

pub(crate) type Fields = Vec<(&'static str, Model)>;

/// A number that is kept as text.
#[derive(Clone, Debug)]
pub(crate) enum Number {
    Unsigned(u64),
    Signed(i64),
    /// In one of a few notations, each with the shortest digits.
    Shortest(f64, u8),
    /// More digits than any float needs.
    Long(u64, u64),
}

/// The meaning of a value. Two encodings must be equal if and only if the meanings are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    Null,
    None,
    Some(Box<Meaning>),
    Bool(bool),
    Integer(bool, u128),
    Float(u64),
    Number(Vec<u8>),
    Str(String),
    Bytes(Vec<u8>),
    Sequence(Vec<Meaning>),
    /// A key's values in the order of their arrival.
    Map(BTreeMap<Meaning, Vec<Meaning>>),
    UnitVariant(String),
    Variant(String, Box<Meaning>),
}

impl Model {
    pub(crate) fn meaning(&self) -> Meaning {
        match self {
            Self::Unit | Self::UnitStruct => Meaning::Null,
            Self::None => Meaning::None,
            Self::Some(value) => Meaning::Some(Box::new(value.meaning())),
            Self::Bool(value) => Meaning::Bool(*value),
            Self::Signed(_, value) => Meaning::Integer(*value < 0, value.unsigned_abs()),
            Self::Unsigned(_, value) => Meaning::Integer(false, *value),
            Self::F32(value) => float(f64::from(*value)),
            Self::F64(value) => float(*value),
            Self::Number(number) => number.meaning(),
            Self::Char(value) => Meaning::Str(value.to_string()),
            Self::Str(value) | Self::Display(value) => Meaning::Str(value.clone()),
            Self::Bytes(value) => Meaning::Bytes(value.clone()),
            Self::Newtype(value) => value.meaning(),
            Self::Sequence(values) | Self::Tuple(values) | Self::TupleStruct(values) => {
                sequence(values)
            }
            Self::Map(entries) => {
                let mut map = BTreeMap::<_, Vec<_>>::new();
                for (key, value) in entries {
                    map.entry(key.meaning()).or_default().push(value.meaning());
                }
                Meaning::Map(map)
            }
            Self::Struct(fields) => structure(fields),
            Self::UnitVariant(name) => Meaning::UnitVariant((*name).into()),
            Self::NewtypeVariant(name, value) => variant(name, value.meaning()),
            Self::TupleVariant(name, values) => variant(name, sequence(values)),
            Self::StructVariant(name, fields) => variant(name, structure(fields)),
        }
    }
}

impl Number {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Shortest(value, notation) => match notation % 4 {
                0 => format!("{value:e}"),
                1 => format!("{value:E}").replace("E-", "E-00"),
                2 => format!("{value:?}").replace("e-", "0e-"),
                _ if value.fract() == 0.0 => format!("{value}.00"),
                _ => format!("{value}000"),
            },
            Self::Long(integer, fraction) => format!("{integer}.{fraction:020}0000000001"),
        }
    }

    fn meaning(&self) -> Meaning {
        match self {
            Self::Unsigned(value) => Meaning::Integer(false, (*value).into()),
            Self::Signed(value) => Meaning::Integer(*value < 0, value.unsigned_abs().into()),
            Self::Shortest(value, _) => float(*value),
            Self::Long(..) => Meaning::Number(self.text().into()),
        }
    }
}

fn float(value: f64) -> Meaning {
    Meaning::Float(match value {
        0.0 => 0,
        value if value.is_nan() => 0x7ff8_0000_0000_0000,
        value => value.to_bits(),
    })
}

fn sequence(values: &[Model]) -> Meaning {
    Meaning::Sequence(values.iter().map(Model::meaning).collect())
}

fn structure(fields: &Fields) -> Meaning {
    let mut map = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in fields {
        let value = value.meaning();
        if value != Meaning::None {
            let name = Meaning::Str((*name).into());
            map.entry(name).or_default().push(value);
        }
    }
    Meaning::Map(map)
}

fn variant(name: &str, value: Meaning) -> Meaning {
    Meaning::Variant(name.into(), Box::new(value))
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => serializer.serialize_unit(),
            Self::UnitStruct => serializer.serialize_unit_struct("Unit"),
            Self::None => serializer.serialize_none(),
            Self::Some(value) => serializer.serialize_some(value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Signed(width, value) => serialize_signed(serializer, *width, *value),
            Self::Unsigned(width, value) => serialize_unsigned(serializer, *width, *value),
            Self::F32(value) => serializer.serialize_f32(*value),
            Self::F64(value) => serializer.serialize_f64(*value),
            Self::Number(number) => NumberText(&number.text()).serialize(serializer),
            Self::Char(value) => serializer.serialize_char(*value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::Display(value) => serializer.collect_str(&Pieces(value)),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Newtype(value) => serializer.serialize_newtype_struct("Newtype", value),
            Self::Sequence(values) => {
                let mut sequence = serializer.serialize_seq(None)?;
                for value in values {
                    sequence.serialize_element(value)?;
                }
                sequence.end()
            }
            Self::Tuple(values) => {
                let mut tuple = serializer.serialize_tuple(values.len())?;
                for value in values {
                    tuple.serialize_element(value)?;
                }
                tuple.end()
            }
            Self::TupleStruct(values) => {
                let mut tuple = serializer.serialize_tuple_struct("Tuple", values.len())?;
                for value in values {
                    tuple.serialize_field(value)?;
                }
                tuple.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Struct(fields) => {
                let mut structure = serializer.serialize_struct("Struct", fields.len())?;
                for (name, value) in fields {
                    structure.serialize_field(name, value)?;
                }
                structure.end()
            }
            Self::UnitVariant(name) => serializer.serialize_unit_variant("Enum", 0, name),
            Self::NewtypeVariant(name, value) => {
                serializer.serialize_newtype_variant("Enum", 1, name, value)
            }
            Self::TupleVariant(name, values) => {
                let mut tuple =
                    serializer.serialize_tuple_variant("Enum", 2, name, values.len())?;
                for value in values {
                    tuple.serialize_field(value)?;
                }
                tuple.end()
            }
            Self::StructVariant(name, fields) => {
                let mut structure =
                    serializer.serialize_struct_variant("Enum", 3, name, fields.len())?;
                for (name, value) in fields {
                    structure.serialize_field(name, value)?;
                }
                structure.end()
            }
        }
    }
}

fn serialize_signed<S: Serializer>(
    serializer: S,
    width: u32,
    value: i128,
) -> Result<S::Ok, S::Error> {
    if let (..=8, Ok(value)) = (width, i8::try_from(value)) {
        serializer.serialize_i8(value)
    } else if let (..=16, Ok(value)) = (width, i16::try_from(value)) {
        serializer.serialize_i16(value)
    } else if let (..=32, Ok(value)) = (width, i32::try_from(value)) {
        serializer.serialize_i32(value)
    } else if let (..=64, Ok(value)) = (width, i64::try_from(value)) {
        serializer.serialize_i64(value)
    } else {
        serializer.serialize_i128(value)
    }
}

fn serialize_unsigned<S: Serializer>(
    serializer: S,
    width: u32,
    value: u128,
) -> Result<S::Ok, S::Error> {
    if let (..=8, Ok(value)) = (width, u8::try_from(value)) {
        serializer.serialize_u8(value)
    } else if let (..=16, Ok(value)) = (width, u16::try_from(value)) {
        serializer.serialize_u16(value)
    } else if let (..=32, Ok(value)) = (width, u32::try_from(value)) {
        serializer.serialize_u32(value)
    } else if let (..=64, Ok(value)) = (width, u64::try_from(value)) {
        serializer.serialize_u64(value)
    } else {
        serializer.serialize_u128(value)
    }
}

/// Formats a text one character at a time.
struct Pieces<'a>(&'a str);

impl fmt::Display for Pieces<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|piece| piece.fmt(formatter))
    }
}
