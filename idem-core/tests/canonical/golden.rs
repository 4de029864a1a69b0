//! The vectors that fix version 1. Never edit them: another encoding needs another version.

use std::{collections::BTreeMap, fmt::Write};

use idem_core::adapter::canonical::VERSION;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{NumberText, bytes};

const VECTORS: &str = include_str!("v1.txt");

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Wrapper<T>(T);

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Cash,
    Token(u64),
    Range(u8, i8),
    Card {
        network: &'static str,
        holder: Option<&'static str>,
    },
}

#[derive(Serialize)]
struct Payment {
    to: &'static str,
    amount: Amount,
    method: Method,
    note: Option<&'static str>,
    tags: Vec<&'static str>,
    metadata: BTreeMap<&'static str, Option<u32>>,
}

#[derive(Serialize)]
struct Amount {
    minor: u64,
    currency: &'static str,
}

#[derive(Serialize)]
struct Options {
    absent: Option<u8>,
    present: Option<u8>,
    #[expect(clippy::option_option, reason = "the inner one contributes")]
    nested: Option<Option<u8>>,
}

/// Serialized as bytes, not as a list of numbers.
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Serialized as a map of exactly these entries.
struct Entries<K, V>(Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Entries<K, V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Key {
    Null(()),
    Integer(i32),
    Text(&'static str),
    List(Vec<u8>),
}

fn payment() -> Payment {
    Payment {
        to: "acct_7",
        amount: Amount {
            minor: 1999,
            currency: "EUR",
        },
        method: Method::Card {
            network: "visa",
            holder: None,
        },
        note: None,
        tags: vec!["rent", "März"],
        metadata: BTreeMap::from([("order", Some(42)), ("coupon", None)]),
    }
}

/// The encodings under each name. Several values under one name must agree.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    let mut values = scalars();
    values.extend(texts());
    values.extend(compounds());
    values
}

fn scalars() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("null", bytes(&())),
        ("null", bytes(&Unit)),
        ("false", bytes(&false)),
        ("true", bytes(&true)),
        ("none", bytes(&None::<u8>)),
        ("some", bytes(&Some(1))),
        ("some-none", bytes(&Some(None::<u8>))),
        ("integer-0", bytes(&0_u8)),
        ("integer-0", bytes(&0_i128)),
        ("integer-1", bytes(&1_i8)),
        ("integer-1", bytes(&Wrapper(1_u128))),
        ("integer-255", bytes(&255_u8)),
        ("integer-256", bytes(&256_u16)),
        ("integer-2^53", bytes(&9_007_199_254_740_992_u64)),
        ("integer-2^53+1", bytes(&9_007_199_254_740_993_u64)),
        ("integer-2^64-1", bytes(&u64::MAX)),
        ("integer-2^64", bytes(&(1_u128 << 64))),
        ("integer-2^128-1", bytes(&u128::MAX)),
        ("integer--1", bytes(&-1_i64)),
        ("integer--256", bytes(&-256_i32)),
        ("integer--2^63", bytes(&i64::MIN)),
        ("integer--2^127", bytes(&i128::MIN)),
        ("float-0", bytes(&0.0)),
        ("float-0", bytes(&-0.0)),
        ("float-1", bytes(&1.0)),
        ("float-1", bytes(&1.0_f32)),
        ("float-0.1", bytes(&0.1)),
        ("float-0.1-single", bytes(&0.1_f32)),
        ("float-smallest", bytes(&5e-324)),
        ("float-largest", bytes(&f64::MAX)),
        ("float-infinity", bytes(&f64::INFINITY)),
        ("float--infinity", bytes(&f64::NEG_INFINITY)),
        ("float-nan", bytes(&f64::NAN)),
        ("float-nan", bytes(&-f32::NAN)),
        ("integer-256", bytes(&NumberText("256"))),
        ("integer--1", bytes(&NumberText("-1"))),
        ("float-0", bytes(&NumberText("-0"))),
        ("float-0.1", bytes(&NumberText("1.0e-1"))),
        ("number-2^64", bytes(&NumberText("18446744073709551616"))),
        ("float-tie", bytes(&1_746_108_739_471_178.3)),
        ("float-tie", bytes(&NumberText("1746108739471178.3"))),
        ("number-tie", bytes(&NumberText("1746108739471178.2"))),
        (
            "number-long",
            bytes(&NumberText("0.1000000000000000055511")),
        ),
    ]
}

fn texts() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("string-empty", bytes("")),
        ("string-a", bytes("a")),
        ("string-a", bytes(&'a')),
        ("string-unicode", bytes("Zürich \u{1f4b6}")),
        ("string-127", bytes(&"x".repeat(127))),
        ("string-128", bytes(&"x".repeat(128))),
        ("bytes-empty", bytes(&Blob(vec![]))),
        ("bytes-3", bytes(&Blob(vec![0x00, 0x80, 0xff]))),
        ("bytes-128", bytes(&Blob(vec![0xaa; 128]))),
    ]
}

fn compounds() -> Vec<(&'static str, Vec<u8>)> {
    let long = "a_field_with_a_long_name";
    vec![
        ("sequence-empty", bytes(&[0_u8; 0])),
        ("sequence", bytes(&vec![1, 2, 300])),
        ("sequence", bytes(&(1_u8, 2_i64, 300_u16))),
        (
            "sequence-nested",
            bytes(&(vec!["a"], ((), Vec::<u8>::new()))),
        ),
        ("map-empty", bytes(&BTreeMap::<u8, u8>::new())),
        (
            "map-empty",
            bytes(&Options {
                absent: None,
                present: None,
                nested: None,
            }),
        ),
        ("map-none", bytes(&BTreeMap::from([("a", None::<u8>)]))),
        (
            "struct-options",
            bytes(&Options {
                absent: None,
                present: Some(1),
                nested: Some(None),
            }),
        ),
        (
            "map-sorted",
            bytes(&Entries(vec![
                ("b", 1),
                ("a\0", 2),
                ("", 3),
                ("ab", 4),
                ("B", 5),
                ("a", 6),
            ])),
        ),
        (
            "map-alike",
            bytes(&Entries(vec![
                (long, 1),
                (&long[..7], 2),
                (&long[..20], 3),
                (&long[..8], 4),
            ])),
        ),
        (
            "map-repeated",
            bytes(&Entries(vec![("k", 3), ("a", 1), ("k", 1), ("k", 2)])),
        ),
        (
            "map-mixed-keys",
            bytes(&Entries(vec![
                (Key::Text("10"), 1),
                (Key::Integer(-2), 2),
                (Key::Integer(300), 3),
                (Key::Integer(10), 4),
                (Key::Null(()), 5),
                (Key::List(vec![1]), 6),
            ])),
        ),
        ("variant-unit", bytes(&Method::Cash)),
        ("variant-newtype", bytes(&Method::Token(8))),
        ("variant-tuple", bytes(&Method::Range(1, -1))),
        (
            "variant-struct",
            bytes(&Method::Card {
                network: "visa",
                holder: None,
            }),
        ),
        ("payment", bytes(&payment())),
    ]
}

#[derive(Debug, PartialEq, Eq)]
struct Vector<'a> {
    name: &'a str,
    hex: String,
    digest: String,
}

fn parse(text: &'static str) -> Vec<Vector<'static>> {
    let mut vectors = Vec::new();
    let mut lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    while let Some(name) = lines.next() {
        let mut field = |label| {
            let line = lines.next().and_then(|line| line.strip_prefix(label));
            line.map(str::trim).expect(label)
        };
        let name = name.strip_prefix("name").map(str::trim).expect("name");
        field("value");
        vectors.push(Vector {
            name,
            hex: field("bytes").into(),
            digest: field("sha256").into(),
        });
    }
    vectors
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes any text");
        hex
    })
}

#[test]
fn f3_the_golden_vectors_pin_version_1() {
    assert_eq!(
        VERSION, 1,
        "a new version needs vectors of its own; keep these"
    );
    let vectors = parse(VECTORS);
    let values = values();
    for (name, encoded) in &values {
        let actual = Vector {
            name,
            hex: hex(encoded),
            digest: hex(&Sha256::digest(encoded)),
        };
        let expected = vectors.iter().find(|vector| vector.name == *name);
        assert_eq!(expected, Some(&actual));
    }
    for vector in &vectors {
        let is_tested = values.iter().any(|(name, _)| *name == vector.name);
        assert!(is_tested, "nothing is encoded for {}", vector.name);
    }
}

#[test]
fn f3_every_two_golden_vectors_differ() {
    let vectors = parse(VECTORS);
    for (index, vector) in vectors.iter().enumerate() {
        for other in &vectors[index + 1..] {
            assert_ne!(vector.name, other.name);
            assert_ne!(vector.hex, other.hex, "{} and {}", vector.name, other.name);
        }
    }
}
