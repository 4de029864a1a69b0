//! Which tests the sources have.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Test {
    /// From the root of the workspace.
    pub(super) file: String,
    pub(super) name: String,
}

/// The folders with tests, apart from those of the core.
const FOLDERS: [&str; 3] = ["crates", "examples", "tests"];

/// The tests of the published crates, of the examples and of `tests`.
pub(super) fn all(root: &Path) -> Result<Vec<Test>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root)? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .and_then(OsStr::to_str)
            .unwrap_or_default();
        if folder.is_dir() && (name.starts_with("idem-") || FOLDERS.contains(&name)) {
            collect_sources(&folder, &mut files)?;
        }
    }
    files.sort();
    let mut tests = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path)?;
        let file = path.strip_prefix(root)?.display().to_string();
        let names = names(&text).with_context(|| file.clone())?;
        tests.extend(names.into_iter().map(|name| Test {
            file: file.clone(),
            name,
        }));
    }
    Ok(tests)
}

fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The functions with an attribute `#[…test]`, and those that a macro is given, as `conformance![…]` makes tests of
/// functions by their names.
fn names(source: &str) -> Result<Vec<String>> {
    let tokens: TokenStream = source
        .parse()
        .map_err(|error| anyhow!("it does not consist of Rust's tokens: {error}"))?;
    let mut functions = Functions::default();
    functions.visit(tokens, false);
    let Functions {
        mut defined,
        mentioned,
    } = functions;
    defined.retain(|function| function.has_attribute || mentioned.contains(&function.name));
    Ok(defined.into_iter().map(|function| function.name).collect())
}

#[derive(Default)]
struct Functions {
    defined: Vec<Function>,
    /// The names in the arguments of macros.
    mentioned: BTreeSet<String>,
}

struct Function {
    name: String,
    has_attribute: bool,
}

impl Functions {
    fn visit(&mut self, tokens: TokenStream, in_macro: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let at = |place: usize| tokens.get(place);
        let before = |place: usize, back: usize| place.checked_sub(back).and_then(at);
        let mut has_attribute = false;
        for (place, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => {
                    let is_attribute = is_punct(before(place, 1), '#');
                    if is_attribute {
                        has_attribute |= is_test(group.stream());
                        continue;
                    }
                    if group.delimiter() == Delimiter::Brace {
                        has_attribute = false;
                    }
                    let begins_macro = is_punct(before(place, 1), '!')
                        && matches!(before(place, 2), Some(TokenTree::Ident(_)));
                    self.visit(group.stream(), in_macro || begins_macro);
                }
                TokenTree::Ident(name) => {
                    if is_ident(before(place, 1), "fn") {
                        self.defined.push(Function {
                            name: name.to_string(),
                            has_attribute: std::mem::take(&mut has_attribute),
                        });
                    } else if in_macro && is_alone(before(place, 1), at(place + 1)) {
                        self.mentioned.insert(name.to_string());
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => has_attribute = false,
                _ => {}
            }
        }
    }
}

/// Whether the attribute is `test`, `tokio::test` and the like, with arguments or without.
fn is_test(attribute: TokenStream) -> bool {
    let path = attribute
        .into_iter()
        .take_while(|token| !matches!(token, TokenTree::Group(_)));
    path.last()
        .is_some_and(|last| matches!(last, TokenTree::Ident(name) if name == "test"))
}

/// Whether a name between these is an element of a list: not a call, not a part of a path.
fn is_alone(before: Option<&TokenTree>, after: Option<&TokenTree>) -> bool {
    let is_element = match after {
        None | Some(TokenTree::Ident(_)) => true,
        Some(TokenTree::Punct(punct)) => punct.as_char() == ',',
        Some(TokenTree::Group(_) | TokenTree::Literal(_)) => false,
    };
    is_element && !is_punct(before, '.')
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_ident(token: Option<&TokenTree>, name: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_an_attribute() {
        let source = "
            /// Documentation.
            #[test]
            fn k1_plain() {}
            #[tokio::test(start_paused = true)]
            #[should_panic(expected = \"x\")]
            pub(crate) async fn k2_async() {}
            #[cfg(test)]
            fn k3_helper() {}
            #[test]
            struct Broken;
            fn k4_helper() {}
            mod inner { #[test] fn k5_inner() {} }
            proptest! { #[test] fn k6_property(x in 0..9) {} }
        ";
        let expected = ["k1_plain", "k2_async", "k5_inner", "k6_property"];
        assert_eq!(names(source).unwrap(), expected);
    }

    #[test]
    fn a_test_is_named_in_the_arguments_of_a_macro() {
        let source = "
            conformance![on [Sqlite Postgres]:
                r1_listed,
            ];
            databases! { r2_one r3_two }
            async fn r1_listed() { r4_called(); }
            async fn r2_one() { assert!(r5_called(1), \"{}\", r6_field.len); }
            async fn r3_two() {}
            // conformance![r7_commented_out,];
            fn r4_called() {}
            fn r5_called() {}
            fn r6_field() {}
            fn r7_commented_out() {}
        ";
        assert_eq!(names(source).unwrap(), ["r1_listed", "r2_one", "r3_two"]);
    }
}
