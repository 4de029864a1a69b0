//! The page that says which tests show a rule.

use std::collections::{BTreeMap, BTreeSet};

use super::documents::{Fault, Matrix, Pattern, Rule, is_id};
use super::tests_of_tree::Test;
use super::{CONTRACT, RELIABILITY};

const INTRODUCTION: &str = "# Rules and their tests

`cargo xtask rules --bless` writes this page. CI fails when the page is out of date, when a rule or a fault has no test,
when a row of the matrix names a test that does not exist, and when a test is named after an id that no document has.
";

/// Types whose names look like ids, as in `f2_u64_is_exact`.
const NUMBERS: &[&str] = &[
    "U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64", "F32", "F64",
];

pub(super) struct Index {
    /// The text of `docs/rules.md`.
    pub(super) page: String,
    /// What is wrong with the documents, or with the names of tests.
    pub(super) faults: Vec<String>,
}

impl Index {
    pub(super) fn new(contract: &[Rule], matrix: &Matrix, tests: &[Test]) -> Self {
        let mut index = Self {
            page: INTRODUCTION.to_owned(),
            faults: Vec::new(),
        };
        let named = index.tests_by_id(&known(contract, matrix), tests);
        let mut seen = BTreeSet::new();
        let mut is_new = |id: &str| seen.insert(id.to_owned());

        index.write("\n## The contract\n\nThe rules are in [contract.md](contract.md).\n");
        let mut section = "";
        for rule in contract {
            if rule.section != section {
                section = &rule.section;
                index.write(&format!("\n### {section}\n\n"));
            }
            if !is_new(&rule.id) {
                index.fault(format!("{CONTRACT}: {} is there twice", rule.id));
            }
            let tests = named.get(&rule.id).cloned().unwrap_or_default();
            let note = if rule.is_reserved { ": reserved" } else { "" };
            index.entry(&rule.id, note, &tests);
            if tests.is_empty() && !rule.is_reserved {
                index.gap(CONTRACT, &rule.id);
            }
        }

        index.write(
            "\n## The faults\n\nThe faults are the rows of the matrix in [reliability.md](reliability.md#the-matrix). \
             A fault has the tests that are named after it, and those that its rows name.\n\n",
        );
        for fault in &matrix.faults {
            if !is_new(&fault.id) {
                index.fault(format!(
                    "{RELIABILITY}: {} is a rule of the contract, too",
                    fault.id
                ));
            }
            let mut all = named.get(&fault.id).cloned().unwrap_or_default();
            all.extend(index.tests_of_rows(fault, tests));
            index.entry(&fault.id, "", &all);
            if all.is_empty() {
                index.gap(RELIABILITY, &fault.id);
            }
        }
        for id in &matrix.invariants {
            if !is_new(id) {
                index.fault(format!("{RELIABILITY}: {id} has another meaning, too"));
            }
        }
        index
    }

    /// The tests by the ids that their names begin with.
    fn tests_by_id<'a>(
        &mut self,
        known: &BTreeSet<&str>,
        tests: &'a [Test],
    ) -> BTreeMap<String, BTreeSet<&'a Test>> {
        let mut named: BTreeMap<String, BTreeSet<&Test>> = BTreeMap::new();
        for test in tests {
            for id in ids(&test.name) {
                if known.contains(&*id) {
                    named.entry(id).or_default().insert(test);
                } else if !NUMBERS.contains(&&*id) {
                    self.fault(format!(
                        "{}: `{}` is named after {id}, which neither {CONTRACT} nor {RELIABILITY} has",
                        test.file, test.name
                    ));
                }
            }
        }
        named
    }

    fn tests_of_rows<'a>(&mut self, fault: &Fault, tests: &'a [Test]) -> BTreeSet<&'a Test> {
        let mut all = BTreeSet::new();
        for pattern in &fault.tests {
            let matching: BTreeSet<&Test> = tests
                .iter()
                .filter(|test| is_meant(pattern, test))
                .collect();
            if matching.is_empty() {
                self.fault(format!(
                    "{RELIABILITY}: {} names `{}`, and no test of that name exists",
                    fault.id, pattern.text
                ));
            }
            all.extend(matching);
        }
        all
    }

    fn gap(&mut self, document: &str, id: &str) {
        let prefix = id.to_lowercase();
        self.fault(format!(
            "{document}: {id} has no test; the name of its test begins with `{prefix}_`"
        ));
    }

    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn entry(&mut self, id: &str, note: &str, tests: &BTreeSet<&Test>) {
        self.write(&format!("- **{id}**{note}\n"));
        let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for test in tests {
            by_file.entry(&test.file).or_default().push(&test.name);
        }
        for (file, names) in by_file {
            let names = names.join("`, `");
            self.write(&format!("  - [{file}](../{file}): `{names}`\n"));
        }
    }

    fn write(&mut self, text: &str) {
        self.page.push_str(text);
    }
}

fn known<'a>(contract: &'a [Rule], matrix: &'a Matrix) -> BTreeSet<&'a str> {
    let rules = contract.iter().map(|rule| &*rule.id);
    let faults = matrix.faults.iter().map(|fault| &*fault.id);
    let invariants = matrix.invariants.iter().map(|id| &**id);
    rules.chain(faults).chain(invariants).collect()
}

/// The ids at the beginning of a test's name, as `P1` and `P2` in `p1_p2_refusals_are_problems`.
fn ids(test: &str) -> Vec<String> {
    let words = test.split('_').map(str::to_uppercase);
    words.take_while(|word| is_id(word)).collect()
}

fn is_meant(pattern: &Pattern, test: &Test) -> bool {
    let file = test.file.trim_end_matches(".rs");
    let is_in = matches(&pattern.file, file) || matches(&format!("{}/*", pattern.file), file);
    is_in && matches(&pattern.test, &test.name)
}

/// Whether the text is what the pattern says, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|after| {
            let mut ends = after.char_indices().map(|(place, _)| &after[place..]);
            rest.is_empty() || ends.any(|end| matches(rest, end)) || matches(rest, "")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::documents::{matrix, rules};
    use super::*;

    const CONTRACT_TEXT: &str =
        "## R: replay\n- **R1** Once.\n- **R2** Again.\n## V: visibility\n- **V2** Reserved.\n";
    const MATRIX_TEXT: &str = "| | invariant |\n|---|---|\n| I3 | kept |\n\n\
         | row | tests |\n|---|---|\n| X1 | `clients` |\n| X2 | none |\n";

    fn tests_named(names: &[(&str, &str)]) -> Vec<Test> {
        let names = names.iter();
        names
            .map(|(file, name)| Test {
                file: (*file).to_owned(),
                name: (*name).to_owned(),
            })
            .collect()
    }

    fn index_of(contract: &str, page: &str, names: &[(&str, &str)]) -> Index {
        Index::new(&rules(contract), &matrix(page), &tests_named(names))
    }

    const COMPLETE: &[(&str, &str)] = &[
        ("tests/r.rs", "r1_r2_both"),
        ("tests/r.rs", "r2_u64_second"),
        ("tests/faults/tests/clients.rs", "without_an_id"),
        ("idem-core/src/a.rs", "x2_named"),
        ("idem-core/src/a.rs", "i3_named"),
    ];

    #[test]
    fn the_page_has_the_tests_of_each_rule_and_fault() {
        let index = index_of(CONTRACT_TEXT, MATRIX_TEXT, COMPLETE);
        assert_eq!(index.faults, <[String; 0]>::default());
        for part in [
            "### R: replay\n\n- **R1**\n  - [tests/r.rs](../tests/r.rs): `r1_r2_both`\n",
            "- **R2**\n  - [tests/r.rs](../tests/r.rs): `r1_r2_both`, `r2_u64_second`\n",
            "- **V2**: reserved\n",
            "- **X1**\n  - [tests/faults/tests/clients.rs](../tests/faults/tests/clients.rs): `without_an_id`\n",
            "- **X2**\n  - [idem-core/src/a.rs](../idem-core/src/a.rs): `x2_named`\n",
        ] {
            assert!(
                index.page.contains(part),
                "{part}\nis not in\n{}",
                index.page
            );
        }
    }

    #[test]
    fn every_gap_is_a_fault() {
        let faults = index_of(CONTRACT_TEXT, MATRIX_TEXT, &COMPLETE[1..3]).faults;
        let expected = [
            "docs/contract.md: R1 has no test; the name of its test begins with `r1_`",
            "docs/reliability.md: X2 has no test; the name of its test begins with `x2_`",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_test_of_no_rule_is_a_fault() {
        let names = [
            COMPLETE,
            &[("tests/r.rs", "r1_r9_more"), ("tests/r.rs", "f21_old")],
        ]
        .concat();
        let faults = index_of(CONTRACT_TEXT, MATRIX_TEXT, &names).faults;
        let of = |name: &str, id: &str| {
            format!(
                "tests/r.rs: `{name}` is named after {id}, \
                 which neither docs/contract.md nor docs/reliability.md has"
            )
        };
        assert_eq!(faults, [of("r1_r9_more", "R9"), of("f21_old", "F21")]);
    }

    #[test]
    fn a_row_that_names_no_test_is_a_fault() {
        let page = MATRIX_TEXT.replace("`clients`", "`clients::x1_*`");
        let faults = index_of(CONTRACT_TEXT, &page, COMPLETE).faults;
        let expected = [
            "docs/reliability.md: X1 names `clients::x1_*`, and no test of that name exists",
            "docs/reliability.md: X1 has no test; the name of its test begins with `x1_`",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn an_id_with_two_meanings_is_a_fault() {
        let page = MATRIX_TEXT.replace("X1", "R1").replace("I3", "R2");
        let contract = CONTRACT_TEXT.replace("V2", "R2");
        let faults = index_of(&contract, &page, &COMPLETE[..4]).faults;
        let expected = [
            "docs/contract.md: R2 is there twice",
            "docs/reliability.md: R1 is a rule of the contract, too",
            "docs/reliability.md: R2 has another meaning, too",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in [
            ("a", "a"),
            ("*", ""),
            ("a*", "abc"),
            ("a*c", "abc"),
            ("a*c*", "abbcd"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*c", "ab"), ("*c", "cd"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
