//! What a crate re-exports from others, by name.

use std::collections::{BTreeMap, BTreeSet};

use rustdoc_types::{Id, ItemEnum, Module, Use};

use crate::document::Document;
use crate::hidden::is_hidden;

/// Lines such as `pub use idem_axum::Scope = idem_core::Scope`. A glob is listed as the items it stands for, if its
/// module is in one of the documents.
pub(crate) fn reexports(
    document: &Document,
    documents: &BTreeMap<String, Document>,
) -> BTreeSet<String> {
    let mut search = Search {
        document,
        documents,
        way: Vec::new(),
        lines: BTreeSet::new(),
    };
    let root = document.content.root;
    search.enter(root, &document.package.replace('-', "_"));
    search.lines
}

struct Search<'a> {
    document: &'a Document,
    documents: &'a BTreeMap<String, Document>,
    /// The modules from the root to here, as a module can be re-exported inside itself.
    way: Vec<Id>,
    lines: BTreeSet<String>,
}

impl Search<'_> {
    fn enter(&mut self, id: Id, path: &str) {
        let Some(item) = self.document.item(id) else {
            return;
        };
        let ItemEnum::Module(module) = &item.inner else {
            return;
        };
        if is_hidden(item) || self.way.contains(&id) {
            return;
        }
        self.way.push(id);
        self.list(module, path);
        self.way.pop();
    }

    fn list(&mut self, module: &Module, path: &str) {
        for id in &module.items {
            let Some(item) = self.document.item(*id).filter(|item| !is_hidden(item)) else {
                continue;
            };
            match (&item.inner, &item.name) {
                (ItemEnum::Module(_), Some(name)) => self.enter(*id, &format!("{path}::{name}")),
                (ItemEnum::Use(reexport), _) => self.reexport(reexport, path),
                _ => {}
            }
        }
    }

    fn reexport(&mut self, reexport: &Use, path: &str) {
        let Use { source, name, .. } = reexport;
        match reexport.id {
            Some(id) if self.document.item(id).is_some() => {
                let path = if reexport.is_glob {
                    path.to_owned()
                } else {
                    format!("{path}::{name}")
                };
                self.enter(id, &path);
            }
            Some(id) if reexport.is_glob => match self.names_in(id) {
                Some(names) => self.lines.extend(
                    names
                        .iter()
                        .map(|name| format!("pub use {path}::{name} = {source}::{name}")),
                ),
                None => {
                    self.lines
                        .insert(format!("pub use {path}::* = {source}::*"));
                }
            },
            _ => {
                self.lines
                    .insert(format!("pub use {path}::{name} = {source}"));
            }
        }
    }

    /// The names in another crate's module.
    fn names_in(&self, id: Id) -> Option<BTreeSet<String>> {
        let path = &self.document.content.paths.get(&id)?.path;
        let other = self.documents.get(path.first()?)?;
        let mut names = BTreeSet::new();
        collect_names(other, other.module(path)?, &mut names);
        Some(names)
    }
}

fn collect_names(document: &Document, module: &Module, names: &mut BTreeSet<String>) {
    for item in module.items.iter().filter_map(|id| document.item(*id)) {
        if is_hidden(item) {
            continue;
        }
        let ItemEnum::Use(reexport) = &item.inner else {
            names.extend(item.name.clone());
            continue;
        };
        let target = reexport.id.and_then(|id| document.item(id));
        match target.map(|target| &target.inner) {
            Some(ItemEnum::Module(inner)) if reexport.is_glob => {
                collect_names(document, inner, names);
            }
            _ if target.is_some_and(is_hidden) => {}
            _ => {
                names.insert(reexport.name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{document, item, module, reexport, unit_struct};

    /// The core has a hidden module `users` whose items the adapter re-exports by a glob.
    #[test]
    fn a_glob_is_listed_as_the_items_it_stands_for() {
        let core = document(
            "idem-core",
            vec![
                item(0, "idem_core", false, &module(&[1, 2, 3])),
                item(1, "users", true, &module(&[4, 5, 6])),
                item(2, "Scope", false, &unit_struct(&[])),
                item(3, "Secret", true, &unit_struct(&[])),
                item(4, "", false, &reexport("crate::Scope", "Scope", 2, false)),
                item(5, "", false, &reexport("crate::Secret", "Secret", 3, false)),
                item(6, "Own", false, &unit_struct(&[])),
            ],
            &[(1, 0, &["idem_core", "users"], "module")],
        );
        let adapter = document(
            "idem-axum",
            vec![
                item(0, "idem_axum", false, &module(&[1, 2, 3, 4, 5])),
                item(
                    1,
                    "",
                    false,
                    &reexport("idem_core::users", "users", 90, true),
                ),
                item(2, "__private", true, &module(&[6])),
                item(3, "inner", false, &module(&[7])),
                item(
                    4,
                    "",
                    false,
                    &reexport("other::prelude", "prelude", 91, true),
                ),
                item(
                    5,
                    "",
                    true,
                    &reexport("idem_core::Hidden", "Hidden", 94, false),
                ),
                item(
                    6,
                    "",
                    false,
                    &reexport("idem_core::Part", "Part", 92, false),
                ),
                item(
                    7,
                    "",
                    false,
                    &reexport("idem_core::Scope", "Owner", 93, false),
                ),
            ],
            &[
                (90, 20, &["idem_core", "users"], "module"),
                (91, 21, &["other", "prelude"], "module"),
            ],
        );
        let documents = BTreeMap::from([("idem_core".to_owned(), core)]);
        let lines = Vec::from_iter(reexports(&adapter, &documents));
        let expected = [
            "pub use idem_axum::* = other::prelude::*",
            "pub use idem_axum::Own = idem_core::users::Own",
            "pub use idem_axum::Scope = idem_core::users::Scope",
            "pub use idem_axum::inner::Owner = idem_core::Scope",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_module_inside_itself_is_listed_once() {
        let document = document(
            "a",
            vec![
                item(0, "a", false, &module(&[1, 2])),
                item(1, "", false, &reexport("crate", "again", 0, false)),
                item(2, "", false, &reexport("b::C", "C", 90, false)),
            ],
            &[],
        );
        let lines = reexports(&document, &BTreeMap::new());
        assert_eq!(Vec::from_iter(lines), ["pub use a::C = b::C"]);
    }
}
