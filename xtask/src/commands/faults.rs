//! `cargo xtask faults`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use super::cargo;
use xtask::interrupt;
use xtask::process::{self, Wait};
use xtask::server::{DATABASES, Kind, REDIS, Server};

/// Finds or starts a server of each database, and runs rounds of random faults on them.
pub(crate) fn storm(arguments: &[OsString]) -> Result<ExitCode> {
    let servers = Server::find_or_start_all(DATABASES)?;
    let mut command = cargo::command();
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "idem-faults",
            "--",
        ])
        .args(arguments)
        .envs(servers.iter().map(Server::variable));
    Ok(cargo::exit_code(process::run(&mut command)?))
}

/// The folder of the seeded bugs. Each is a patch; the text above the patch says why it is a bug, and which test finds
/// it.
const SEEDED: &str = "tests/faults/seeded";

/// The beginning of the line with that test.
const TEST: &str = "Test: ";

/// Seeds one bug after the other into a scratch copy of the tree. The test that a bug names has to pass without the
/// bug, and to fail with it.
pub(crate) fn seeded(names: &[String]) -> Result<ExitCode> {
    let root = cargo::root();
    let bugs = Bug::all(&root.join(SEEDED), names)?;
    let scratch = Scratch::copy_of(&root)?;
    let servers = Server::find_or_start_all(&servers_of(&bugs))?;
    for bug in &bugs {
        interrupt::check()?;
        if !scratch.passes(bug, &servers)? {
            bail!("{}: its test fails without it", bug.name);
        }
        eprintln!("xtask: without {} its test passes", bug.name);
    }
    let mut missed = Vec::new();
    for bug in &bugs {
        interrupt::check()?;
        scratch.patch(bug, &[])?;
        let builds = scratch.builds(bug);
        let found = builds.and_then(|()| Ok(!scratch.passes(bug, &servers)?));
        scratch.patch(bug, &["--reverse"])?;
        let found = found?;
        let verdict = if found { "found" } else { "MISSED" };
        eprintln!("xtask: {verdict}: {}: {}", bug.name, bug.why);
        if !found {
            missed.push(&*bug.name);
        }
    }
    eprintln!(
        "xtask: {} of {} seeded bugs were found",
        bugs.len() - missed.len(),
        bugs.len()
    );
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The servers that the tests of these bugs need.
fn servers_of(bugs: &[Bug]) -> Vec<&'static dyn Kind> {
    let mut servers: Vec<&'static dyn Kind> = Vec::new();
    if !bugs.iter().all(Bug::is_of_redis) {
        servers.extend(DATABASES);
    }
    if bugs.iter().any(Bug::is_of_redis) {
        servers.push(&REDIS);
    }
    servers
}

#[derive(Debug, PartialEq, Eq)]
struct Bug {
    name: String,
    patch: PathBuf,
    why: String,
    /// The arguments of `cargo test`.
    test: Vec<String>,
}

impl Bug {
    /// All in the folder, or those with these names.
    fn all(folder: &Path, names: &[String]) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut bugs = Vec::new();
        for entry in entries {
            let patch = entry?.path();
            let text = fs::read_to_string(&patch)?;
            let name = patch.file_stem().and_then(OsStr::to_str);
            let name = name.context("a patch without a name")?.to_owned();
            if names.is_empty() || names.contains(&name) {
                bugs.push(Self::read(name, patch, &text)?);
            }
        }
        if bugs.is_empty() {
            bail!(
                "there is no seeded bug of that name in {}",
                folder.display()
            );
        }
        bugs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(bugs)
    }

    fn is_of_redis(&self) -> bool {
        self.test.iter().any(|argument| argument == "idem-redis")
    }

    fn read(name: String, patch: PathBuf, content: &str) -> Result<Self> {
        let why = content.lines().next().unwrap_or_default().to_owned();
        let test = content.lines().find_map(|line| line.strip_prefix(TEST));
        let test = test.with_context(|| format!("{name} names no test"))?;
        let test = test.split_whitespace().map(str::to_owned).collect();
        Ok(Self {
            name,
            patch,
            why,
            test,
        })
    }
}

/// Runs `git apply` in the tree, as in a folder that belongs to no repository: the scratch copy is inside the
/// repository, which ignores it.
fn apply(bug: &Bug, tree: &Path, more: &[&str]) -> Result<()> {
    let mut apply = Command::new("git");
    apply
        .current_dir(tree)
        .env("GIT_CEILING_DIRECTORIES", tree)
        .env("GIT_DIR", tree.join("no-repository"))
        .arg("apply")
        .args(more)
        .arg(&bug.patch);
    process::capture("git apply", &mut apply, Wait::Unconditional)
        .with_context(|| format!("the patch {} does not apply to the tree any more", bug.name))?;
    Ok(())
}

/// A copy of the tree with a `target` folder of its own.
#[derive(Debug)]
struct Scratch {
    tree: PathBuf,
    target: PathBuf,
}

impl Scratch {
    fn copy_of(root: &Path) -> Result<Self> {
        let target = root.join("target/seeded");
        let tree = target.join("tree");
        let mut list = Command::new("git");
        list.current_dir(root)
            .args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let files = process::capture("git ls-files", &mut list, Wait::Unconditional)?;
        for file in files.lines() {
            let (from, to) = (root.join(file), tree.join(file));
            // A link may be to a folder, such as that of the documents.
            if let Ok(link) = fs::read_link(&from) {
                fs::create_dir_all(to.parent().context("a file in no folder")?)?;
                if !to.exists() {
                    symlink(link, to)?;
                }
                continue;
            }
            // The file is deleted, and the deletion is not committed yet.
            let Ok(content) = fs::read(&from) else {
                continue;
            };
            // Cargo would build a rewritten file again.
            if fs::read(&to).is_ok_and(|there| there == content) {
                continue;
            }
            fs::create_dir_all(to.parent().context("a file in no folder")?)?;
            fs::write(to, content)?;
        }
        Ok(Self {
            tree,
            target: target.join("target"),
        })
    }

    fn patch(&self, bug: &Bug, more: &[&str]) -> Result<()> {
        apply(bug, &self.tree, more)
    }

    fn cargo(&self, bug: &Bug, first: &[&str]) -> Command {
        let mut command = cargo::command();
        command
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .args(["test", "--quiet", "--all-features"])
            .args(first)
            .args(&bug.test)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn builds(&self, bug: &Bug) -> Result<()> {
        if !process::run(&mut self.cargo(bug, &["--no-run"]))?.success() {
            bail!("{} does not build", bug.name);
        }
        Ok(())
    }

    fn passes(&self, bug: &Bug, servers: &[Server]) -> Result<bool> {
        let mut command = self.cargo(bug, &[]);
        command.envs(servers.iter().map(Server::variable));
        Ok(process::run(&mut command)?.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seeded_bug_gives_a_reason_and_names_its_test() {
        let bugs = Bug::all(&cargo::root().join(SEEDED), &[]).unwrap();
        for bug in bugs {
            assert!(bug.why.ends_with('.'), "{}: {}", bug.name, bug.why);
            assert_eq!(bug.test[0], "-p", "{}", bug.name);
        }
    }

    #[test]
    fn every_seeded_bug_applies_to_the_tree() {
        let root = cargo::root();
        for bug in Bug::all(&root.join(SEEDED), &[]).unwrap() {
            apply(&bug, &root, &["--check"]).unwrap();
        }
    }

    #[test]
    fn a_patch_without_a_test_is_refused() {
        let refused = Bug::read("x".to_owned(), PathBuf::new(), "Why.\n\ndiff");
        assert_eq!(refused.unwrap_err().to_string(), "x names no test");
    }
}
