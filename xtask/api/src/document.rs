//! What rustdoc says of one crate.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustdoc_types::{Crate, Id, Item, ItemEnum, ItemKind, Module};
use serde_json::Value;

/// The version of the JSON that rustc 1.95 writes. `rustdoc-types` 0.56 reads it: all that this version adds is a path
/// for each external crate.
const FORMAT: u64 = 57;

pub(crate) struct Document {
    pub(crate) package: String,
    /// Hidden items included.
    pub(crate) content: Crate,
}

impl Document {
    pub(crate) fn read(folder: &Path, package: String) -> Result<Self> {
        let path = folder.join(format!("{}.json", package.replace('-', "_")));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let content = parse(&text).with_context(|| path.display().to_string())?;
        Ok(Self { package, content })
    }

    /// An item of this crate. Rustdoc's index has some traits of other crates, too.
    pub(crate) fn item(&self, id: Id) -> Option<&Item> {
        let item = self.content.index.get(&id);
        item.filter(|item| item.crate_id == 0)
    }

    /// The module of this path, such as `idem_core::store`.
    pub(crate) fn module(&self, path: &[String]) -> Option<&Module> {
        let is_it = |kind: ItemKind, of: &[String]| kind == ItemKind::Module && of == path;
        let mut paths = self.content.paths.iter();
        let (id, _) = paths.find(|(_, summary)| is_it(summary.kind, &summary.path))?;
        match &self.item(*id)?.inner {
            ItemEnum::Module(module) => Some(module),
            _ => None,
        }
    }
}

fn parse(text: &str) -> Result<Crate> {
    let value: Value = serde_json::from_str(text)?;
    let format = value["format_version"].as_u64().unwrap_or_default();
    ensure!(
        format == FORMAT,
        "the JSON has version {format}, and this program reads version {FORMAT}"
    );
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_the_json_is_refused() {
        let error = parse(r#"{"format_version": 58}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the JSON has version 58, and this program reads version 57"
        );
    }
}
