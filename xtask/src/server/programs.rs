//! Finds the programs of a kind on this machine.

use std::cmp::Reverse;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Kind;

/// The paths of a kind's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs(Vec<PathBuf>);

impl Programs {
    /// The path of the named program; the name itself if it is not one of the kind's programs.
    pub fn path(&self, name: &str) -> PathBuf {
        let found = self.0.iter().find(|path| path.ends_with(name));
        found.map_or_else(|| PathBuf::from(name), Clone::clone)
    }

    /// The path of another program that is installed together with the server.
    pub(super) fn next_to_the_server(&self, name: &str) -> PathBuf {
        // The server's path may be a link into the folder of its version.
        let server = fs::canonicalize(self.server());
        let server = server.unwrap_or_else(|_| self.server().to_owned());
        server.with_file_name(name)
    }

    /// The path of the server itself.
    pub(super) fn server(&self) -> &Path {
        self.0.last().map_or(Path::new(""), PathBuf::as_path)
    }
}

/// Finds a kind's programs.
pub(super) fn find(kind: &dyn Kind) -> Option<Programs> {
    find_named(kind.programs(), kind.folders())
}

/// Searches the PATH first, then the folders, whose names are as in [`Kind::folders`].
pub(super) fn find_named(names: &[&str], folders: &[&str]) -> Option<Programs> {
    let path = env::var_os("PATH").unwrap_or_default();
    let known = folders.iter().flat_map(|pattern| expand(pattern));
    let folders: Vec<PathBuf> = env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(known)
        .collect();
    find_in(&folders, names)
}

/// Prefers one folder with all programs, so that their versions agree.
fn find_in(folders: &[PathBuf], names: &[&str]) -> Option<Programs> {
    let together = folders
        .iter()
        .find_map(|folder| all(names, |name| executable(&folder.join(name))));
    let apart = || {
        all(names, |name| {
            folders
                .iter()
                .find_map(|folder| executable(&folder.join(name)))
        })
    };
    together.or_else(apart).map(Programs)
}

fn all(names: &[&str], find: impl FnMut(&&str) -> Option<PathBuf>) -> Option<Vec<PathBuf>> {
    names.iter().map(find).collect()
}

fn executable(path: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(path).ok()?;
    let is_executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    is_executable.then(|| path.to_owned())
}

/// The folders that match a pattern with at most one `*`, the newest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let (suffix, rest) = after.split_once('/').unwrap_or((after, ""));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| {
            name.strip_prefix(prefix)?
                .strip_suffix(suffix)
                .map(str::to_owned)
        })
        .collect();
    versions.sort_by_key(|version| Reverse(numbers(version)));
    versions
        .iter()
        .map(|version| {
            Path::new(parent)
                .join(format!("{prefix}{version}{suffix}"))
                .join(rest)
        })
        .collect()
}

/// As numbers, `9.6` comes before `15`; as texts it would come after.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(parent: &Path, name: &str, programs: &[&str]) -> PathBuf {
        let folder = parent.join(name);
        fs::create_dir_all(&folder).unwrap();
        for program in programs {
            fs::write(folder.join(program), "").unwrap();
            fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[test]
    fn the_newest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "17", "8.4"] {
            folder_with(root.path(), &format!("pg-{version}-x/bin"), &[]);
        }
        folder_with(root.path(), "other", &[]);
        let found = expand(&format!("{}/pg-*-x/bin", root.path().display()));
        let expected = ["17", "15", "9.6", "8.4"]
            .map(|version| root.path().join(format!("pg-{version}-x/bin")));
        assert_eq!(found, expected);
        assert!(expand("/nowhere/at/all/*/bin").is_empty());
    }

    #[test]
    fn one_folder_with_all_programs_wins() {
        let root = tempfile::tempdir().unwrap();
        let half = folder_with(root.path(), "half", &["b"]);
        let whole = folder_with(root.path(), "whole", &["a", "b"]);
        let found = find_in(&[half, whole.clone()], &["a", "b"]).unwrap();
        assert_eq!(
            (found.path("a"), found.server()),
            (whole.join("a"), &*whole.join("b"))
        );
    }

    #[test]
    fn programs_may_be_in_several_folders() {
        let root = tempfile::tempdir().unwrap();
        let first = folder_with(root.path(), "sbin", &["b"]);
        let second = folder_with(root.path(), "bin", &["a"]);
        let found = find_in(&[first.clone(), second.clone()], &["a", "b"]).unwrap();
        assert_eq!(
            (found.path("a"), found.path("b")),
            (second.join("a"), first.join("b"))
        );
    }

    #[test]
    fn nothing_is_found_where_a_program_is_missing_or_not_executable() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder_with(root.path(), "bin", &["a"]);
        fs::write(folder.join("b"), "").unwrap();
        assert_eq!(find_in(std::slice::from_ref(&folder), &["a", "b"]), None);
        assert_eq!(find_in(&[], &["a"]), None);
    }
}
