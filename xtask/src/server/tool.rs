//! A program that tests start by themselves, or that builds what they need.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Package;
use super::install::{self, Right};
use super::programs;

/// Every program that the tests need: the pooler of PostgreSQL, and what builds librdkafka beside the C compiler, for an
/// example.
pub const TOOLS: &[Tool] = &[PGBOUNCER, MAKE, CXX];

const PGBOUNCER: Tool = Tool {
    name: "pgbouncer",
    variable: Some("IDEM_TEST_PGBOUNCER"),
    folders: &["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"],
    package: Package {
        names: &["pgbouncer"],
        settings: None,
    },
};

const MAKE: Tool = Tool {
    name: "make",
    variable: None,
    folders: &["/usr/bin"],
    package: Package {
        names: &["make"],
        settings: None,
    },
};

const CXX: Tool = Tool {
    name: "c++",
    variable: None,
    folders: &["/usr/bin"],
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
    package: Package,
}

impl Tool {
    /// The path: from the variable, else from a program on this machine, else from the distribution's package. With the
    /// environment variable in which tests look for it, if there is one.
    ///
    /// # Errors
    ///
    /// If there is no such program here and it can't be installed; the message says what to do about it.
    pub fn find_or_install(&self) -> Result<Option<(&'static str, PathBuf)>> {
        let Self { name, variable, .. } = self;
        let given = variable.and_then(env::var_os);
        let given = given.filter(|path| !path.is_empty());
        if let (Some(variable), Some(path)) = (variable, given) {
            return Ok(Some((variable, path.into())));
        }
        let path = self.find().map_or_else(|| self.install(), Ok);
        let path = path.with_context(|| {
            let or = variable.map(|variable| format!(", or set {variable} to its path"));
            let or = or.unwrap_or_default();
            format!("there is no {name} for the tests: install it{or}")
        })?;
        Ok(variable.map(|variable| (variable, path)))
    }

    fn find(&self) -> Option<PathBuf> {
        programs::find_named(&[self.name], self.folders).map(|found| found.path(self.name))
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
    fn the_error_names_the_variable() {
        let missing = Tool {
            name: "no-such-program",
            variable: Some("IDEM_TEST_NO_SUCH_PROGRAM"),
            folders: &["/nowhere"],
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
    }
}
