//! The promises of the canonical encoding: one test per promise, golden vectors, and properties
//! over arbitrary values.

#[path = "canonical/decode.rs"]
mod decode;
#[path = "canonical/golden.rs"]
mod golden;
#[path = "canonical/json.rs"]
mod json;
#[path = "canonical/kinds.rs"]
mod kinds;
#[path = "canonical/model.rs"]
mod model;
#[path = "canonical/properties.rs"]
mod properties;
#[path = "canonical/refusals.rs"]
mod refusals;
#[path = "canonical/stability.rs"]
mod stability;
#[path = "canonical/strategies.rs"]
mod strategies;

use idem_core::adapter::canonical::encode;
use proptest::test_runner::Config;
use serde::{Serialize, Serializer, ser::SerializeStruct};

fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    encode(value).expect("the value can be encoded")
}

/// `PROPTEST_CASES` sets the number of cases.
fn config() -> Config {
    Config {
        failure_persistence: None,
        ..Config::default()
    }
}

/// Serialized like a `serde_json::Number` that was read with the feature `arbitrary_precision`.
struct NumberText<'a>(&'a str);

impl Serialize for NumberText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const TOKEN: &str = "$serde_json::private::Number";
        let mut number = serializer.serialize_struct(TOKEN, 1)?;
        number.serialize_field(TOKEN, self.0)?;
        number.end()
    }
}
