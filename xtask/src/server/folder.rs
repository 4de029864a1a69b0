//! The temporary folder of a server, and the user that owns it.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Kind;

/// A Unix socket's path has at most 103 bytes on some systems; this leaves room for its name.
const LONGEST: usize = 80;

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    user: Option<User>,
}

/// An unprivileged user, because servers refuse to run as root.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl Folder {
    /// A folder for temporary files, or in this folder.
    pub(super) fn create(kind: &dyn Kind, within: Option<&Path>) -> Result<Self> {
        let user = if id(&["-u"])? == 0 {
            Some(User::first_of(kind.users())?)
        } else {
            None
        };
        let parents = match within {
            Some(folder) => vec![folder.to_owned()],
            None => vec![env::temp_dir(), PathBuf::from("/tmp")],
        };
        let mut reasons = Vec::new();
        for parent in &parents {
            match Self::create_in(parent, kind.key(), user.clone()) {
                Ok(folder) => return Ok(folder),
                Err(error) => reasons.push(format!("{}: {error:#}", parent.display())),
            }
        }
        bail!(
            "found no place for a temporary folder; set TMPDIR to a short path that any user can reach\n{}",
            reasons.join("\n")
        )
    }

    fn create_in(parent: &Path, key: &str, user: Option<User>) -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix(&format!("idem-{key}-"))
            .tempdir_in(parent)?;
        let folder = Self {
            path: temporary.keep(),
            user,
        };
        if folder.path.as_os_str().len() > LONGEST {
            bail!("the path is too long for a socket");
        }
        if let Some(user) = &folder.user {
            chown(&folder.path, Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give a folder to the user {}", user.name))?;
            if !user.can_write_to(&folder.path) {
                bail!("the user {} cannot reach it", user.name);
            }
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The user that runs the server, for messages.
    pub(super) fn user(&self) -> String {
        self.user.as_ref().map_or_else(
            || "the current user".to_owned(),
            |user| format!("user {}", user.name),
        )
    }

    /// Makes the command run in the folder, as the folder's user, with messages in English.
    pub(super) fn adopt(&self, command: &mut Command) {
        command.current_dir(&self.path).env("LC_ALL", "C");
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The other processes of a killed server may write until they have ended, too.
        for _ in 0..100 {
            if fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        eprintln!(
            "xtask: cannot remove the folder {}; remove it by hand",
            self.path.display()
        );
    }
}

impl User {
    fn first_of(names: &[&str]) -> Result<Self> {
        names
            .iter()
            .find_map(|name| Self::named(name).ok())
            .with_context(|| {
                format!(
                    "a server cannot run as root, and there is no user named {}",
                    names.join(" or ")
                )
            })
    }

    fn named(name: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            uid: id(&["-u", name])?,
            gid: id(&["-g", name])?,
        })
    }

    fn can_write_to(&self, folder: &Path) -> bool {
        let mut command = Command::new("sh");
        command
            .args(["-c", "test -w \"$1\" && test -x \"$1\"", "sh"])
            .arg(folder);
        command
            .current_dir("/")
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// A number from the program `id`.
pub(super) fn id(arguments: &[&str]) -> Result<u32> {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .context("cannot run id")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("id {} did not print a number", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::POSTGRES;

    #[test]
    fn a_folder_is_removed_when_dropped() {
        let folder = Folder::create(&POSTGRES, None).unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(LONGEST));
        fs::create_dir(&deep).unwrap();
        let message = Folder::create_in(&deep, "postgres", None)
            .unwrap_err()
            .to_string();
        assert!(message.contains("too long"), "{message}");
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }

    #[test]
    fn an_error_names_the_users_that_are_missing() {
        let message = User::first_of(&["no-such-user", "nor-this"])
            .unwrap_err()
            .to_string();
        assert!(message.contains("no-such-user or nor-this"), "{message}");
    }
}
