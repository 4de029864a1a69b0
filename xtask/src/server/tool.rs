//! A program that tests start by themselves.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Package;
use super::install::{self, Right};
use super::programs;

/// The pooler of PostgreSQL.
pub const PGBOUNCER: Tool = Tool {
    name: "pgbouncer",
    variable: "IDEM_TEST_PGBOUNCER",
    folders: &["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"],
    proof: &["--version"],
    package: Package {
        names: &["pgbouncer"],
        settings: None,
    },
};

/// Python with its module `venv`, which Debian has in a package of its own. [`python`](crate::python) makes environments
/// with it.
pub const PYTHON: Tool = Tool {
    name: "python3",
    variable: "IDEM_TEST_PYTHON",
    folders: &["/usr/bin", "/opt/homebrew/bin", "/usr/local/bin"],
    proof: &["-c", "import ensurepip, venv"],
    package: Package {
        names: &["python3-venv"],
        settings: None,
    },
};

/// A program, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    name: &'static str,
    /// The environment variable with the path of the program.
    variable: &'static str,
    folders: &'static [&'static str],
    /// The arguments with which it succeeds if it is complete.
    proof: &'static [&'static str],
    package: Package,
}

impl Tool {
    /// The environment variable in which tests look for the program, and the path: from the variable, else
    /// from a program on this machine, else from the distribution's package.
    ///
    /// # Errors
    ///
    /// If there is no such program here and it can't be installed; the message says what to do about it.
    pub fn find_or_install(&self) -> Result<(&'static str, PathBuf)> {
        let Self { name, variable, .. } = self;
        let given = env::var_os(variable).filter(|path| !path.is_empty());
        if let Some(path) = given {
            return Ok((variable, path.into()));
        }
        let path = self.find().map_or_else(|| self.install(), Ok);
        let path = path.with_context(|| {
            let packages = self.package.names.join(" and ");
            format!(
                "there is no complete {name} for the tests: install {packages}, or set {variable} to its path"
            )
        })?;
        Ok((variable, path))
    }

    fn find(&self) -> Option<PathBuf> {
        let found = programs::find_named(&[self.name], self.folders)?;
        Some(found.path(self.name)).filter(|path| self.is_complete(path))
    }

    fn is_complete(&self, program: &Path) -> bool {
        install::succeeds(Command::new(program).args(self.proof))
    }

    fn install(&self) -> Result<PathBuf> {
        let (name, right) = (self.name, Right::find()?);
        eprintln!("xtask: {name}: installing it {}", right.description());
        install::install(self.package, right)?;
        self.find()
            .with_context(|| format!("the package {name} did not install it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_if_it_is_there_and_complete() {
        let missing = Tool {
            name: "no-such-program",
            variable: "IDEM_TEST_NO_SUCH_PROGRAM",
            folders: &["/nowhere"],
            proof: &["-c", "exit 0"],
            package: Package {
                names: &["no-such-package-of-idem"],
                settings: None,
            },
        };
        assert_eq!(missing.find(), None);
        let found = Tool {
            name: "sh",
            folders: &["/bin"],
            ..missing
        };
        assert!(found.find().is_some_and(|path| path.ends_with("sh")));
        let incomplete = Tool {
            proof: &["-c", "exit 1"],
            ..found
        };
        assert_eq!(incomplete.find(), None);
    }
}
