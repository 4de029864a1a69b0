//! The code on the page is the code that is tested.

use std::fs;
use std::path::Path;

/// The lines of the region `name` of `source`.
fn region<'a>(source: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let begin = format!("// recipe: {name}");
    let lines = source
        .lines()
        .skip_while(|line| line.trim() != begin)
        .skip(1);
    let lines: Vec<_> = lines
        .take_while(|line| line.trim() != "// recipe: end")
        .collect();
    (!lines.is_empty()).then_some(lines)
}

/// The page with each block of code after `<!-- FILE: REGION -->` replaced by that region of the file, without the
/// indentation of the whole region.
fn with_regions(page: &str, folder: &Path) -> String {
    let mut written = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        written += line;
        written += "\n";
        let marker = line
            .strip_prefix("<!-- ")
            .and_then(|line| line.strip_suffix(" -->"));
        let Some((file, name)) = marker.and_then(|marker| marker.split_once(": ")) else {
            continue;
        };
        let source =
            fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let region =
            region(&source, name).unwrap_or_else(|| panic!("{file} has no region `{name}`"));
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "no block of code after `{line}`");
        written += fence;
        written += "\n";
        let indentation = region.iter().filter(|line| !line.is_empty());
        let indentation = indentation.map(|line| line.len() - line.trim_start().len());
        let indentation = indentation.min().unwrap_or_default();
        for line in region {
            written += line.get(indentation..).unwrap_or_default();
            written += "\n";
        }
        written += "```\n";
        lines
            .by_ref()
            .find(|line| *line == "```")
            .expect("the block has an end");
    }
    written
}

#[test]
fn the_page_shows_the_tested_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("../../docs/recipes.md");
    let page = fs::read_to_string(&path).unwrap();
    let expected = with_regions(&page, &folder.join("src"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(page == expected, "run `BLESS=1 cargo test -p recipes page`");
    }
}
