//! Changes of a type or a build that leave the encoding as it is, by example.

use std::collections::{BTreeMap, HashMap};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{NumberText, bytes};

#[test]
fn f3_the_order_of_fields_and_variants_does_not_matter() {
    #[derive(Serialize)]
    struct Declared {
        to: &'static str,
        cents: u64,
    }
    #[derive(Serialize)]
    struct Reordered {
        cents: u64,
        to: &'static str,
    }
    #[derive(Serialize)]
    enum Before {
        Cash,
    }
    #[derive(Serialize)]
    enum After {
        #[expect(dead_code, reason = "moves the other variant to another index")]
        Card,
        Cash,
    }
    let (to, cents) = ("x", 5);
    assert_eq!(
        bytes(&Declared { to, cents }),
        bytes(&Reordered { cents, to })
    );
    assert_eq!(bytes(&Before::Cash), bytes(&After::Cash));
}

#[test]
fn f3_a_hash_map_equals_a_tree_map() {
    let entries: Vec<_> = (0..1000).map(|n| (format!("key {n}"), n)).collect();
    let hash: HashMap<_, _> = entries.iter().cloned().collect();
    let tree: BTreeMap<_, _> = entries.into_iter().collect();
    assert_eq!(bytes(&hash), bytes(&tree));
}

#[test]
fn f3_a_widened_integer_changes_nothing() {
    assert_eq!(bytes(&1_000_u16), bytes(&1_000_u64));
    assert_eq!(bytes(&1_000_u16), bytes(&1_000_i128));
    assert_eq!(bytes(&-5_i8), bytes(&-5_i64));
}

#[test]
fn f3_option_field_added_later_changes_nothing() {
    #[derive(Serialize)]
    struct Before {
        to: &'static str,
        cents: u64,
    }
    #[derive(Serialize)]
    struct After {
        channel: Option<String>,
        to: &'static str,
        note: Option<Vec<String>>,
        cents: u64,
    }
    #[derive(Serialize)]
    enum Intent<T> {
        Pay(T),
    }
    let before = Before { to: "x", cents: 5 };
    let mut after = After {
        channel: None,
        to: "x",
        note: None,
        cents: 5,
    };
    assert_eq!(bytes(&before), bytes(&after));
    assert_eq!(
        bytes(&[Intent::Pay(&before)]),
        bytes(&[Intent::Pay(&after)])
    );
    after.note = Some(vec![]);
    assert_ne!(bytes(&before), bytes(&after));
}

#[test]
fn f3_option_field_added_to_a_flattening_struct_contributes() {
    #[derive(Serialize)]
    struct Before {
        cents: u64,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    #[derive(Serialize)]
    struct After {
        cents: u64,
        note: Option<String>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    #[derive(Serialize)]
    struct Skipping {
        cents: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    let rest = BTreeMap::new;
    let before = Before {
        cents: 5,
        rest: rest(),
    };
    let after = After {
        cents: 5,
        note: None,
        rest: rest(),
    };
    let skipping = Skipping {
        cents: 5,
        note: None,
        rest: rest(),
    };
    assert_ne!(bytes(&before), bytes(&after));
    assert_eq!(bytes(&before), bytes(&skipping));
}

#[test]
fn f3_a_variant_of_a_struct_equals_the_struct_variant() {
    #[derive(Serialize)]
    struct Card {
        network: &'static str,
    }
    #[derive(Serialize)]
    enum Before {
        Card(Card),
    }
    #[derive(Serialize)]
    enum After {
        Card { network: &'static str },
    }
    let network = "visa";
    assert_eq!(
        bytes(&Before::Card(Card { network })),
        bytes(&After::Card { network })
    );
}

#[test]
fn f3_the_order_in_which_a_json_object_keeps_its_keys_does_not_matter() {
    let read = |text| bytes(&serde_json::from_str::<Value>(text).expect("JSON"));
    assert_eq!(
        read(r#"{"b": [{"d": 1, "c": 2}], "a": 0, "ab": {}}"#),
        read(r#"{"ab": {}, "a": 0, "b": [{"c": 2, "d": 1}]}"#)
    );
}

#[test]
fn f3_a_number_kept_as_text_equals_the_number() {
    for (text, number) in [
        ("0", json!(0)),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("-0", json!(-0.0)),
        ("12.50", json!(12.5)),
        ("1e2", json!(100.0)),
    ] {
        assert_eq!(bytes(&NumberText(text)), bytes(&number), "{text}");
    }
    for text in ["0.1", "-7", "1e-7", "123456.789e3", "-0.0", "5E+1"] {
        let value: Value = serde_json::from_str(text).expect("a number");
        assert_eq!(bytes(&value), bytes(&NumberText(text)), "{text}");
    }
}

#[test]
fn f3_numbers_that_share_a_float_stay_apart_while_their_text_is_known() {
    let same_float = [
        "18446744073709551616",
        "18446744073709551617",
        "18446744073709552000",
    ];
    let [exact, above, shortest] = same_float.map(|text| bytes(&NumberText(text)));
    assert_ne!(exact, above);
    assert_ne!(exact, shortest);
    assert_eq!(shortest, bytes(&18_446_744_073_709_551_616.0));
}

#[test]
fn f3_a_struct_that_looks_like_a_number_of_serde_json_is_a_struct() {
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::Number")]
    struct Disguised<T> {
        value: T,
    }
    assert_eq!(
        bytes(&Disguised { value: "1" }),
        bytes(&BTreeMap::from([("value", "1")]))
    );
    assert_eq!(bytes(&Disguised { value: None::<u8> }), bytes(&json!({})));
    assert_eq!(
        bytes(&[Disguised { value: [2] }]),
        bytes(&json!([{ "value": [2] }]))
    );
}

#[test]
fn f4_a_field_that_is_not_serialized_is_not_in_the_fingerprint() {
    #[derive(Serialize)]
    struct Card {
        network: &'static str,
        #[serde(skip_serializing)]
        #[expect(dead_code, reason = "it is not serialized")]
        number: &'static str,
        #[serde(serialize_with = "masked")]
        code: &'static str,
    }
    fn masked<S: Serializer>(_code: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
    let one = Card {
        network: "visa",
        number: "1",
        code: "123",
    };
    let other = Card {
        network: "visa",
        number: "2",
        code: "456",
    };
    assert_eq!(bytes(&one), bytes(&other));
}
