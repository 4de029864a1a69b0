//! Environments of Python with pinned packages, for tests.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{self, Wait};
use crate::server::PYTHON;

/// How long the download of packages may take.
const INSTALLATION: Duration = Duration::from_mins(5);

/// The folder of the programs (`python` and those of the packages) in an environment with the packages of a
/// requirements file. It is made below `parent`, once for each content of the file; processes that need the same one
/// at the same time wait for each other.
///
/// The file names every package, also those that others need, with its version: `pip freeze` writes such a file. Nothing
/// is compiled.
///
/// # Errors
///
/// If there is no Python with `venv` and it can't be installed, or if the packages can't be; the message says why.
pub fn environment(requirements: &Path, parent: &Path) -> Result<PathBuf> {
    let content = fs::read(requirements).with_context(|| requirements.display().to_string())?;
    let (_, python) = PYTHON.find_or_install()?;
    let version = process::capture(
        "python3 --version",
        Command::new(&python).arg("--version"),
        Wait::UntilInterrupted,
    )?;
    let mut hasher = DefaultHasher::new();
    (content, &python, version).hash(&mut hasher);
    let name = format!("python-{:016x}", hasher.finish());
    let folder = fs::canonicalize(parent)?.join(&name);
    let lock = File::create(parent.join(format!("{name}.lock")))?;
    lock.lock()?;
    let programs = folder.join("bin");
    // Written last.
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(programs);
    }
    eprintln!(
        "xtask: Python: installing the packages of {} into {}",
        requirements.display(),
        folder.display()
    );
    let mut create = Command::new(python);
    create.args(["-m", "venv", "--clear"]).arg(&folder);
    let limit = Wait::AtMost(INSTALLATION);
    process::capture("python3 -m venv", &mut create, limit)?;
    let mut install = Command::new(programs.join("python"));
    install
        .args(["-m", "pip", "install", "--quiet"])
        .args(["--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--only-binary=:all:", "--requirement"])
        .arg(requirements);
    process::capture("pip install", &mut install, limit)?;
    File::create(complete)?;
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_made_once_for_each_content() {
        let root = tempfile::tempdir().unwrap();
        let requirements = root.path().join("requirements.txt");
        fs::write(&requirements, "# no packages\n").unwrap();
        let first = environment(&requirements, root.path()).unwrap();
        let leftover = first.join("leftover");
        fs::write(&leftover, "").unwrap();
        assert_eq!(environment(&requirements, root.path()).unwrap(), first);
        assert!(leftover.exists(), "it is made a second time");
        fs::remove_file(first.with_file_name("complete")).unwrap();
        environment(&requirements, root.path()).unwrap();
        assert!(!leftover.exists(), "half an installation is kept");
        fs::write(&requirements, "# still no packages\n").unwrap();
        assert_ne!(environment(&requirements, root.path()).unwrap(), first);
    }

    #[test]
    fn a_package_without_a_version_that_exists_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let requirements = root.path().join("requirements.txt");
        fs::write(&requirements, "--no-index\nno-such-package==1\n").unwrap();
        for _ in 0..2 {
            let error = environment(&requirements, root.path()).unwrap_err();
            assert!(error.to_string().contains("no-such-package"), "{error}");
        }
    }
}
