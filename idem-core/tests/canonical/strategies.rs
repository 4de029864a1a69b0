//! Generates and changes arbitrary values.

use proptest::{collection::vec, prelude::*, sample::select};

use crate::model::{Fields, Model, Number};

pub(crate) const NAMES: [&str; 16] = [
    "",
    "\0",
    "a",
    "a\0",
    "ab",
    "b",
    "B",
    "é",
    "amount",
    "amount_minor",
    "amount_major",
    "amount_\0",
    "customer_reference_of_the_buyer",
    "customer_reference_of_the_seller",
    concat!(
        "a name whose length takes the long form, because it has more than one hundred and twenty-seven bytes; ",
        "few fields have such a name"
    ),
    concat!(
        "a name whose length takes the long form, because it has more than one hundred and twenty-seven bytes; ",
        "few fields have such a name, and fewer two"
    ),
];

pub(crate) fn name() -> impl Strategy<Value = &'static str> {
    select(&NAMES[..])
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        name().prop_map(String::from),
        "[ab\0é]{0,3}",
        "[ab]{126,129}",
        any::<String>(),
    ]
}

pub(crate) fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        select(
            &[
                0.0,
                -0.0,
                1.0,
                -1.0,
                0.1,
                f64::NAN,
                f64::INFINITY,
                f64::MIN_POSITIVE
            ][..]
        ),
    ]
}

pub(crate) fn unsigned() -> impl Strategy<Value = u128> {
    prop_oneof![
        any::<u128>(),
        0..300_u128,
        (0..128_u32, 0..3_u128).prop_map(|(bits, more)| ((1 << bits) - 1_u128).wrapping_add(more)),
    ]
}

fn signed() -> impl Strategy<Value = i128> {
    prop_oneof![unsigned(), unsigned().prop_map(u128::wrapping_neg)].prop_map(u128::cast_signed)
}

fn number() -> impl Strategy<Value = Number> {
    let finite = float().prop_filter("JSON knows finite numbers only", |value| value.is_finite());
    prop_oneof![
        any::<u64>().prop_map(Number::Unsigned),
        any::<i64>().prop_map(Number::Signed),
        (finite, any::<u8>()).prop_map(|(value, notation)| Number::Shortest(value, notation)),
        any::<(u64, u64)>().prop_map(|(integer, fraction)| Number::Long(integer, fraction)),
    ]
}

pub(crate) fn width() -> impl Strategy<Value = u32> {
    select(&[8, 16, 32, 64, 128][..])
}

fn scalar() -> impl Strategy<Value = Model> {
    prop_oneof![
        Just(Model::Unit),
        Just(Model::UnitStruct),
        Just(Model::None),
        any::<bool>().prop_map(Model::Bool),
        (width(), signed()).prop_map(|(width, value)| Model::Signed(width, value)),
        (width(), unsigned()).prop_map(|(width, value)| Model::Unsigned(width, value)),
        any::<f32>().prop_map(Model::F32),
        float().prop_map(Model::F64),
        number().prop_map(Model::Number),
        any::<char>().prop_map(Model::Char),
        text().prop_map(Model::Str),
        text().prop_map(Model::Display),
        vec(any::<u8>(), 0..3).prop_map(Model::Bytes),
        vec(any::<u8>(), 126..130).prop_map(Model::Bytes),
        name().prop_map(Model::UnitVariant),
    ]
}

pub(crate) fn model() -> impl Strategy<Value = Model> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        let list = || vec(inner.clone(), 0..6);
        let fields = || vec((name(), inner.clone()), 0..6);
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(Model::Some),
            boxed().prop_map(Model::Newtype),
            list().prop_map(Model::Sequence),
            list().prop_map(Model::Tuple),
            list().prop_map(Model::TupleStruct),
            vec((text().prop_map(Model::Str), inner.clone()), 0..6).prop_map(Model::Map),
            vec((inner.clone(), inner.clone()), 0..6).prop_map(Model::Map),
            fields().prop_map(Model::Struct),
            vec(fields(), 0..4)
                .prop_map(|list| list.into_iter().map(Model::Struct).collect())
                .prop_map(Model::Sequence),
            (name(), boxed()).prop_map(|(name, value)| Model::NewtypeVariant(name, value)),
            (name(), list()).prop_map(|(name, values)| Model::TupleVariant(name, values)),
            (name(), fields()).prop_map(|(name, fields)| Model::StructVariant(name, fields)),
        ]
    })
}

/// Values so small that many of them have the same meaning.
pub(crate) fn small_model() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        Just(Model::Unit),
        Just(Model::None),
        (0..2_u128).prop_map(|value| Model::Unsigned(8, value)),
        (0..2_i128).prop_map(|value| Model::Signed(64, value)),
        (0..2_u8).prop_map(|value| Model::F64(value.into())),
        Just(Model::Str("a".into())),
        Just(Model::Char('a')),
        Just(Model::Bytes(b"a".into())),
        Just(Model::UnitVariant("a")),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        let list = || vec(inner.clone(), 0..3);
        let fields = || vec((select(&["a", "b"][..]), inner.clone()), 0..3);
        let boxed = || inner.clone().prop_map(Box::new);
        let pairs = |fields: Fields| {
            let pair = |(name, value): (&str, _)| (Model::Str(name.into()), value);
            fields.into_iter().map(pair).collect()
        };
        prop_oneof![
            boxed().prop_map(Model::Some),
            boxed().prop_map(Model::Newtype),
            list().prop_map(Model::Sequence),
            list().prop_map(Model::Tuple),
            fields().prop_map(move |fields| Model::Map(pairs(fields))),
            fields().prop_map(Model::Struct),
            boxed().prop_map(|value| Model::NewtypeVariant("a", value)),
            list().prop_map(|values| Model::TupleVariant("a", values)),
            fields().prop_map(|fields| Model::StructVariant("a", fields)),
        ]
    })
}

fn children(model: &mut Model) -> Vec<&mut Model> {
    match model {
        Model::Some(value) | Model::Newtype(value) | Model::NewtypeVariant(_, value) => {
            vec![value]
        }
        Model::Sequence(values)
        | Model::Tuple(values)
        | Model::TupleStruct(values)
        | Model::TupleVariant(_, values) => values.iter_mut().collect(),
        Model::Map(entries) => entries
            .iter_mut()
            .flat_map(|(key, value)| [key, value])
            .collect(),
        Model::Struct(fields) | Model::StructVariant(_, fields) => {
            fields.iter_mut().map(|(_, value)| value).collect()
        }
        _ => vec![],
    }
}

pub(crate) fn size(model: &mut Model) -> usize {
    1 + children(model).into_iter().map(size).sum::<usize>()
}

/// Replaces the value with the given number, counted from the outside in, by `change`.
pub(crate) fn replace(model: &mut Model, remaining: &mut usize, change: &Model) -> bool {
    if *remaining == 0 {
        *model = change.clone();
        return true;
    }
    *remaining -= 1;
    children(model)
        .into_iter()
        .any(|child| replace(child, remaining, change))
}
