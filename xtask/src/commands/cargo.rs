//! Commands that run cargo in the workspace.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// The cargo that started this program, in the root of the workspace.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Fails with advice if one of cargo's optional components is not installed.
pub(crate) fn check_component(subcommand: &str, component: &str) -> Result<()> {
    let mut version = command();
    version
        .args([subcommand, "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    bail!("`cargo {subcommand}` is not installed; `rustup component add {component}` installs it")
}

/// The exit code that means the same as a child's status.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let of_signal = || status.signal().map_or(1, |signal| 128 + signal);
    ExitCode::from(u8::try_from(status.code().unwrap_or_else(of_signal)).unwrap_or(1))
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = package
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_owned);
    root.unwrap_or_else(|| PathBuf::from("."))
}

/// The folder that cargo writes to. This program is built into it.
pub(crate) fn target() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).context("no target folder")?;
    Ok(target.to_owned())
}
