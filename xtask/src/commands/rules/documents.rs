//! Which ids the documents define.

/// A rule of the contract.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) id: String,
    /// The heading of its section.
    pub(super) section: String,
    /// The rule says of itself that it is reserved, so it has nothing to test yet.
    pub(super) is_reserved: bool,
}

/// The list items that begin with a bold id, such as `- **K1** The header is …`.
pub(super) fn rules(contract: &str) -> Vec<Rule> {
    let mut section = String::new();
    let mut rules = Vec::new();
    for line in contract.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        }
        let item = line
            .strip_prefix("- **")
            .and_then(|rest| rest.split_once("**"));
        let Some((id, text)) = item.filter(|(id, _)| is_id(id)) else {
            continue;
        };
        rules.push(Rule {
            id: id.to_owned(),
            section: section.clone(),
            is_reserved: text.trim_start().starts_with("Reserved"),
        });
    }
    rules
}

/// What the page on reliability defines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matrix {
    /// The faults in their order.
    pub(super) faults: Vec<Fault>,
    /// The invariants, which the checker asserts in every test of a fault. A test can be named after one.
    pub(super) invariants: Vec<String>,
}

/// A fault: all rows of the matrix with one id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) id: String,
    /// The tests that its rows name, each as a file and a name; `*` stands for anything.
    pub(super) tests: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As the page has it.
    pub(super) text: String,
    /// Without `.rs`.
    pub(super) file: String,
    pub(super) test: String,
}

/// The tables whose rows begin with ids. The matrix is the one with a column `tests`; the other has the invariants.
pub(super) fn matrix(reliability: &str) -> Matrix {
    let mut matrix = Matrix::default();
    let mut column = None;
    let mut in_table = false;
    for line in reliability.lines() {
        let Some(row) = line.strip_prefix('|') else {
            in_table = false;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if !in_table {
            in_table = true;
            column = cells.iter().position(|cell| *cell == "tests");
        }
        if !is_id(cells[0]) {
            continue;
        }
        let id = cells[0].to_owned();
        match column.and_then(|column| cells.get(column)) {
            Some(tests) => add(&mut matrix.faults, id, patterns(tests)),
            None => matrix.invariants.push(id),
        }
    }
    matrix
}

fn add(faults: &mut Vec<Fault>, id: String, tests: Vec<Pattern>) {
    match faults.iter_mut().find(|fault| fault.id == id) {
        Some(fault) => fault.tests.extend(tests),
        None => faults.push(Fault { id, tests }),
    }
}

/// What is in backticks: `file::test`, `file`, or, after one of them, `test` alone.
fn patterns(cell: &str) -> Vec<Pattern> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for text in cell.split('`').skip(1).step_by(2) {
        let (file, test) = match (text.rsplit_once("::"), patterns.last()) {
            (Some((file, test)), _) => (file_of(file), test),
            (None, Some(before)) if is_test(text) => (before.file.clone(), text),
            (None, _) => (file_of(text), "*"),
        };
        patterns.push(Pattern {
            text: text.to_owned(),
            file,
            test: test.to_owned(),
        });
    }
    patterns
}

/// The page abbreviates three folders.
fn file_of(text: &str) -> String {
    let file = text.trim_end_matches(".rs");
    match file.split_once('/') {
        Some(("c", rest)) => format!("tests/tests/conformance/{rest}"),
        Some(("r", rest)) => format!("crates/idem-redis/tests/redis/{rest}"),
        Some(_) => file.to_owned(),
        None => format!("tests/faults/tests/{file}"),
    }
}

/// Whether the text is the name of a test, after a file in the same cell.
fn is_test(text: &str) -> bool {
    let first = text.split('_').next().unwrap_or_default();
    !text.contains('/') && (text.contains('*') || is_id(&first.to_uppercase()))
}

/// A capital letter and a number.
pub(super) fn is_id(text: &str) -> bool {
    let mut characters = text.chars();
    let letter = characters.next();
    let number = characters.as_str();
    letter.is_some_and(|letter| letter.is_ascii_uppercase())
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_list_item_with_a_bold_id() {
        let found = rules(
            "## Words\n- **bold** not a rule\n## K: the key\n- **K1** The header, not **K9**.\n  - **K8** nested\n\
             - **K12** Reserved for later.\n",
        );
        let rule = |id: &str, is_reserved| Rule {
            id: id.to_owned(),
            section: "K: the key".to_owned(),
            is_reserved,
        };
        assert_eq!(found, [rule("K1", false), rule("K12", true)]);
    }

    #[test]
    fn the_matrix_names_the_tests_of_a_fault() {
        let found = matrix(
            "| | invariant | |\n|---|---|---|\n| I1 | no identity has two effects | checker |\n\n\
             | row | what | tests | on |\n|---|---|---|---|\n\
             | X1 | leaves | `clients::x1_a`; X4 | all |\n\
             | X2 | dies | `c/o_faults::o12_*`, `o13_a`, `without_*`, `tests/tests/processes/lives.rs::i3_*` | all |\n\
             | X1 | both | `model`, `r/cuts` | all |\n",
        );
        assert_eq!(found.invariants, ["I1"]);
        let of = |fault: &Fault| -> Vec<(String, String)> {
            let tests = fault.tests.iter();
            tests
                .map(|pattern| (pattern.file.clone(), pattern.test.clone()))
                .collect()
        };
        let pair = |file: &str, test: &str| (file.to_owned(), test.to_owned());
        assert_eq!(found.faults.len(), 2);
        assert_eq!(
            of(&found.faults[0]),
            [
                pair("tests/faults/tests/clients", "x1_a"),
                pair("tests/faults/tests/model", "*"),
                pair("crates/idem-redis/tests/redis/cuts", "*"),
            ]
        );
        assert_eq!(
            of(&found.faults[1]),
            [
                pair("tests/tests/conformance/o_faults", "o12_*"),
                pair("tests/tests/conformance/o_faults", "o13_a"),
                pair("tests/tests/conformance/o_faults", "without_*"),
                pair("tests/tests/processes/lives", "i3_*"),
            ]
        );
    }

    #[test]
    fn an_id_is_a_capital_letter_and_a_number() {
        for id in ["K1", "O14", "X21"] {
            assert!(is_id(id), "{id}");
        }
        for other in ["", "K", "k1", "K123", "KK1", "K1a", "row", "---", "é1"] {
            assert!(!is_id(other), "{other}");
        }
    }
}
