//! The links in the pages of rustdoc.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// The links in the documentation of these packages that lead to no file, or to no heading or item of a file.
pub(crate) fn broken(documentation: &Path, packages: &[&str]) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    for package in packages {
        let folder = documentation.join(package.replace('-', "_"));
        find(&folder, &mut pages).with_context(|| folder.display().to_string())?;
    }
    let mut texts = HashMap::new();
    let mut broken = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page)?;
        for link in links(&text) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let path = path.split('?').next().unwrap_or_default();
            let target = match path {
                "" => page.clone(),
                path => resolved(&page, path),
            };
            if !leads_somewhere(&target, fragment, &mut texts) {
                let page = page.strip_prefix(documentation)?;
                broken.push(format!("{link} in {}", page.display()));
            }
        }
    }
    broken.sort_unstable();
    broken.dedup();
    Ok(broken)
}

fn find(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, pages)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            pages.push(path);
        }
    }
    Ok(())
}

/// The relative links of a page, without those in the documentation of other crates' blanket implementations.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let own = page.split("<h2 id=\"blanket-implementations\"").next();
    own.unwrap_or_default()
        .split(" href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|link| !link.contains(':'))
}

fn resolved(page: &Path, link: &str) -> PathBuf {
    let mut target = page.to_owned();
    target.pop();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => drop(target.pop()),
            other => target.push(other),
        }
    }
    target
}

fn leads_somewhere(
    target: &Path,
    fragment: &str,
    texts: &mut HashMap<PathBuf, Option<String>>,
) -> bool {
    let text = texts
        .entry(target.to_owned())
        .or_insert_with(|| fs::read_to_string(target).ok());
    let Some(text) = text else {
        return target.is_file();
    };
    // The numbers of lines of a source are written by a script.
    let of_a_source = target.to_string_lossy().ends_with(".rs.html");
    fragment.is_empty() || of_a_source || text.contains(&format!("id=\"{fragment}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_missing_files_and_headings_are_broken() {
        let folder = tempfile::tempdir().expect("a folder");
        let pages = folder.path().join("a_b");
        fs::create_dir_all(pages.join("c")).expect("a folder");
        fs::write(pages.join("index.html"), "<h1 id=\"there\">").expect("a page");
        let page = "<a class=\"x\" href=\"../index.html#there\"> <a href=\"#nowhere\"> \
             <a href=\"https://example.org/gone\"> <a href=\"other.md\"> <a href=\"../index.html#gone\"> \
             <h2 id=\"blanket-implementations\"> <a href=\"of-another-crate.md\">";
        fs::write(pages.join("c/index.html"), page).expect("a page");
        let broken = broken(folder.path(), &["a-b"]).expect("pages");
        let page = "in a_b/c/index.html";
        assert_eq!(
            broken,
            [
                format!("#nowhere {page}"),
                format!("../index.html#gone {page}"),
                format!("other.md {page}"),
            ]
        );
        assert!(super::broken(folder.path(), &["missing"]).is_err());
    }
}
