//! Runs other programs. A program whose wait ends early is ended, too.

mod signal;

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;

pub(crate) use signal::{ended_within, kill_family, signal};

use signal::kill;

const PAUSE: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 20;

/// Runs a command with this process's output and without input, and waits for its end.
///
/// # Errors
///
/// If the command does not start; [`interrupt::Interrupted`] after an interrupt. The command and its
/// children have ended by then.
pub fn run(command: &mut Command) -> Result<ExitStatus> {
    Group::spawn(command)?.wait(Wait::UntilInterrupted)
}

/// How long to wait for a command's end.
#[derive(Debug, Clone, Copy)]
pub enum Wait {
    /// Until it ends, or until an interrupt.
    UntilInterrupted,
    /// At most this long, or until an interrupt.
    AtMost(Duration),
    /// Until it ends, even after an interrupt: for a command that must not stop half-way.
    Unconditional,
}

/// Runs a command silently and returns its standard output. Errors call the command `what`.
///
/// # Errors
///
/// As [`run`]; also if the command fails, with the end of its output, or takes too long.
pub fn capture(what: &str, command: &mut Command, wait: Wait) -> Result<String> {
    capture_announced(what, command, wait, |_| {})
}

/// As [`capture`]; `started` is called with the id of the command's process.
pub(crate) fn capture_announced(
    what: &str,
    command: &mut Command,
    wait: Wait,
    started: impl FnOnce(u32),
) -> Result<String> {
    let mut output = tempfile::tempfile().context("cannot create a temporary file")?;
    let mut errors = tempfile::tempfile().context("cannot create a temporary file")?;
    command
        .stdout(output.try_clone()?)
        .stderr(errors.try_clone()?);
    let group = Group::spawn(command)?;
    started(group.0.id());
    let status = group.wait(wait).with_context(|| what.to_owned())?;
    let written = contents(&mut output)?;
    if !status.success() {
        let all = format!("{written}\n{}", contents(&mut errors)?);
        bail!("{what} failed with {status}:\n{}", tail(&all));
    }
    Ok(written)
}

/// The last lines of a text: enough to see why a program failed.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let shown: Vec<String> = lines
        .iter()
        .skip(lines.len().saturating_sub(TAIL_LINES))
        .map(|line| format!("  | {line}"))
        .collect();
    if shown.is_empty() {
        "  | (it wrote nothing)".to_owned()
    } else {
        shown.join("\n")
    }
}

/// A child with all its descendants, which end together. They are a process group of their own, so
/// the terminal's Ctrl-C reaches this process only, which then ends its children in order.
struct Group(Child);

impl Group {
    fn spawn(command: &mut Command) -> Result<Self> {
        interrupt::check()?;
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        child
            .map(Self)
            .with_context(|| format!("cannot run {}", command.get_program().display()))
    }

    fn wait(mut self, wait: Wait) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut explained = false;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            match wait {
                Wait::Unconditional => {
                    if interrupt::check().is_err() && !explained {
                        eprintln!("xtask: waiting for a step that must not stop half-way");
                        explained = true;
                    }
                }
                Wait::UntilInterrupted => interrupt::check()?,
                Wait::AtMost(limit) => {
                    interrupt::check()?;
                    if start.elapsed() > limit {
                        bail!("still running after {} s", limit.as_secs());
                    }
                }
            }
            thread::sleep(PAUSE);
        }
    }

    /// Asks the leader first, because it may end its children in its own way.
    fn end(&mut self) {
        let group = format!("-{}", self.0.id());
        signal(&self.0, "TERM");
        ended_within(&mut self.0, GRACE);
        kill("TERM", &group);
        let deadline = Instant::now() + GRACE;
        // Waiting reaps the leader, so that afterwards only its descendants keep the group alive.
        while self.is_running() || kill("0", &group) {
            if Instant::now() > deadline {
                kill("KILL", &group);
                ended_within(&mut self.0, GRACE);
                break;
            }
            thread::sleep(PAUSE);
        }
    }

    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.is_running() {
            self.end();
        }
    }
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn capture_returns_only_the_standard_output() {
        let output = capture(
            "echo",
            &mut shell("echo out; echo err >&2"),
            Wait::UntilInterrupted,
        );
        assert_eq!(output.unwrap(), "out\n");
    }

    #[test]
    fn a_failure_shows_what_the_command_wrote() {
        let error = capture(
            "it",
            &mut shell("echo reason >&2; exit 3"),
            Wait::UntilInterrupted,
        );
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains("it failed") && message.contains("  | reason"),
            "{message}"
        );
    }

    #[test]
    fn a_command_that_takes_too_long_ends_with_its_children() {
        let start = Instant::now();
        let marker = tempfile::tempdir().unwrap();
        let script = format!(
            "(sleep 1; touch {}/late) & sleep 60",
            marker.path().display()
        );
        let limit = Wait::AtMost(Duration::from_millis(100));
        assert!(capture("sleep", &mut shell(&script), limit).is_err());
        assert!(start.elapsed() < GRACE);
        thread::sleep(Duration::from_millis(1200));
        assert!(!marker.path().join("late").exists());
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let lines: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
        let shown = tail(&lines.join("\n"));
        assert!(
            shown.starts_with("  | line 30\n") && shown.ends_with("  | line 49"),
            "{shown}"
        );
        assert_eq!(tail("\n"), "  | (it wrote nothing)");
    }
}
