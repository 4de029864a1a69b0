//! Whole expansions, kept as formatted files in `expansions/axum`, `expansions/actix` and `expansions/consume`.
//!
//! A file begins with a handler and ends with its expansion. The test reads the handler from the file, so no file is
//! left without a test: a new case is a file with a handler, and an old one is deleted. After a change of the
//! expansions, `BLESS=1 cargo test -p idem-macros` writes them anew; read the difference before you commit it.
//!
//! The files show tokens. They don't show where the compiler's messages point: `tests/tests/ui` does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use syn::LitStr;

use super::{expand_for, mistakes_for, split};
use crate::framework::{Actix, Axum, Consume, Framework};
use crate::options::OPTIONS;

/// The line between a handler and its expansion.
const MARKER: &str = "\n// Expands to:\n";

/// The case that has mistakes.
const WITH_MISTAKES: &str = "fallback";

/// Held while the files are read or written, since tests run at the same time.
static FILES: Mutex<()> = Mutex::new(());

/// One file.
pub(super) struct Case {
    path: PathBuf,
    /// The attribute and the function, after a comment.
    pub(super) handler: String,
    /// Everything after the marker.
    expansion: String,
}

impl Case {
    /// All cases of a framework, in the order of their names.
    pub(super) fn all<F: Framework>() -> Vec<Self> {
        let _files = FILES.lock().unwrap();
        let folder = F::ROOT.trim_start_matches("idem_");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/tests/expansions")
            .join(folder);
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths.into_iter().map(Self::read).collect()
    }

    /// The case called `name`.
    pub(super) fn named<F: Framework>(name: &str) -> Self {
        let mut cases = Self::all::<F>().into_iter();
        let case = cases.find(|case| case.name() == name);
        case.unwrap_or_else(|| panic!("no case {name}"))
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let (handler, expansion) = match text.split_once(MARKER) {
            Some((handler, expansion)) => (handler.to_owned(), expansion.to_owned()),
            None => (text, String::new()),
        };
        Self {
            path,
            handler,
            expansion,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.path.file_stem().unwrap().to_str().unwrap()
    }

    /// What the handler expands to today.
    pub(super) fn expand<F: Framework>(&self) -> syn::File {
        let tokens = expand_for::<F>(&self.handler);
        let text = tokens.to_string();
        syn::parse2(tokens)
            .unwrap_or_else(|error| panic!("{}: {error} in {text}", self.path.display()))
    }

    /// Compares the file with today's expansion, or writes it anew.
    fn check<F: Framework>(&self, bless: bool) -> Result<(), String> {
        let name = self.path.display();
        let has_mistakes = !mistakes_for::<F>(&self.handler).is_empty();
        if has_mistakes != (self.name() == WITH_MISTAKES) {
            return Err(format!("{name}: only `{WITH_MISTAKES}` has mistakes\n"));
        }
        let expansion = format!("\n{}", prettyplease::unparse(&self.expand::<F>()));
        if expansion == self.expansion {
            return Ok(());
        }
        if bless {
            let _files = FILES.lock().unwrap();
            let handler = self.handler.trim_end();
            fs::write(&self.path, format!("{handler}\n{MARKER}{expansion}")).unwrap();
            return Ok(());
        }
        Err(format!(
            "{name}:\n{}",
            difference(&self.expansion, &expansion)
        ))
    }
}

/// The lines that differ, between those that don't.
pub(super) fn difference(before: &str, after: &str) -> String {
    const CONTEXT: usize = 2;
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let equal = |(left, right): &(&&str, &&str)| left == right;
    let head = before.iter().zip(&after).take_while(equal).count();
    let (left, right) = (&before[head..], &after[head..]);
    let tail = left
        .iter()
        .rev()
        .zip(right.iter().rev())
        .take_while(equal)
        .count();
    let mut text = String::new();
    let mut add = |sign: char, lines: &[&str]| {
        for line in lines {
            writeln!(text, "{sign} {line}").unwrap();
        }
    };
    add(' ', &before[head.saturating_sub(CONTEXT)..head]);
    add('-', &left[..left.len() - tail]);
    add('+', &right[..right.len() - tail]);
    add(' ', &left[left.len() - tail..][..tail.min(CONTEXT)]);
    text
}

/// Checks all cases of a framework, and reports every difference at once.
fn check_all<F: Framework>() {
    let bless = std::env::var_os("BLESS").is_some();
    let differences: String = Case::all::<F>()
        .iter()
        .filter_map(|case| case.check::<F>(bless).err())
        .collect();
    assert!(
        differences.is_empty(),
        "the expansions differ from the files; `BLESS=1` writes them anew\n{differences}"
    );
}

#[test]
fn axum_expansions_are_as_in_the_files() {
    check_all::<Axum>();
}

#[test]
fn actix_expansions_are_as_in_the_files() {
    check_all::<Actix>();
}

#[test]
fn consumers_expansions_are_as_in_the_files() {
    check_all::<Consume>();
}

/// Every option, and every word that an option allows.
fn options() -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for spec in OPTIONS {
        options.insert(spec.word.to_owned());
        let words = spec.words().iter();
        options.extend(words.map(|word| format!("{:?}", word.text)));
    }
    options
}

fn check_options<F: Framework>() {
    let mut missing = options();
    for case in Case::all::<F>() {
        let (arguments, _) = split(&case.handler);
        for token in arguments {
            let literal = syn::parse2::<LitStr>(token.clone().into());
            let text = literal.map_or_else(
                |_| token.to_string(),
                |literal| format!("{:?}", literal.value()),
            );
            missing.remove(&text);
        }
    }
    for (name, _) in F::REFUSED {
        let spec = OPTIONS.iter().find(|spec| spec.name == *name).unwrap();
        missing.remove(spec.word);
    }
    assert_eq!(missing, BTreeSet::new(), "options without a file");
}

#[test]
fn every_option_and_every_word_has_a_file() {
    check_options::<Axum>();
    check_options::<Actix>();
}

#[test]
fn a_difference_is_shown_between_equal_lines() {
    let shown = difference("a\nb\nc\nd\ne\nf", "a\nb\nc\nX\nY\ne\nf");
    assert_eq!(shown, "  b\n  c\n- d\n+ X\n+ Y\n  e\n  f\n");
    assert_eq!(difference("", "a"), "+ a\n");
}
