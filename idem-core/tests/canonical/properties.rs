//! Properties over arbitrary values of every kind.

use std::collections::{BTreeMap, HashMap};

use proptest::{collection::vec, prelude::*};

use crate::{
    bytes, config,
    decode::decode,
    model::{Fields, Meaning, Model, Number},
    strategies::{NAMES, float, model, name, replace, size, small_model, text, unsigned, width},
};

proptest! {
    #![proptest_config(config())]

    /// Decoding returns exactly the meaning of the value. So values with the same meaning have the
    /// same bytes, other values have other bytes, and nothing panics.
    #[test]
    fn f2_the_encoding_says_what_the_value_says(model in model()) {
        prop_assert_eq!(decode(&bytes(&model)), model.meaning());
    }

    #[test]
    fn f2_pairs_of_values_have_the_same_bytes_if_and_only_if_they_say_the_same(
        models in vec(small_model(), 64),
    ) {
        let known: Vec<_> = models.iter().map(|model| (bytes(model), model.meaning())).collect();
        for (index, (one_bytes, one)) in known.iter().enumerate() {
            for (other_bytes, other) in &known[index + 1..] {
                prop_assert_eq!(one_bytes == other_bytes, one == other, "{:?} and {:?}", one, other);
            }
        }
    }

    #[test]
    fn f2_a_changed_value_has_other_bytes_exactly_if_it_says_something_else(
        model in model(),
        change in small_model(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut changed = model.clone();
        let mut remaining = at.index(size(&mut changed));
        replace(&mut changed, &mut remaining, &change);
        prop_assert_eq!(bytes(&model) == bytes(&changed), model.meaning() == changed.meaning());
    }

    #[test]
    fn f2_no_encoding_begins_another(one in model(), other in small_model()) {
        let (one, other) = (bytes(&one), bytes(&other));
        prop_assert!(one == other || !(one.starts_with(&other) || other.starts_with(&one)));
    }

    #[test]
    fn f3_the_order_of_fields_and_entries_does_not_matter(
        (sorted, shuffled) in vec(model(), NAMES.len()).prop_flat_map(|values| {
            let fields: Fields = NAMES.into_iter().zip(values).collect();
            (Just(fields.clone()), Just(fields).prop_shuffle())
        }),
    ) {
        let pair = |(name, value): &(&str, Model)| (Model::Str((*name).into()), value.clone());
        let map = |fields: &Fields| Model::Map(fields.iter().map(pair).collect());
        prop_assert_eq!(bytes(&map(&sorted)), bytes(&map(&shuffled)));
        let variant = |fields: &Fields| Model::StructVariant("variant", fields.clone());
        prop_assert_eq!(bytes(&variant(&sorted)), bytes(&variant(&shuffled)));
        let present = |fields: Fields| -> Fields {
            let says_something = |value: &Model| value.meaning() != Meaning::None;
            fields.into_iter().filter(|(_, value)| says_something(value)).collect()
        };
        let structure = bytes(&Model::Struct(shuffled));
        prop_assert_eq!(&structure, &bytes(&Model::Struct(sorted.clone())));
        prop_assert_eq!(&structure, &bytes(&map(&present(sorted))));
    }

    #[test]
    fn f3_the_type_of_the_map_does_not_matter(entries in vec((text(), any::<u32>()), 0..200)) {
        let tree: BTreeMap<_, _> = entries.iter().cloned().collect();
        let hash: HashMap<_, _> = entries.into_iter().collect();
        prop_assert_eq!(bytes(&tree), bytes(&hash));
        prop_assert_eq!(bytes(&[&tree, &tree]), bytes(&[&hash, &hash]));
    }

    #[test]
    fn f3_the_width_of_an_integer_does_not_matter(
        value in unsigned(), one in width(), other in width(),
    ) {
        let expected = bytes(&Model::Unsigned(one, value));
        prop_assert_eq!(&expected, &bytes(&Model::Unsigned(other, value)));
        if let Ok(value) = i128::try_from(value) {
            prop_assert_eq!(&expected, &bytes(&Model::Signed(other, value)));
            let negative = Model::Signed(one, -value);
            prop_assert_eq!(bytes(&negative), bytes(&Model::Signed(other, -value)));
        }
    }

    #[test]
    fn f3_fields_that_are_none_do_not_matter(
        (fields, more) in (vec((name(), model()), 0..6), vec(name(), 0..6)),
        at in any::<prop::sample::Index>(),
    ) {
        let mut later = fields.clone();
        for name in more {
            later.insert(at.index(later.len() + 1), (name, Model::None));
        }
        prop_assert_eq!(bytes(&Model::Struct(fields)), bytes(&Model::Struct(later)));
    }

    #[test]
    fn f3_a_number_kept_as_text_does_not_matter(value in any::<u64>(), float in float()) {
        prop_assert_eq!(bytes(&Model::Number(Number::Unsigned(value))), bytes(&value));
        let value = value.cast_signed();
        prop_assert_eq!(bytes(&Model::Number(Number::Signed(value))), bytes(&value));
        if float.is_finite() {
            for notation in 0..4 {
                let number = Model::Number(Number::Shortest(float, notation));
                prop_assert_eq!(bytes(&number), bytes(&float));
            }
        }
    }
}
