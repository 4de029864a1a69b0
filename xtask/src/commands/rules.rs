//! `cargo xtask rules`.

mod documents;
mod index;
mod tests_of_tree;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::cargo;
use super::ci::Verdict;
use index::Index;

const CONTRACT: &str = "docs/contract.md";
const RELIABILITY: &str = "docs/reliability.md";
const INDEX: &str = "docs/rules.md";

/// Checks that every rule has a test, and that the index in the tree is the current one; or writes the index.
pub(crate) fn run(bless: bool) -> Result<ExitCode> {
    Ok(if check(bless)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The step of `cargo xtask ci`.
pub(crate) fn step() -> Result<Verdict> {
    check(false).map(Verdict::of)
}

fn check(bless: bool) -> Result<bool> {
    let root = cargo::root();
    let read = |file: &str| fs::read_to_string(root.join(file)).with_context(|| file.to_owned());
    let contract = documents::rules(&read(CONTRACT)?);
    let matrix = documents::matrix(&read(RELIABILITY)?);
    let tests = tests_of_tree::all(&root)?;
    let index = Index::new(&contract, &matrix, &tests);
    let mut faults = index.faults;
    if bless {
        fs::write(root.join(INDEX), index.page)?;
    } else if !read(INDEX).is_ok_and(|page| page == index.page) {
        faults.push(format!(
            "{INDEX} is out of date; `cargo xtask rules --bless` writes it"
        ));
    }
    for fault in &faults {
        eprintln!("xtask: {fault}");
    }
    Ok(faults.is_empty())
}
