//! Folders that are made once.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::Result;

/// A folder below `parent` for this content. `make` makes it, unless an earlier call has done so; processes that need
/// the same one at the same time wait for each other. Half a folder is removed before it is made again.
pub(crate) fn folder(
    parent: &Path,
    kind: &str,
    content: impl Hash,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let name = format!("{kind}-{:016x}", hasher.finish());
    let folder = fs::canonicalize(parent)?.join(&name);
    let lock = File::create(parent.join(format!("{name}.lock")))?;
    lock.lock()?;
    // Written last.
    let complete = folder.join("complete");
    if !complete.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        eprintln!(
            "xtask: {kind}: installing packages into {}",
            folder.display()
        );
        make(&folder)?;
        File::create(complete)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_folder_is_made_once_for_each_content() {
        let root = tempfile::tempdir().unwrap();
        let mut made = 0;
        let mut get = |content: &str| {
            folder(root.path(), "a", content, |folder| {
                made += 1;
                Ok(fs::write(folder.join("made"), content)?)
            })
            .unwrap()
        };
        let first = get("first");
        assert_eq!(get("first"), first);
        assert_ne!(get("second"), first);
        assert_eq!(fs::read_to_string(first.join("made")).unwrap(), "first");
        assert_eq!(made, 2);
    }

    #[test]
    fn half_a_folder_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let half = |folder: &Path| {
            fs::write(folder.join("half"), "")?;
            bail!("no more")
        };
        folder(root.path(), "a", "", half).unwrap_err();
        let whole = folder(root.path(), "a", "", |_| Ok(())).unwrap();
        assert!(!whole.join("half").exists());
    }
}
