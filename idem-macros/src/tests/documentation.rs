//! The expansion that the attribute's documentation shows is a true one.

use std::fs;
use std::path::Path;

use quote::ToTokens;
use syn::{File, Item};

use super::expansions::{Case, difference};
use crate::framework::{Actix, Axum, Framework};

const FENCE: &str = "```ignore\n";

/// The handler without the comment above it.
fn handler(case: &Case) -> String {
    let start = case.handler.find("#[idempotent").unwrap();
    case.handler[start..].trim_end().to_owned()
}

/// The expansion without the adapter's path and without the documentation.
fn expansion<F: Framework>(case: &Case) -> String {
    let mut file = case.expand::<F>();
    for item in &mut file.items {
        if let Item::Fn(function) = item {
            function
                .attrs
                .retain(|attribute| !attribute.path().is_ident("doc"));
        }
    }
    let private = format!(":: {} :: __private :: ", F::ROOT);
    let text = file.to_token_stream().to_string().replace(&private, "");
    let file: File = syn::parse_str(&text).unwrap();
    prettyplease::unparse(&file).trim_end().to_owned()
}

/// Compares the two blocks of code in the documentation with the case, or writes them anew.
fn check<F: Framework>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).unwrap();
    let case = Case::named::<F>("scope_and_body");
    let mut blocks = [handler(&case), expansion::<F>(&case)].into_iter();
    let mut parts = text.split(FENCE);
    let mut expected = parts.next().unwrap().to_owned();
    for part in parts {
        let (_, after) = part.split_once("```\n").unwrap();
        let block = blocks.next().expect("two blocks");
        expected = format!("{expected}{FENCE}{block}\n```\n{after}");
    }
    assert_eq!(blocks.next(), None, "two blocks");
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, expected).unwrap();
    } else {
        assert!(
            text == expected,
            "{name} differs; `BLESS=1` writes it anew\n{}",
            difference(&text, &expected)
        );
    }
}

#[test]
fn the_documentation_for_axum_shows_an_expansion() {
    check::<Axum>("src/docs/axum_expansion.md");
}

#[test]
fn the_documentation_for_actix_shows_an_expansion() {
    check::<Actix>("src/docs/actix_expansion.md");
}
