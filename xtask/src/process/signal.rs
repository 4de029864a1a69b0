//! Signals to children.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::PAUSE;

/// Sends a signal, named without `SIG`, to a child of this process. Nothing has waited for the child yet, so its id
/// still belongs to it.
pub(crate) fn signal(child: &Child, name: &str) {
    kill(name, &child.id().to_string());
}

/// Kills a child and its children at once, as a crash of the machine would. The parent is stopped first: it cannot
/// wait for its children then, so no other process can get their ids.
pub(crate) fn kill_family(parent: &mut Child) -> Result<()> {
    signal(parent, "STOP");
    let children = children(parent.id());
    for child in children.as_deref().unwrap_or_default() {
        kill("KILL", &child.to_string());
    }
    parent.kill()?;
    parent.wait()?;
    children?;
    Ok(())
}

/// Waits for a child's end, at most for `limit`. False if the child still runs.
pub(crate) fn ended_within(child: &mut Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => thread::sleep(PAUSE),
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => return true,
        }
    }
}

/// Signals a process, or a process group by its negative id. False if there is none. The shell has a `kill` of its
/// own even where no program of that name is installed.
pub(super) fn kill(signal: &str, target: &str) -> bool {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "kill -s \"$1\" -- \"$2\" 2>/dev/null",
        "sh",
        signal,
        target,
    ]);
    command
        .stdin(Stdio::null())
        .process_group(0)
        .status()
        .is_ok_and(|status| status.success())
}

/// The children of a process, from Linux's list or else from `ps`.
fn children(parent: u32) -> Result<Vec<u32>> {
    let list = format!("/proc/{parent}/task/{parent}/children");
    if let Ok(children) = fs::read_to_string(&list) {
        return Ok(children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .collect());
    }
    let output = Command::new("ps")
        .args(["-A", "-o", "ppid=", "-o", "pid="])
        .output();
    let output = output.context("cannot run ps to find a server's processes")?;
    Ok(children_in(
        &String::from_utf8_lossy(&output.stdout),
        parent,
    ))
}

/// Each line of the table has a parent and its child.
fn children_in(table: &str, parent: u32) -> Vec<u32> {
    let pairs = table.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    pairs
        .filter(|&(owner, _)| owner == parent)
        .map(|(_, child)| child)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_dies_together() {
        let folder = tempfile::tempdir().unwrap();
        let script = "(sleep 0.5; touch late) & sleep 60 & wait";
        let mut parent = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        while children(parent.id()).unwrap().len() < 2 {
            thread::sleep(PAUSE);
        }
        kill_family(&mut parent).unwrap();
        thread::sleep(Duration::from_secs(1));
        assert!(!folder.path().join("late").exists());
    }

    #[test]
    fn children_are_found_in_a_table() {
        let table = "    1     7\n   12    13\n  123    14\n   12 65536\n";
        assert_eq!(children_in(table, 12), [13, 65536]);
        assert!(children_in("", 12).is_empty());
    }
}
