//! The adapter's name in `Cargo.toml`, because a macro doesn't learn how a dependency is renamed.

use std::path::Path;
use std::{env, fs};

/// The other name of `package` in the manifest of the crate that is compiled, or of its workspace.
pub(crate) fn find(package: &str) -> Option<String> {
    let folder = env::var_os("CARGO_MANIFEST_DIR")?;
    let read = |folder: &Path| fs::read_to_string(folder.join("Cargo.toml")).ok();
    find_from(Path::new(&folder), package, read)
}

fn find_from(
    folder: &Path,
    package: &str,
    read: impl Fn(&Path) -> Option<String>,
) -> Option<String> {
    let mut manifests = folder.ancestors().filter_map(read);
    let name = manifests.find_map(|manifest| name_in(&manifest, package))?;
    (name != package).then_some(name)
}

/// The name under which a manifest has the dependency. Its own name comes first, since a test can have both.
///
/// This is not a parser of TOML: it knows the forms in which cargo's documentation writes a renamed dependency.
fn name_in(manifest: &str, package: &str) -> Option<String> {
    let quoted = format!("\"{package}\"");
    let (mut table, mut renamed) = ("", None);
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            table = header
                .trim_end_matches(']')
                .rsplit('.')
                .next()
                .unwrap_or_default();
        }
        let key = line.split(['=', '.']).next().unwrap_or_default().trim();
        if key == package || table == package {
            return Some(package.to_owned());
        }
        if line.contains(&quoted) && line.contains("package") && !line.starts_with('#') {
            let name = if key == "package" { table } else { key };
            renamed = Some(name.to_owned());
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_dependency_is_found() {
        for manifest in [
            "[dependencies]\nidem = { package = \"idem-axum\", version = \"0.1\" }",
            "[dependencies]\nidem.package = \"idem-axum\"\nidem.version = \"0.1\"",
            "[dependencies.idem]\nversion = \"0.1\"\npackage = \"idem-axum\"",
            "[target.'cfg(unix)'.dependencies]\nidem={version=\"0.1\",package=\"idem-axum\"}",
        ] {
            assert_eq!(
                name_in(manifest, "idem-axum").as_deref(),
                Some("idem"),
                "{manifest}"
            );
        }
    }

    #[test]
    fn a_dependency_under_its_own_name_is_not_renamed() {
        for manifest in [
            "[dependencies]\nidem-axum = \"0.1\"",
            "[dependencies]\nidem-axum.workspace = true",
            "[dependencies.idem-axum]\nversion = \"0.1\"",
            "[dependencies]\nidem-axum = \"0.1\"\n[dev-dependencies]\nidem = { package = \"idem-axum\" }",
        ] {
            assert_eq!(
                name_in(manifest, "idem-axum").as_deref(),
                Some("idem-axum"),
                "{manifest}"
            );
        }
        for manifest in [
            "[package]\nname = \"idem-axum\"",
            "[dependencies]\nidem = { package = \"idem-actix\" }",
            "[features]\ndefault = [\"idem-axum/sqlite\"]",
            "[dependencies]\n# idem = { package = \"idem-axum\" }",
        ] {
            assert_eq!(name_in(manifest, "idem-axum"), None, "{manifest}");
        }
    }

    #[test]
    fn a_workspace_can_rename_for_its_members() {
        let find = |member: &str| {
            let read = |folder: &Path| match folder.to_str() {
                Some("/shop/orders") => Some(member.to_owned()),
                Some("/shop") => {
                    Some("[workspace.dependencies]\nidem = { package = \"idem-axum\" }".to_owned())
                }
                _ => None,
            };
            find_from(Path::new("/shop/orders"), "idem-axum", read)
        };
        assert_eq!(
            find("[dependencies]\nidem.workspace = true").as_deref(),
            Some("idem")
        );
        assert_eq!(find("[dependencies]\nidem-axum = \"0.1\""), None);
    }
}
