//! Which items the documentation does not show.

use std::collections::HashSet;

use rustdoc_types::{Attribute, Crate, Id, Impl, Item, ItemEnum, Trait, Type};

/// Whether the item itself has `#[doc(hidden)]`.
pub(crate) fn is_hidden(item: &Item) -> bool {
    item.attrs.iter().any(|attribute| match attribute {
        Attribute::Other(text) => text
            .strip_prefix("#[doc(")
            .and_then(|text| text.strip_suffix(")]"))
            .is_some_and(|words| words.split(',').any(|word| word.trim() == "hidden")),
        _ => false,
    })
}

/// The crate without its hidden items, and without items of other crates. An implementation goes with its trait, and
/// with its type.
pub(crate) fn without_hidden(original: &Crate) -> Crate {
    let mut shown = original.clone();
    shown
        .index
        .retain(|_, item| item.crate_id == 0 && !is_hidden(item));
    let reachable = reachable(&shown);
    let is_lost = |id: &Id| {
        let is_local = original
            .paths
            .get(id)
            .is_some_and(|path| path.crate_id == 0);
        is_local && !reachable.contains(id)
    };
    shown.index.retain(|_, item| match &item.inner {
        ItemEnum::Impl(implementation) => {
            let of = implementation.trait_.as_ref().map(|path| path.id);
            let on = match &implementation.for_ {
                Type::ResolvedPath(path) => Some(path.id),
                _ => None,
            };
            !of.iter().chain(&on).any(is_lost)
        }
        _ => true,
    });
    let unseen = methods_of_hidden_trait_items(original, &shown);
    shown.index.retain(|id, _| !unseen.contains(id));
    shown
}

/// What a path leads to from the root.
fn reachable(content: &Crate) -> HashSet<Id> {
    let mut reached = HashSet::new();
    let mut open = vec![content.root];
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        match content.index.get(&id).map(|item| &item.inner) {
            Some(ItemEnum::Module(module)) => open.extend(&module.items),
            Some(ItemEnum::Use(reexport)) => open.extend(reexport.id),
            _ => {}
        }
    }
    reached
}

/// Implementations do not repeat the attribute of the trait's item.
fn methods_of_hidden_trait_items(original: &Crate, shown: &Crate) -> HashSet<Id> {
    let get = |id: &Id| original.index.get(id);
    let hidden_names = |of: &Trait| -> HashSet<&str> {
        let hidden = of
            .items
            .iter()
            .filter_map(get)
            .filter(|item| is_hidden(item));
        hidden.filter_map(|item| item.name.as_deref()).collect()
    };
    let of_implementation = |implementation: &Impl| -> Vec<Id> {
        let of = implementation.trait_.as_ref();
        let of = of.and_then(|path| get(&path.id)).map(|item| &item.inner);
        let Some(ItemEnum::Trait(of)) = of else {
            return Vec::new();
        };
        let hidden = hidden_names(of);
        let items = implementation.items.iter().filter_map(get);
        items
            .filter(|item| {
                item.name
                    .as_deref()
                    .is_some_and(|name| hidden.contains(name))
            })
            .map(|item| item.id)
            .collect()
    };
    let items = shown.index.values();
    items
        .filter_map(|item| match &item.inner {
            ItemEnum::Impl(implementation) => Some(of_implementation(implementation)),
            _ => None,
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{document, implementation, item, module, trait_of, unit_struct};

    #[test]
    fn an_item_is_hidden_by_a_word_of_its_attribute() {
        let mut shown = item(1, "A", false, &unit_struct(&[]));
        for (attribute, expected) in [
            ("#[doc(hidden)]", true),
            ("#[doc(alias = \"x\", hidden)]", true),
            ("#[doc(alias = \"hidden\")]", false),
            ("#[non_exhaustive]", false),
        ] {
            shown.attrs = vec![Attribute::Other(attribute.to_owned())];
            assert_eq!(is_hidden(&shown), expected, "{attribute}");
        }
    }

    #[test]
    fn an_implementation_is_hidden_with_its_trait_and_with_the_items_of_its_trait() {
        let of_other_crate = |item: Item| Item {
            crate_id: 5,
            ..item
        };
        let foreign = of_other_crate(item(90, "Clone", false, &trait_of(&[91])));
        let method = of_other_crate(item(91, "clone", false, &unit_struct(&[])));
        let shown = document(
            "a",
            vec![
                item(0, "a", false, &module(&[1, 2, 3])),
                item(1, "Type", false, &unit_struct(&[6, 7, 10])),
                item(2, "Shown", false, &trait_of(&[4, 5])),
                item(3, "hidden", true, &module(&[8])),
                item(4, "one", false, &unit_struct(&[])),
                item(5, "two", true, &unit_struct(&[])),
                item(6, "", false, &implementation(2, 1, &[11, 12])),
                item(7, "", false, &implementation(8, 1, &[])),
                item(8, "Inner", false, &trait_of(&[])),
                item(10, "", false, &implementation(90, 1, &[13])),
                item(11, "one", false, &unit_struct(&[])),
                item(12, "two", false, &unit_struct(&[])),
                item(13, "clone", false, &unit_struct(&[])),
                foreign,
                method,
            ],
            &[
                (1, 0, &["a", "Type"], "struct"),
                (2, 0, &["a", "Shown"], "trait"),
                (8, 0, &["a", "hidden", "Inner"], "trait"),
                (90, 5, &["core", "clone", "Clone"], "trait"),
            ],
        );
        let shown = without_hidden(&shown.content);
        let has = |id: u32| shown.index.contains_key(&Id(id));
        assert!([0, 1, 2, 4, 6, 10, 11, 13].into_iter().all(has));
        assert!(![3, 5, 7, 12, 90, 91].into_iter().any(has));
    }
}
