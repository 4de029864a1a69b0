//! Documents for the tests, as rustdoc writes them.

use rustdoc_types::{Crate, Id, Item};
use serde_json::{Value, json};

use crate::document::Document;

pub(crate) fn item(id: u32, name: &str, is_hidden: bool, inner: &Value) -> Item {
    let hidden = json!({ "other": "#[doc(hidden)]" });
    let attributes = if is_hidden { vec![hidden] } else { Vec::new() };
    let value = json!({
        "id": id, "crate_id": 0, "name": name, "span": null, "visibility": "public", "docs": null,
        "links": {}, "attrs": attributes, "deprecation": null, "inner": inner,
    });
    serde_json::from_value(value).unwrap()
}

pub(crate) fn module(items: &[u32]) -> Value {
    json!({ "module": { "is_crate": false, "items": items, "is_stripped": false } })
}

pub(crate) fn reexport(source: &str, name: &str, id: u32, is_glob: bool) -> Value {
    json!({ "use": { "source": source, "name": name, "id": id, "is_glob": is_glob } })
}

pub(crate) fn unit_struct(implementations: &[u32]) -> Value {
    json!({ "struct": { "kind": "unit", "generics": generics(), "impls": implementations } })
}

pub(crate) fn trait_of(items: &[u32]) -> Value {
    json!({ "trait": {
        "is_auto": false, "is_unsafe": false, "is_dyn_compatible": true, "items": items,
        "generics": generics(), "bounds": [], "implementations": [],
    } })
}

pub(crate) fn implementation(of: u32, on: u32, items: &[u32]) -> Value {
    let path = |id: u32| json!({ "path": "path", "id": id, "args": null });
    json!({ "impl": {
        "is_unsafe": false, "generics": generics(), "provided_trait_methods": [], "trait": path(of),
        "for": { "resolved_path": path(on) }, "items": items, "is_negative": false,
        "is_synthetic": false, "blanket_impl": null,
    } })
}

fn generics() -> Value {
    json!({ "params": [], "where_predicates": [] })
}

/// A document whose root is item 0. Each path has an id, the number of its crate, its parts and its kind.
pub(crate) fn document(
    package: &str,
    items: Vec<Item>,
    paths: &[(u32, u32, &[&str], &str)],
) -> Document {
    let paths = paths.iter().map(|(id, number, path, kind)| {
        let summary = json!({ "crate_id": number, "path": path, "kind": kind });
        (Id(*id), serde_json::from_value(summary).unwrap())
    });
    let content = Crate {
        root: Id(0),
        crate_version: None,
        includes_private: false,
        index: items.into_iter().map(|item| (item.id, item)).collect(),
        paths: paths.collect(),
        external_crates: std::collections::HashMap::default(),
        target: serde_json::from_value(json!({ "triple": "t", "target_features": [] })).unwrap(),
        format_version: 57,
    };
    Document {
        package: package.to_owned(),
        content,
    }
}
