//! A program that tests start by themselves, or that builds what they need.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Package;
use super::install::{self, Right};
use super::programs;

/// Every program that the tests need: the pooler of PostgreSQL, Python, and what builds librdkafka beside the C compiler,
/// for an example.
pub const TOOLS: &[Tool] = &[PGBOUNCER, PYTHON, MAKE, CXX];

const PGBOUNCER: Tool = Tool {
    name: "pgbouncer",
    variable: Some("IDEM_TEST_PGBOUNCER"),
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
    variable: Some("IDEM_TEST_PYTHON"),
    folders: &["/usr/bin", "/opt/homebrew/bin", "/usr/local/bin"],
    proof: &["-c", "import ensurepip, venv"],
    package: Package {
        names: &["python3-venv"],
        settings: None,
    },
};

const MAKE: Tool = Tool {
    name: "make",
    variable: None,
    folders: &["/usr/bin"],
    proof: &["--version"],
    package: Package {
        names: &["make"],
        settings: None,
    },
};

const CXX: Tool = Tool {
    name: "c++",
    variable: None,
    folders: &["/usr/bin"],
    proof: &["--version"],
    package: Package {
        names: &["g++"],
        settings: None,
    },
};

/// A program, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    name: &'static str,
    /// The environment variable with the path of the program, if it is not always looked for.
    variable: Option<&'static str>,
    folders: &'static [&'static str],
    /// The arguments with which it succeeds if it is complete.
    proof: &'static [&'static str],
    package: Package,
}

impl Tool {
    /// The environment variable in which tests look for the path, if there is one.
    pub fn variable(&self) -> Option<&'static str> {
        self.variable
    }

    /// The path: from the variable, else from a program on this machine, else from the distribution's package.
    ///
    /// # Errors
    ///
    /// If there is no such program here and it can't be installed; the message says what to do about it.
    pub fn find_or_install(&self) -> Result<PathBuf> {
        let Self { name, variable, .. } = self;
        let given = variable.and_then(env::var_os);
        if let Some(path) = given.filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let path = self.find().map_or_else(|| self.install(), Ok);
        path.with_context(|| {
            let packages = self.package.names.join(" and ");
            let or = variable.map(|variable| format!(", or set {variable} to its path"));
            let or = or.unwrap_or_default();
            format!("there is no complete {name} for the tests: install {packages}{or}")
        })
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
            variable: Some("IDEM_TEST_NO_SUCH_PROGRAM"),
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
