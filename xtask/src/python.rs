//! Environments of Python with pinned packages, for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::once;
use crate::process::{self, Wait};
use crate::server::PYTHON;

/// How long the download of packages may take.
const INSTALLATION: Wait = Wait::AtMost(Duration::from_mins(5));

/// The folder of the programs (`python` and those of the packages) in an environment with the packages of a
/// requirements file. It is made below `parent`, once for each content of the file.
///
/// The file names every package, also those that others need, with its version: `pip freeze` writes such a file. Nothing
/// is compiled.
///
/// # Errors
///
/// If there is no Python with `venv` and it can't be installed, or if the packages can't be; the message says why.
pub fn environment(requirements: &Path, parent: &Path) -> Result<PathBuf> {
    let content = fs::read(requirements).with_context(|| requirements.display().to_string())?;
    let python = PYTHON.find_or_install()?;
    let version = process::capture(
        "python3 --version",
        Command::new(&python).arg("--version"),
        Wait::UntilInterrupted,
    )?;
    let folder = once::folder(parent, "python", (content, &python, version), |folder| {
        let mut create = Command::new(&python);
        create.args(["-m", "venv"]).arg(folder);
        process::capture("python3 -m venv", &mut create, INSTALLATION)?;
        let mut install = Command::new(folder.join("bin/python"));
        install
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--no-input", "--no-deps"])
            .args(["--only-binary=:all:", "--requirement"])
            .arg(requirements);
        process::capture("pip install", &mut install, INSTALLATION)?;
        Ok(())
    })?;
    Ok(folder.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_does_not_exist_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let requirements = root.path().join("requirements.txt");
        fs::write(&requirements, "--no-index\nno-such-package==1\n").unwrap();
        let error = environment(&requirements, root.path()).unwrap_err();
        assert!(error.to_string().contains("no-such-package"), "{error}");
        fs::write(&requirements, "# no packages\n").unwrap();
        let programs = environment(&requirements, root.path()).unwrap();
        assert!(programs.join("python").exists());
    }
}
