//! Cleans up after this process if it cannot do so itself, for instance because of a SIGKILL.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// A shell that waits for the end of this process, which closes the shell's input. The shell then runs its script, in
/// which `$target` is the last line of the input.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Watchdog {
    pub(super) fn start(script: &str, arguments: &[&OsStr]) -> Result<Self> {
        let loop_and_script = format!(
            "trap '' HUP INT TERM\ntarget=\nwhile read -r line; do\n\
             [ \"$line\" = {DISMISSED} ] && exit\ntarget=$line\ndone\n{script}"
        );
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(loop_and_script)
            .arg("sh")
            .args(arguments)
            .current_dir("/");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut shell = command.process_group(0).spawn().context("cannot run sh")?;
        let input = shell.stdin.take();
        Ok(Self { shell, input })
    }

    /// Sets what the script has to end; nothing if empty.
    pub(super) fn guard(&mut self, target: &str) {
        if let Some(input) = &mut self.input {
            // The write fails if the watchdog has died. The server works without it.
            let _ = writeln!(input, "{target}");
        }
    }
}

const DISMISSED: &str = "dismissed";

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.guard(DISMISSED);
        self.input = None;
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "echo \"$target\" > \"$1\"";

    #[test]
    fn the_script_runs_with_the_last_target_when_the_input_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("acted");
        let mut watchdog = Watchdog::start(SCRIPT, &[file.as_os_str()]).unwrap();
        watchdog.guard("1");
        watchdog.guard("2");
        watchdog.input = None;
        watchdog.shell.wait().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "2\n");
    }

    #[test]
    fn the_script_does_not_run_after_a_dismissal() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("acted");
        let mut watchdog = Watchdog::start(SCRIPT, &[file.as_os_str()]).unwrap();
        watchdog.guard("1");
        drop(watchdog);
        assert!(!file.exists());
    }
}
