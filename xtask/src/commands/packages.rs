//! `cargo xtask packages`.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use super::api::PUBLISHED;
use super::ci::Verdict;
use super::{cargo, links};
use xtask::process::{self, Wait};

/// The oldest compiler that builds the packages: `rust-version` in `Cargo.toml`.
const OLDEST: &str = "1.94";

/// How long the installation of a compiler may take.
const INSTALLATION: Duration = Duration::from_mins(3);

/// Published programs, which have no public API.
const PROGRAMS: &[&str] = &["idem-cli"];

/// Files that belong to every package.
const COMMON: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

pub(crate) fn run() -> Result<ExitCode> {
    Ok(match step()? {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Failed | Verdict::NotRun(_) => ExitCode::FAILURE,
    })
}

/// Packs the published crates, and builds and documents the content of the packages.
pub(crate) fn step() -> Result<Verdict> {
    let target = cargo::target()?;
    if !pack()? {
        return Ok(Verdict::Failed);
    }
    let workspace = target.join("packages");
    unpack(&target.join("package"), &workspace)?;
    let toolchain = toolchain();
    // Cargo's own verification would build the dependencies once for each package, and none of the databases.
    let mut check = toolchain.cargo(&workspace);
    check.args(["check", "--workspace", "--all-features"]);
    if !process::run(&mut check)?.success() {
        return Ok(Verdict::Failed);
    }
    let pages = workspace.join("target/doc");
    if pages.exists() {
        // The pages of two builds don't fit together.
        fs::remove_dir_all(&pages)?;
    }
    let mut document = toolchain.cargo(&workspace);
    document
        .args(["doc", "--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOC", cargo::root().join("xtask/api/rustdoc.sh"))
        .env("RUSTDOCFLAGS", "--cfg docsrs -D warnings");
    if !process::run(&mut document)?.success() {
        return Ok(Verdict::Failed);
    }
    let broken = links::broken(&pages, PUBLISHED)?;
    for link in &broken {
        eprintln!("a broken link: {link}");
    }
    Ok(Verdict::of(broken.is_empty()))
}

/// Makes the packages, after a try of everything that their publication would do.
fn pack() -> Result<bool> {
    let mut publish = cargo::command();
    publish.args(["publish", "--workspace", "--dry-run", "--no-verify"]);
    publish.arg("--allow-dirty");
    let mut package = cargo::command();
    package.args(["package", "--no-verify", "--allow-dirty", "--quiet"]);
    for name in PUBLISHED.iter().chain(PROGRAMS) {
        package.args(["-p", name]);
    }
    Ok(process::run(&mut publish)?.success() && process::run(&mut package)?.success())
}

/// Makes a workspace of the content of the packages, with the lock file and the profiles of this one.
fn unpack(packages: &Path, workspace: &Path) -> Result<()> {
    fs::create_dir_all(workspace)?;
    let root = cargo::root();
    fs::copy(root.join("Cargo.lock"), workspace.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .context("the workspace has no version")?;
    let mut members = Vec::new();
    for package in PUBLISHED.iter().chain(PROGRAMS) {
        let member = format!("{package}-{version}");
        let folder = workspace.join(&member);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let mut tar = Command::new("tar");
        // The files get the present time, so that cargo notices their changes.
        tar.arg("-xzmf")
            .arg(packages.join(format!("{member}.crate")));
        tar.arg("-C").arg(workspace);
        process::capture("tar", &mut tar, Wait::UntilInterrupted)?;
        for file in COMMON {
            if !folder.join(file).is_file() {
                bail!("the package {member} has no {file}");
            }
        }
        members.push((package, member));
    }
    let manifest = manifest_of(&manifest, &members);
    Ok(fs::write(workspace.join("Cargo.toml"), manifest)?)
}

fn manifest_of(root: &str, members: &[(&&str, String)]) -> String {
    let names: Vec<&String> = members.iter().map(|(_, member)| member).collect();
    let lines = root.lines().filter_map(|line| {
        if line.starts_with("members = ") {
            return Some(format!("members = {names:?}"));
        }
        (!line.starts_with("default-members = ")).then(|| line.to_owned())
    });
    let head = [String::new(), "[patch.crates-io]".to_owned()];
    let patches = members
        .iter()
        .map(|(package, member)| format!("{package} = {{ path = {member:?} }}"));
    let lines: Vec<String> = lines.chain(head).chain(patches).collect();
    lines.join("\n") + "\n"
}

/// The compiler for the packages.
enum Toolchain {
    Oldest,
    Current,
}

fn toolchain() -> Toolchain {
    let mut version = Command::new("rustup");
    version.args(["run", OLDEST, "rustc", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    let is_there = version.status().is_ok_and(|status| status.success());
    // On a machine of its own, CI may install a compiler.
    if is_there || (env::var_os("CI").is_some() && install()) {
        return Toolchain::Oldest;
    }
    eprintln!(
        "Rust {OLDEST} is missing, so the packages are built by the current compiler; \
         `rustup toolchain install {OLDEST} --profile minimal` installs it"
    );
    Toolchain::Current
}

fn install() -> bool {
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", OLDEST, "--profile", "minimal"]);
    let installed = process::capture("rustup", &mut install, Wait::AtMost(INSTALLATION));
    installed.is_ok()
}

impl Toolchain {
    fn cargo(&self, workspace: &Path) -> Command {
        let mut command = match self {
            Self::Oldest => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", OLDEST, "cargo"]).env_remove("RUSTC");
                rustup
            }
            Self::Current => cargo::command(),
        };
        command
            .current_dir(workspace)
            .env("CARGO_TARGET_DIR", workspace.join("target"));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_compiler_is_the_one_of_the_manifest() {
        let manifest = fs::read_to_string(cargo::root().join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains(&format!("\nrust-version = \"{OLDEST}\"\n")));
    }

    #[test]
    fn a_workspace_of_packages_has_no_other_members() {
        let root =
            "[workspace]\nmembers = [\"a\", \"b\"]\ndefault-members = [\"b\"]\nresolver = \"3\"\n";
        let manifest = manifest_of(root, &[(&"a", "a-0.1.0".to_owned())]);
        let expected = "[workspace]\nmembers = [\"a-0.1.0\"]\nresolver = \"3\"\n\n\
             [patch.crates-io]\na = { path = \"a-0.1.0\" }\n";
        assert_eq!(manifest, expected);
    }
}
