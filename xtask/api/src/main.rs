//! Writes the public API of crates as text, one item a line; `cargo xtask api` runs it.
//!
//! It reads the JSON that rustdoc writes with `--document-hidden-items`. It is a package of its own so that the other
//! tasks start without building what reads that JSON.

mod document;
mod hidden;
mod list;
mod reexports;
#[cfg(test)]
mod sample;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

use document::Document;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(json), Some(lists)) = (arguments.next(), arguments.next()) else {
        bail!("usage: xtask-api FOLDER_OF_JSON FOLDER_OF_LISTS PACKAGE…");
    };
    let (json, lists) = (PathBuf::from(json), PathBuf::from(lists));
    let documents = arguments
        .map(|package| Ok((package.replace('-', "_"), Document::read(&json, package)?)))
        .collect::<Result<BTreeMap<String, Document>>>()?;
    fs::create_dir_all(&lists)?;
    for document in documents.values() {
        let file = lists.join(format!("{}.txt", document.package));
        fs::write(file, list::list(document, &documents)?)?;
    }
    Ok(())
}
