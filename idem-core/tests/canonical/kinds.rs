//! Which values are equal and which differ, by example.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::bytes;

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    sku: String,
    count: u32,
}

#[test]
fn f1_json_that_differs_in_its_writing_is_equal() {
    let one = r#"{"id":7,"customer":"Zoë","lines":[{"sku":"a/b","count":1}]}"#;
    let other = r#" { "lines" : [ { "count" : 1, "ignored" : null, "sku" : "a\/\u0062" } ],
        "customer" : "Zo\u00eb", "id" : 7, "also_ignored" : {} } "#;
    let read = |text| bytes(&serde_json::from_str::<Order>(text).expect("an order"));
    assert_eq!(read(one), read(other));
}

#[test]
fn f2_integers_are_exact_beyond_f64() {
    assert_ne!(
        bytes(&9_007_199_254_740_993_u64),
        bytes(&9_007_199_254_740_992_u64)
    );
    let read = |text| bytes(&serde_json::from_str::<Value>(text).expect("JSON"));
    assert_ne!(read("[9007199254740993]"), read("[9007199254740992]"));
    assert_ne!(read("18446744073709551615"), read("18446744073709551614"));
}

#[test]
fn f2_integers_are_exact_over_all_of_128_bits() {
    assert_ne!(bytes(&u128::MAX), bytes(&(u128::MAX - 1)));
    assert_ne!(bytes(&i128::MIN), bytes(&(i128::MIN + 1)));
    assert_ne!(bytes(&i128::MIN), bytes(&i128::MIN.unsigned_abs()));
    assert_eq!(bytes(&i128::MAX), bytes(&(u128::MAX / 2)));
}

#[test]
fn f2_values_of_different_kinds_differ() {
    let kinds = [
        bytes(&()),
        bytes(&None::<()>),
        bytes(&Some(())),
        bytes(&false),
        bytes(&true),
        bytes(&0),
        bytes(&1),
        bytes(&-1),
        bytes(&0.0),
        bytes(&1.0),
        bytes(""),
        bytes("1"),
        bytes(&Blob(b"1")),
        bytes(&[49_u8]),
        bytes(&[(); 0]),
        bytes(&[()]),
        bytes(&BTreeMap::<u8, u8>::new()),
        bytes(&BTreeMap::from([("1", 1)])),
        bytes(&BTreeMap::from([(1, 1)])),
        bytes(&Shape::One),
        bytes(&Shape::Two(())),
        bytes(&BTreeMap::from([("One", 1)])),
    ];
    for (index, one) in kinds.iter().enumerate() {
        for other in &kinds[index + 1..] {
            assert_ne!(one, other);
        }
    }
}

#[derive(Serialize)]
enum Shape {
    One,
    Two(()),
}

struct Blob<'a>(&'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[test]
fn f2_neighbours_do_not_run_together() {
    assert_ne!(bytes(&["ab", "c"]), bytes(&["a", "bc"]));
    assert_ne!(bytes(&["a\0b"]), bytes(&["a", "b"]));
    assert_ne!(bytes(&(vec![1, 2], vec![3])), bytes(&(vec![1], vec![2, 3])));
    assert_ne!(bytes(&vec![vec![1], vec![]]), bytes(&vec![vec![], vec![1]]));
    assert_ne!(
        bytes(&BTreeMap::from([("a", "bc")])),
        bytes(&BTreeMap::from([("ab", "c")]))
    );
}

#[test]
fn f2_floats_count_by_their_bits_with_one_zero_and_one_nan() {
    assert_eq!(bytes(&0.0), bytes(&-0.0));
    assert_eq!(bytes(&f64::NAN), bytes(&-f64::NAN));
    assert_eq!(
        bytes(&f64::NAN),
        bytes(&f64::from_bits(0xfff0_dead_beef_0001))
    );
    assert_ne!(bytes(&1.0), bytes(&(1.0 + f64::EPSILON)));
    assert_ne!(bytes(&f64::INFINITY), bytes(&f64::NEG_INFINITY));
    assert_ne!(bytes(&f64::NAN), bytes(&()));
}

#[test]
fn f2_a_single_float_is_the_double_of_the_same_value() {
    assert_eq!(bytes(&0.5_f32), bytes(&0.5));
    assert_eq!(bytes(&f32::NAN), bytes(&f64::NAN));
    assert_ne!(bytes(&0.1_f32), bytes(&0.1));
}

#[test]
fn f2_a_struct_equals_a_flattened_map_of_the_same_entries() {
    #[derive(Serialize)]
    struct Flattened {
        id: u64,
        #[serde(flatten)]
        rest: HashMap<String, Value>,
    }
    let flattened = Flattened {
        id: 7,
        rest: HashMap::from([
            ("customer".into(), json!("Zoë")),
            ("lines".into(), json!([{ "count": 1, "sku": "a" }])),
        ]),
    };
    let order = Order {
        id: 7,
        customer: "Zoë".into(),
        lines: vec![Line {
            sku: "a".into(),
            count: 1,
        }],
    };
    assert_eq!(bytes(&flattened), bytes(&order));
}

#[test]
fn f2_a_map_entry_that_is_none_contributes() {
    let empty = BTreeMap::<&str, Option<u8>>::new();
    assert_ne!(bytes(&BTreeMap::from([("a", None::<u8>)])), bytes(&empty));
    assert_ne!(bytes(&json!({ "a": null })), bytes(&json!({})));
}

#[test]
fn f2_some_none_in_a_field_contributes() {
    #[derive(Serialize)]
    struct Patch {
        #[expect(clippy::option_option, reason = "absent, null and a text differ")]
        note: Option<Option<&'static str>>,
    }
    let [keep, clear, set] = [None, Some(None), Some(Some("x"))].map(|note| bytes(&Patch { note }));
    assert_ne!(keep, clear);
    assert_ne!(clear, set);
    assert_ne!(keep, set);
}

#[test]
fn f2_repeated_keys_all_count_in_their_order() {
    #[derive(Serialize)]
    struct Twice {
        a: u8,
        #[serde(flatten)]
        more: BTreeMap<&'static str, u8>,
    }
    let twice = |a, more| {
        bytes(&Twice {
            a,
            more: BTreeMap::from([("a", more)]),
        })
    };
    assert_ne!(twice(1, 2), twice(2, 1));
    assert_ne!(twice(1, 1), bytes(&BTreeMap::from([("a", 1)])));
}

#[test]
fn f2_newtypes_are_transparent_and_characters_are_strings() {
    #[derive(Serialize)]
    struct Cents(u64);
    assert_eq!(bytes(&Cents(5)), bytes(&5));
    assert_eq!(bytes(&'é'), bytes("é"));
}

#[test]
fn f2_what_is_displayed_is_a_string() {
    struct Displayed(String);
    impl Serialize for Displayed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(serializer.is_human_readable());
            serializer.collect_str(&self.0)
        }
    }
    for length in [0, 1, 127, 128, 20_000] {
        let text = "x".repeat(length);
        assert_eq!(bytes(&[Displayed(text.clone())]), bytes(&[text]));
    }
}
