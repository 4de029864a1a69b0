//! The one table of options. The parser, the duplicate check, "did you mean", "expected one of" and the
//! documentation all read it.

/// Identifies an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Ttl,
    Scope,
    Unscoped,
    Wait,
    Deadline,
    Replay,
    Key,
    Isolation,
    Fingerprint,
    Body,
    Operation,
    Store,
    Crate,
}

/// What can be written behind an option's `=`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A string such as `"1d 12h"`, also `"0s"` where `zero` says so.
    Duration { zero: bool },
    /// A string that names an argument, or a field of one.
    Field,
    /// Nothing: the option's name says it all.
    Flag,
    /// One of a few strings.
    Choice(&'static [Choice]),
    /// One of a few strings, or the path of a function, without quotes.
    WordOrFunction(&'static [&'static str]),
    /// One of a few strings, or a string that names an argument.
    WordOrArgument(&'static [&'static str]),
    /// A string that becomes part of an identity.
    Operation,
    /// A type, without quotes.
    Type,
    /// A path, without quotes.
    Path,
}

/// One of the strings that an option of the policy allows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) word: &'static str,
    /// The name of the generated variant.
    pub(crate) variant: &'static str,
    /// The line that the handler's documentation gets.
    pub(crate) meaning: &'static str,
}

/// One option.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: Name,
    pub(crate) word: &'static str,
    pub(crate) shape: Shape,
    /// The option as it can be pasted into the attribute.
    pub(crate) example: &'static str,
    /// The line that the attribute's documentation has.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test reads it beside the documentation")
    )]
    pub(crate) meaning: &'static str,
}

/// Every option, in the order of the documentation.
pub(crate) const OPTIONS: &[Spec] = &[
    Spec {
        name: Name::Ttl,
        word: "ttl",
        shape: Shape::Duration { zero: false },
        example: r#"ttl = "24h""#,
        meaning: "how long a response is remembered, at most one year (required)",
    },
    Spec {
        name: Name::Scope,
        word: "scope",
        shape: Shape::Field,
        example: r#"scope = "tenant""#,
        meaning: r#"whose keys these are: an argument, or a field of one, such as `"claims.tenant_id"` (required, unless `unscoped`)"#,
    },
    Spec {
        name: Name::Unscoped,
        word: "unscoped",
        shape: Shape::Flag,
        example: "unscoped",
        meaning: "all clients share their keys, and so can read each other's responses",
    },
    Spec {
        name: Name::Wait,
        word: "wait",
        shape: Shape::Duration { zero: true },
        example: r#"wait = "2s""#,
        meaning: r#"how long a duplicate waits for the first request before it is answered 409; `"0s"` answers at once"#,
    },
    Spec {
        name: Name::Deadline,
        word: "deadline",
        shape: Shape::Duration { zero: false },
        example: r#"deadline = "30s""#,
        meaning: "how long the handler can run before it is dropped and its writes are undone",
    },
    Spec {
        name: Name::Replay,
        word: "replay",
        shape: Shape::Choice(REPLAY),
        example: r#"replay = "final""#,
        meaning: r#"which responses are remembered; `"final"` is the default"#,
    },
    Spec {
        name: Name::Key,
        word: "key",
        shape: Shape::Choice(KEY),
        example: r#"key = "required""#,
        meaning: "whether a request without a key is refused, which is the default, or runs unrecorded",
    },
    Spec {
        name: Name::Isolation,
        word: "isolation",
        shape: Shape::Choice(ISOLATION),
        example: r#"isolation = "serializable""#,
        meaning: "how isolated the handler's transaction is; the database's default if nothing is said",
    },
    Spec {
        name: Name::Fingerprint,
        word: "fingerprint",
        shape: Shape::WordOrFunction(FINGERPRINT),
        example: "fingerprint = NewPayment::intent",
        meaning: "what a key is bound to, beside path and query: the deserialized body (the default), its bytes, or what a function makes of it",
    },
    Spec {
        name: Name::Body,
        word: "body",
        shape: Shape::WordOrArgument(BODY),
        example: r#"body = "order""#,
        meaning: r#"the argument that is the body, or `"none"`"#,
    },
    Spec {
        name: Name::Operation,
        word: "operation",
        shape: Shape::Operation,
        example: r#"operation = "create_payment""#,
        meaning: "the operation's name, in place of method and route: renaming the route then makes no key new, though a retry has to come on the path of the first request",
    },
    Spec {
        name: Name::Store,
        word: "store",
        shape: Shape::Type,
        example: "store = Billing",
        meaning: "the state that holds the store, where an application has several databases of one kind",
    },
    Spec {
        name: Name::Crate,
        word: "crate",
        shape: Shape::Path,
        example: "crate = ::my_crate::idem",
        meaning: "where the adapter is re-exported",
    },
];

const REPLAY: &[Choice] = &[SUCCESS, FINAL, ALL];
const KEY: &[Choice] = &[REQUIRED, OPTIONAL];
const ISOLATION: &[Choice] = &[READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE];
const FINGERPRINT: &[&str] = &["body", RAW];
const BODY: &[&str] = &[NONE];

const SUCCESS: Choice = Choice {
    word: "success",
    variant: "Success",
    meaning: "statuses below 400",
};
/// What is replayed where nothing else is said.
pub(crate) const FINAL: Choice = Choice {
    word: "final",
    variant: "Final",
    meaning: "statuses below 400, and 4xx but 401, 403, 408, 409, 423, 425 and 429",
};
const ALL: Choice = Choice {
    word: "all",
    variant: "All",
    meaning: "statuses below 400, 5xx, and 4xx but 401, 403, 408, 409, 423, 425 and 429",
};

/// Whether a key is needed where nothing else is said.
pub(crate) const REQUIRED: Choice = Choice {
    word: "required",
    variant: "Required",
    meaning: "required",
};
const OPTIONAL: Choice = Choice {
    word: "optional",
    variant: "Optional",
    meaning: "optional; without it the request runs unrecorded",
};

const READ_COMMITTED: Choice = Choice {
    word: "read committed",
    variant: "ReadCommitted",
    meaning: "read committed",
};
const REPEATABLE_READ: Choice = Choice {
    word: "repeatable read",
    variant: "RepeatableRead",
    meaning: "repeatable read",
};
const SERIALIZABLE: Choice = Choice {
    word: "serializable",
    variant: "Serializable",
    meaning: "serializable; 503 if another transaction is in the way at the commit",
};

/// A fingerprint of the body's bytes.
pub(crate) const RAW: &str = "raw";
/// No body.
pub(crate) const NONE: &str = "none";

impl Spec {
    /// The option called `word`.
    pub(crate) fn find(word: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|spec| spec.word == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The option as the documentation shows it, all its choices included.
    fn syntax(spec: &Spec) -> String {
        let word = spec.word;
        match spec.shape {
            Shape::Choice(choices) => {
                let words: Vec<_> = choices.iter().map(|choice| choice.word).collect();
                format!("{word} = {}", quoted(&words))
            }
            Shape::WordOrFunction(words) | Shape::WordOrArgument(words) => {
                let (_, other) = spec.example.split_once(" = ").unwrap();
                format!("{word} = {} | {other}", quoted(words))
            }
            _ => spec.example.to_owned(),
        }
    }

    fn quoted(words: &[&str]) -> String {
        words
            .iter()
            .map(|word| format!("{word:?}"))
            .collect::<Vec<_>>()
            .join(" | ")
    }

    #[test]
    fn every_option_is_found_by_its_word() {
        for spec in OPTIONS {
            assert_eq!(
                Spec::find(spec.word).map(|found| found.name),
                Some(spec.name)
            );
            assert_eq!(format!("{:?}", spec.name).to_lowercase(), spec.word);
            assert!(spec.example.starts_with(spec.word));
        }
    }

    #[test]
    fn the_documentation_of_the_attribute_has_every_option() {
        let source = include_str!("arguments.md");
        for spec in OPTIONS {
            let line = format!("- `{}`: {}\n", syntax(spec), spec.meaning);
            assert!(source.contains(&line), "add to arguments.md:\n{line}");
        }
        let lines = source
            .lines()
            .filter(|line| line.starts_with("- `") && line.contains("`: "))
            .count();
        assert_eq!(
            lines,
            OPTIONS.len(),
            "arguments.md describes an option that is not in the table"
        );
    }

    #[test]
    fn every_example_is_accepted() {
        for spec in OPTIONS {
            let (given, messages) = crate::parse::tests::read(spec.example);
            assert_eq!(messages, [""; 0], "{}", spec.example);
            assert!(given.entry(spec.name).is_some(), "{}", spec.example);
        }
    }
}
