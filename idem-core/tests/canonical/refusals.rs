//! Values without an encoding, and the errors of a `Serialize` that breaks the protocol.

use idem_core::adapter::canonical::{EncodeError, encode};
use proptest::{collection::vec, prelude::*};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeSeq, SerializeStruct},
};
use std::{collections::BTreeMap, fmt};

use crate::config;

struct Fails;

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("the vault is sealed"))
    }
}

#[test]
fn f5_a_refusal_of_the_value_keeps_its_message() {
    let nested = BTreeMap::from([("secrets", [Some(Fails)])]);
    let error = encode(&nested).expect_err("the value refuses");
    assert!(matches!(error, EncodeError::Custom(_)));
    assert_eq!(error.to_string(), "the vault is sealed");
}

#[test]
fn f5_a_refusal_of_a_display_is_an_error() {
    struct Mute;
    impl fmt::Display for Mute {
        fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    impl Serialize for Mute {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
    assert!(matches!(encode(&Mute), Err(EncodeError::Custom(_))));
}

/// Possible actions of a `Serialize` on the innermost list, map or struct.
#[derive(Clone, Debug)]
enum Step {
    Key(Script),
    Value(Script),
    Entry(Script),
}

#[derive(Clone, Debug)]
enum Script {
    Scalar(Option<u8>),
    Fail,
    /// Errors of the steps are dropped.
    Map(Vec<Step>),
    Struct(Vec<Step>),
    List(Vec<Step>),
}

impl Step {
    fn script(&self) -> &Script {
        match self {
            Self::Key(script) | Self::Value(script) | Self::Entry(script) => script,
        }
    }
}

impl Script {
    /// Whether every step succeeds and comes in turn.
    fn is_sound(&self) -> bool {
        let all_sound = |steps: &[Step]| steps.iter().all(|step| step.script().is_sound());
        match self {
            Self::Scalar(_) => true,
            Self::Fail => false,
            Self::Struct(steps) | Self::List(steps) => all_sound(steps),
            Self::Map(steps) => {
                let mut pending = false;
                let in_turn = steps.iter().all(|step| {
                    let (before, after) = match step {
                        Step::Key(_) => (false, true),
                        Step::Value(_) => (true, false),
                        Step::Entry(_) => (false, false),
                    };
                    before == std::mem::replace(&mut pending, after)
                });
                in_turn && !pending && all_sound(steps)
            }
        }
    }
}

impl Serialize for Script {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(scalar) => scalar.serialize(serializer),
            Self::Fail => Fails.serialize(serializer),
            Self::Map(steps) => {
                let mut map = serializer.serialize_map(None)?;
                for step in steps {
                    let _ = match step {
                        Step::Key(key) => map.serialize_key(key),
                        Step::Value(value) => map.serialize_value(value),
                        Step::Entry(value) => map.serialize_entry(value, value),
                    };
                }
                map.end()
            }
            Self::Struct(steps) => {
                let mut structure = serializer.serialize_struct("Struct", steps.len())?;
                for step in steps {
                    let _ = structure.serialize_field("field", step.script());
                }
                structure.end()
            }
            Self::List(steps) => {
                let mut list = serializer.serialize_seq(None)?;
                for step in steps {
                    let _ = list.serialize_element(step.script());
                }
                list.end()
            }
        }
    }
}

fn script() -> impl Strategy<Value = Script> {
    let leaf = prop_oneof![
        4 => any::<Option<u8>>().prop_map(Script::Scalar),
        1 => Just(Script::Fail),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        let step = prop_oneof![
            1 => inner.clone().prop_map(Step::Key),
            1 => inner.clone().prop_map(Step::Value),
            3 => inner.prop_map(Step::Entry),
        ];
        let steps = || vec(step.clone(), 0..4);
        prop_oneof![
            steps().prop_map(Script::Map),
            steps().prop_map(Script::Struct),
            steps().prop_map(Script::List),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    /// Any part may fail or be out of turn, and the code around it may ignore the error. Even so,
    /// an encoding contains the whole value, or there is no encoding; and nothing panics.
    #[test]
    fn f5_nothing_is_left_out_in_silence(script in script()) {
        prop_assert_eq!(encode(&script).is_ok(), script.is_sound());
    }
}
