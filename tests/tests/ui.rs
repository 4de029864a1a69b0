//! What the compiler says to a handler with mistakes.
//!
//! `TRYBUILD=overwrite cargo test -p idem-tests --test ui` writes the `.stderr` files anew; read them
//! before you commit them.

use std::fs;
use std::path::Path;

use trybuild::TestCases;

/// Every error of the attribute itself, and no other error. No compiler words these.
#[test]
fn refusals_are_ours_alone() {
    TestCases::new().compile_fail("tests/ui/own/*.rs");
}

/// Nor can a file that was overwritten have taken in what a compiler had to add.
#[test]
fn refusals_come_without_errors_and_warnings_of_the_compiler() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/own");
    let files = fs::read_dir(folder).expect("a folder");
    let paths = files.map(|file| file.expect("a file").path());
    let mut messages = 0;
    for path in paths.filter(|path| path.extension().is_some_and(|end| end == "stderr")) {
        let text = fs::read_to_string(&path).expect("text");
        for line in text.lines() {
            let is_message = line.starts_with("error") || line.starts_with("warning");
            let is_ours = line.starts_with("error: ");
            assert!(!is_message || is_ours, "{}: {line}", path.display());
            messages += usize::from(is_ours);
        }
    }
    assert!(messages > 0, "no messages in any file");
}

/// What the compiler finds in the types of a handler, led by the texts of our traits.
#[test]
#[cfg_attr(
    not(pinned),
    ignore = "the compiler words these errors; tests/build.rs names the one they are from"
)]
fn errors_of_the_compiler_begin_with_ours() {
    TestCases::new().compile_fail("tests/ui/rustc/*.rs");
}
