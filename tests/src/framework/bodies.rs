//! The request bodies of the handlers.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The body of an effect.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewEffect {
    /// Any text.
    pub label: String,
}

/// The form that has its key in a hidden field.
#[derive(Debug, Serialize, Deserialize)]
pub struct Keyed {
    /// Any text.
    pub label: String,
    /// The key.
    pub idempotency_key: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Token {
    pub(crate) token: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Numbers {
    integer: i128,
    float: f64,
    map: HashMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Generated {
    label: String,
    #[serde(default = "next")]
    number: u64,
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// [`NewEffect`] in a later release.
#[derive(Serialize, Deserialize)]
pub(crate) struct Defaulted {
    label: String,
    #[serde(default = "euro")]
    currency: String,
}

fn euro() -> String {
    "eur".to_owned()
}

/// [`NewEffect`] in another later release.
#[derive(Serialize, Deserialize)]
pub(crate) struct Grown {
    note: Option<String>,
    label: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Fields {
    label: String,
    first: u64,
    second: u64,
}

/// [`Fields`] in a later release.
#[derive(Serialize, Deserialize)]
pub(crate) struct Flattened {
    #[serde(flatten)]
    numbers: BTreeMap<String, u64>,
    label: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Noted {
    label: String,
    pub(crate) note: String,
}

impl Noted {
    pub(crate) fn intent(&self) -> &str {
        &self.label
    }
}
