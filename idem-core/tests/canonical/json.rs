//! JSON documents that differ only in their notation.

use std::{collections::BTreeMap, fmt::Write};

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::{bytes, config};

/// A stream of small choices, made by the property test.
struct Choices<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl<'a> Choices<'a> {
    fn new(choices: &'a [u8]) -> Self {
        Self(choices.iter().cycle())
    }

    fn pick(&mut self, among: usize) -> usize {
        usize::from(*self.0.next().expect("there are choices")) % among
    }

    fn space(&mut self) -> &'static str {
        ["", " ", "\n\t", "\r\n  "][self.pick(4)]
    }
}

fn write(value: &Value, choices: &mut Choices<'_>, out: &mut String) {
    out.push_str(choices.space());
    match value {
        Value::String(text) => write_string(text, choices, out),
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write(value, choices, out);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            if !entries.is_empty() {
                let middle = choices.pick(entries.len());
                entries.rotate_left(middle);
            }
            if choices.pick(2) == 0 {
                entries.reverse();
            }
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                out.push_str(choices.space());
                write_string(key, choices, out);
                out.push_str(choices.space());
                out.push(':');
                write(value, choices, out);
            }
            out.push('}');
        }
        scalar => write!(out, "{scalar}").expect("a string takes any text"),
    }
    out.push_str(choices.space());
}

fn write_string(text: &str, choices: &mut Choices<'_>, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        let must_escape = matches!(character, '"' | '\\' | '\0'..='\x1f');
        if must_escape || choices.pick(3) == 0 {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a string takes any text");
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

fn document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|value| json!(f64::from(value) / 64.0)),
        any::<String>().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((any::<String>(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn f1_whitespace_escapes_and_the_order_of_keys_do_not_matter(
        document in document(), choices in vec(any::<u8>(), 1..100),
    ) {
        let mut text = String::new();
        write(&document, &mut Choices::new(&choices), &mut text);
        let read: Value = serde_json::from_str(&text)?;
        prop_assert_eq!(bytes(&read), bytes(&document), "{}", text);
        if let Ok(tree) = serde_json::from_str::<BTreeMap<String, Value>>(&text) {
            prop_assert_eq!(bytes(&tree), bytes(&document), "{}", text);
        }
    }
}
