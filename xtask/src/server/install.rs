//! Installs packages, where this process is allowed to.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::Package;
use super::folder::id;
use crate::interrupt;
use crate::process::{self, Wait};

const SCRIPT: &str = include_str!("install.sh");
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Debian's packages enable their services by presets, of which the first one that fits counts.
const PRESET: &str = "/run/systemd/system-preset/00-idem-tests.preset";

/// How this process is allowed to install packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Root,
    Sudo,
}

impl Right {
    /// Fails if this machine has no `apt-get`, or if the caller cannot use it without a password.
    pub(super) fn find() -> Result<Self> {
        if !succeeds(Command::new("apt-get").arg("--version")) {
            bail!("there is no apt-get to install packages with");
        }
        if id(&["-u"])? == 0 {
            return Ok(Self::Root);
        }
        if succeeds(Command::new("sudo").args(["-n", "true"])) {
            return Ok(Self::Sudo);
        }
        bail!("apt-get needs root, and `sudo -n` does not give it without a password")
    }

    /// For messages.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Root => "as root",
            Self::Sudo => "through sudo, which asks for no password",
        }
    }

    fn command(self, program: &str) -> Command {
        match self {
            Self::Root => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", program]);
                command
            }
        }
    }
}

/// Installs packages. An interrupt takes effect after the installation, because half an installation would have to
/// be repaired by hand.
pub(super) fn install(package: Package, right: Right) -> Result<()> {
    let mut command = right.command("sh");
    pass(&mut command, [POLICY, PRESET], package);
    process::capture(
        &format!("installing {}", package.names.join(" and ")),
        &mut command,
        Wait::Unconditional,
    )?;
    interrupt::check()?;
    Ok(())
}

fn pass(command: &mut Command, [policy, preset]: [&str; 2], package: Package) {
    let (settings, content) = package.settings.unwrap_or_default();
    command.args(["-c", SCRIPT, "sh", policy, preset, settings, content]);
    command.args(package.names);
}

pub(super) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// Runs the script with an `apt-get` that prints the files it finds, and exits with `status`.
    fn run(root: &Path, status: u8) -> (bool, String) {
        let program = root.join("apt-get");
        let script = "#!/bin/sh\necho \"$@\" >>seen\ncat policy presets/first common/settings.d/x.conf >>seen\nexit ";
        fs::write(&program, format!("{script}{status}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let package = Package {
            names: &["server", "client"],
            settings: Some(("common/settings.d/x.conf", "create = false")),
        };
        let mut command = Command::new("sh");
        pass(&mut command, ["policy", "presets/first"], package);
        let path = format!("{}:{}", root.display(), std::env::var("PATH").unwrap());
        command
            .current_dir(root)
            .env("PATH", path)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        (
            output.status.success(),
            fs::read_to_string(root.join("seen")).unwrap(),
        )
    }

    #[test]
    fn the_installation_removes_the_files_it_has_made() {
        for status in [0, 100] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("common")).unwrap();
            let (succeeded, seen) = run(root.path(), status);
            assert_eq!(succeeded, status == 0);
            assert!(
                seen.contains(
                    "--no-install-recommends --no-remove server client\n#!/bin/sh\nexit 101\ndisable *\ncreate = false\n"
                ),
                "{seen}"
            );
            assert!(!root.path().join("policy").exists());
            assert!(!root.path().join("presets/first").exists());
            assert!(!root.path().join("common/settings.d").exists());
            assert!(root.path().join("common").exists());
        }
    }

    #[test]
    fn files_that_were_there_before_stay() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("common/settings.d")).unwrap();
        fs::write(root.path().join("common/settings.d/y.conf"), "mine").unwrap();
        fs::write(root.path().join("policy"), "mine").unwrap();
        assert!(run(root.path(), 0).0);
        assert_eq!(
            fs::read_to_string(root.path().join("policy")).unwrap(),
            "mine"
        );
        assert!(root.path().join("common/settings.d/y.conf").exists());
        assert!(!root.path().join("common/settings.d/x.conf").exists());
    }
}
