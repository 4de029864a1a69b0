//! A crate's list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Result, ensure};
use public_api::Builder;

use crate::document::Document;
use crate::hidden;
use crate::reexports::reexports;

/// What the compiler implements by itself and no user of idem depends on; `Send` and `Sync` stay.
const UNLISTED: &[&str] = &[
    "core::marker::Freeze",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// The re-exports, then the crate's own items: a module before its items, a type before its methods.
pub(crate) fn list(document: &Document, documents: &BTreeMap<String, Document>) -> Result<String> {
    let mut text = format!(
        "# The public API of {} with all features, without hidden items. `cargo xtask api --bless` writes this file.\n",
        document.package
    );
    for line in reexports(document, documents) {
        writeln!(text, "{line}")?;
    }
    for line in own_items(document)? {
        writeln!(text, "{line}")?;
    }
    Ok(text)
}

fn own_items(document: &Document) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let shown = folder.path().join("shown.json");
    let content = hidden::without_hidden(&document.content);
    fs::write(&shown, serde_json::to_vec(&content)?)?;
    let api = Builder::from_rustdoc_json(shown)
        .omit_blanket_impls(true)
        .build()?;
    let lines: Vec<String> = api
        .items()
        .map(ToString::to_string)
        // Listed by their sources.
        .filter(|line| !line.starts_with("pub use "))
        .filter(|line| !implements_unlisted(line))
        .collect();
    ensure!(!lines.is_empty(), "{} has no items", document.package);
    Ok(lines)
}

fn implements_unlisted(line: &str) -> bool {
    line.starts_with("impl")
        && UNLISTED
            .iter()
            .any(|name| line.contains(&format!("{name} for ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_auto_traits_send_and_sync_are_listed() {
        for line in [
            "impl core::marker::Unpin for a::A",
            "impl !core::panic::unwind_safe::UnwindSafe for a::A",
            "impl<S> core::marker::Freeze for a::A<S>",
        ] {
            assert!(implements_unlisted(line), "{line}");
        }
        for line in [
            "impl<S> core::marker::Send for a::A<S> where S: core::marker::Unpin",
            "impl core::marker::Sync for a::A",
            "pub fn a::f(a: impl core::marker::Unpin)",
        ] {
            assert!(!implements_unlisted(line), "{line}");
        }
    }
}
