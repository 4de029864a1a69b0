//! `cargo xtask api`.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use super::cargo;
use super::ci::Verdict;
use xtask::process::{self, Wait};

/// The toolchain whose rustdoc writes the lists. Another one can write the same API in other words.
const TOOLCHAIN: &str = "1.95";

pub(crate) const PUBLISHED: &[&str] = &[
    "idem-core",
    "idem-macros",
    "idem-axum",
    "idem-actix",
    "idem-sea-orm",
    "idem-redis",
    "idem-consume",
    "idem-client",
    "idem-outbox",
];

/// The program that makes the lists. It is built into the same folder as this one.
const PROGRAM: &str = "xtask-api";

/// Where the lists are, one for each published crate.
const LISTS: &str = "docs/api";

/// Compares the public API with its lists, or writes the lists.
pub(crate) fn run(bless: bool) -> Result<ExitCode> {
    if let Some(reason) = other_toolchain()? {
        bail!("{reason}");
    }
    let current = current()?;
    if bless {
        for (package, list) in &current {
            let file = cargo::root().join(LISTS).join(format!("{package}.txt"));
            fs::create_dir_all(cargo::root().join(LISTS))?;
            fs::write(file, list)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if compare(&current)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The step of `cargo xtask ci`.
pub(crate) fn step() -> Result<Verdict> {
    if let Some(reason) = other_toolchain()? {
        return Ok(Verdict::NotRun(reason));
    }
    compare(&current()?).map(Verdict::of)
}

/// Why the lists can't be compared on this toolchain.
fn other_toolchain() -> Result<Option<String>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.current_dir(cargo::root()).arg("--version");
    let version = process::capture("rustc --version", &mut command, Wait::UntilInterrupted)?;
    Ok(reason_against(version.trim()))
}

fn reason_against(version: &str) -> Option<String> {
    let number = version.split(' ').nth(1).unwrap_or_default();
    let is_it = number
        .strip_prefix(TOOLCHAIN)
        .is_some_and(|patch| patch.starts_with('.') && !patch.contains('-'));
    (!is_it).then(|| {
        format!(
            "the public API is compared on rustc {TOOLCHAIN} only, and this is {version}; \
             run `cargo +{TOOLCHAIN} xtask api`"
        )
    })
}

/// Each package with its list as it is now.
fn current() -> Result<Vec<(&'static str, String)>> {
    let root = cargo::root();
    let flags =
        "-Z unstable-options --output-format json --document-hidden-items --cap-lints allow";
    let mut rustdoc = cargo::command();
    rustdoc
        // The whole workspace, because the step before has built its dependencies with the same features.
        .args(["doc", "--quiet", "--workspace", "--lib"])
        .args(["--no-deps", "--all-features"])
        .env("RUSTDOC", root.join("xtask/api/rustdoc.sh"))
        .env("RUSTDOCFLAGS", flags);
    if !process::run(&mut rustdoc)?.success() {
        bail!("rustdoc failed");
    }
    let program = std::env::current_exe()?;
    let mut build = cargo::command();
    // With the features of the whole workspace, too, whose tests need most of the dependencies.
    build
        .args(["build", "--quiet", "--workspace", "--all-features"])
        .args(["--bin", PROGRAM]);
    if !process::run(&mut build)?.success() {
        bail!("{PROGRAM} does not build");
    }
    let folder = tempfile::tempdir()?;
    let mut lists = Command::new(program.with_file_name(PROGRAM));
    lists
        .arg(cargo::target()?.join("doc"))
        .arg(folder.path())
        .args(PUBLISHED);
    if !process::run(&mut lists)?.success() {
        bail!("the public API can't be listed");
    }
    PUBLISHED
        .iter()
        .map(|package| {
            let file = folder.path().join(format!("{package}.txt"));
            Ok((*package, fs::read_to_string(file)?))
        })
        .collect()
}

/// Prints what differs from the lists in the tree; whether nothing does.
fn compare(current: &[(&str, String)]) -> Result<bool> {
    let mut same = true;
    for (package, list) in current {
        let file = format!("{LISTS}/{package}.txt");
        let known = fs::read_to_string(cargo::root().join(&file));
        let known =
            known.with_context(|| format!("{file}; `cargo xtask api --bless` writes it"))?;
        let differences = differences(&known, list);
        if !differences.is_empty() {
            same = false;
            eprintln!("the public API of {package} is not what {file} says:");
            for line in differences {
                eprintln!("  {line}");
            }
        }
    }
    if !same {
        eprintln!("if these changes are meant, `cargo xtask api --bless` accepts them");
    }
    Ok(same)
}

/// The lines that only one of the texts has, marked as in a patch.
fn differences(known: &str, current: &str) -> Vec<String> {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) =
        (known.lines().collect(), current.lines().collect());
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    let new = after.difference(&before).map(|line| format!("+ {line}"));
    let mut lines: Vec<String> = gone.chain(new).collect();
    if lines.is_empty() && known != current {
        lines.push("  the same lines, in another order or number".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_as_in_a_patch() {
        let shown = differences("a\nb\nc\n", "a\nc\nd\n");
        assert_eq!(shown, ["- b", "+ d"]);
        assert!(differences("a\n", "a\n").is_empty());
        assert_eq!(differences("a\nb\n", "b\na\n").len(), 1);
    }

    #[test]
    fn lists_are_compared_on_one_toolchain_only() {
        assert_eq!(reason_against("rustc 1.95.0 (59807616e 2026-04-14)"), None);
        assert_eq!(reason_against("rustc 1.95.3 (x)"), None);
        for other in [
            "rustc 1.94.0 (x)",
            "rustc 1.950.0 (x)",
            "rustc 1.95.0-nightly (x)",
            "",
        ] {
            let reason = reason_against(other).expect("a reason");
            assert!(reason.ends_with("run `cargo +1.95 xtask api`"), "{reason}");
        }
    }
}
