//! The one table of options. The parser, the duplicate check, "did you mean", "expected one of" and the test of the
//! documentation read it, so that none of them can miss an option.

use crate::choice::{Choice, Fingerprint, Isolation, Need, Query, Replay};

/// Identifies an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Ttl,
    Scope,
    Unscoped,
    Wait,
    RespondWithin,
    Deadline,
    Lease,
    Replay,
    Key,
    Isolation,
    Fingerprint,
    Body,
    Query,
    Bind,
    Record,
    ResponseLimit,
    Operation,
    Store,
    State,
    Crate,
}

/// What can be written after an option's `=`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A string such as `"1d 12h"`, also `"0s"` where `zero` says so.
    Duration { zero: bool },
    /// A string such as `"4MiB"`.
    Size,
    /// A string that names an argument, or a field of one.
    Field,
    /// Nothing: the option is its name.
    Flag,
    /// One of a few strings.
    Word(&'static [Word]),
    /// One of a few strings, or the path of a function, without quotes.
    WordOrFunction(&'static [Word]),
    /// One of a few strings, or a string that names an argument.
    WordOrArgument(&'static [Word]),
    /// One of a few strings, a string that names an argument or a field of one, `header("…")`, or `optional(…)`.
    Key(&'static [Word]),
    /// One of a few strings, or `except("…")`.
    WordOrExcept(&'static [Word]),
    /// `header("…")`.
    Headers,
    /// One of a few strings, or `cookie("…")`.
    WordOrCookies(&'static [Word]),
    /// A string that becomes part of an identity.
    Operation,
    /// A type, without quotes.
    Type,
    /// A type, or one in `extractor(…)`, without quotes.
    TypeOrExtractor,
    /// A path, without quotes.
    Path,
}

/// One of the strings that an option allows.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: &'static str,
    pub(crate) choice: Choice,
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
        expect(dead_code, reason = "a test compares it with the documentation")
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
        meaning: r#"the owner of the keys: an argument, or a field of one, such as `"claims.tenant_id"` (required, unless `unscoped`)"#,
    },
    Spec {
        name: Name::Unscoped,
        word: "unscoped",
        shape: Shape::Flag,
        example: "unscoped",
        meaning: "all clients share their keys, so they can read each other's responses",
    },
    Spec {
        name: Name::Wait,
        word: "wait",
        shape: Shape::Duration { zero: true },
        example: r#"wait = "2s""#,
        meaning: r#"how long a duplicate waits for the first request before it is answered 409; `"0s"` answers at once"#,
    },
    Spec {
        name: Name::RespondWithin,
        word: "respond_within",
        shape: Shape::Duration { zero: false },
        example: r#"respond_within = "5s""#,
        meaning: "lets clients that send `Prefer: respond-async` ask instead of wait: if the handler takes longer, less than `deadline`, the answer is 202, and the same request again gets the result",
    },
    Spec {
        name: Name::Deadline,
        word: "deadline",
        shape: Shape::Duration { zero: false },
        example: r#"deadline = "30s""#,
        meaning: "how long the handler can run before it is dropped and its writes are undone",
    },
    Spec {
        name: Name::Lease,
        word: "lease",
        shape: Shape::Duration { zero: false },
        example: r#"lease = "10s""#,
        meaning: "how long a handler that takes `&mut Steps<_>` holds its key without a sign of life, less than `deadline` (required with `Steps`, refused without)",
    },
    Spec {
        name: Name::Replay,
        word: "replay",
        shape: Shape::Word(REPLAY),
        example: r#"replay = "final""#,
        meaning: r#"which responses are remembered; `"final"` is the default"#,
    },
    Spec {
        name: Name::Key,
        word: "key",
        shape: Shape::Key(KEY),
        example: r#"key = "form.idempotency_key""#,
        meaning: "whether a request without a key is refused, which is the default, or runs unrecorded; or where the key is, other than in the application's header: in an argument or a field of one, or in headers of this endpoint, the first of which that is sent counts",
    },
    Spec {
        name: Name::Isolation,
        word: "isolation",
        shape: Shape::Word(ISOLATION),
        example: r#"isolation = "serializable""#,
        meaning: "the isolation level of the handler's transaction, or of each `commit` step, in place of the database's default",
    },
    Spec {
        name: Name::Fingerprint,
        word: "fingerprint",
        shape: Shape::WordOrFunction(FINGERPRINT),
        example: "fingerprint = NewPayment::intent",
        meaning: r#"the content that a key is bound to, besides path and query: the deserialized body (the default), its bytes, or the value that a function makes of it; `"none"` binds nothing, not even path and query"#,
    },
    Spec {
        name: Name::Body,
        word: "body",
        shape: Shape::WordOrArgument(BODY),
        example: r#"body = "order""#,
        meaning: r#"the argument that is the body, or `"none"`"#,
    },
    Spec {
        name: Name::Query,
        word: "query",
        shape: Shape::WordOrExcept(QUERY),
        example: r#"query = except("utm_source")"#,
        meaning: "what of the query a key is bound to: all of it as received, which is the default, its parameters in any order, nothing, or all but some parameters",
    },
    Spec {
        name: Name::Bind,
        word: "bind",
        shape: Shape::Headers,
        example: r#"bind = header("if-match")"#,
        meaning: "headers that a key is bound to, too",
    },
    Spec {
        name: Name::Record,
        word: "record",
        shape: Shape::WordOrCookies(RECORD),
        example: r#"record = cookie("_flash")"#,
        meaning: r#"`"head"` records a response without its body, such as one with a secret: a replay has status and headers; or cookies of the response that a replay has, too; others are never recorded"#,
    },
    Spec {
        name: Name::ResponseLimit,
        word: "response_limit",
        shape: Shape::Size,
        example: r#"response_limit = "4MiB""#,
        meaning: "the longest body of a response, in place of the application's limit; a longer one undoes everything",
    },
    Spec {
        name: Name::Operation,
        word: "operation",
        shape: Shape::Operation,
        example: r#"operation = "create_payment""#,
        meaning: "the operation's name, in place of method and route: renaming the route then keeps the keys, though a retry has to use the path of the first request",
    },
    Spec {
        name: Name::Store,
        word: "store",
        shape: Shape::TypeOrExtractor,
        example: "store = Billing",
        meaning: "the state that holds the engine, for an application with several databases of one kind; or an extractor that points to it, for a database of each tenant",
    },
    Spec {
        name: Name::State,
        word: "state",
        shape: Shape::Type,
        example: "state = App",
        meaning: "the type of the router's state; the compiler then says which part of it is missing (axum only)",
    },
    Spec {
        name: Name::Crate,
        word: "crate",
        shape: Shape::Path,
        example: "crate = ::my_crate::idem",
        meaning: "the path at which the adapter is re-exported",
    },
];

const REPLAY: &[Word] = &[
    Word::new("success", Choice::Replay(Replay::Success)),
    Word::new("final", Choice::Replay(Replay::Final)),
    Word::new("all", Choice::Replay(Replay::All)),
];
const KEY: &[Word] = &[
    Word::new("required", Choice::Key(Need::Required)),
    Word::new("optional", Choice::Key(Need::Optional)),
];
const ISOLATION: &[Word] = &[
    Word::new(
        "read committed",
        Choice::Isolation(Isolation::ReadCommitted),
    ),
    Word::new(
        "repeatable read",
        Choice::Isolation(Isolation::RepeatableRead),
    ),
    Word::new("serializable", Choice::Isolation(Isolation::Serializable)),
];
const FINGERPRINT: &[Word] = &[
    Word::new("body", Choice::Fingerprint(Fingerprint::Body)),
    Word::new("raw", Choice::Fingerprint(Fingerprint::Raw)),
    Word::new("none", Choice::Fingerprint(Fingerprint::None)),
];
const QUERY: &[Word] = &[
    Word::new("exact", Choice::Query(Query::Exact)),
    Word::new("sorted", Choice::Query(Query::Sorted)),
    Word::new("none", Choice::Query(Query::None)),
];
const RECORD: &[Word] = &[Word::new("head", Choice::Head)];
const BODY: &[Word] = &[Word::new("none", Choice::NoBody)];

impl Word {
    const fn new(text: &'static str, choice: Choice) -> Self {
        Self { text, choice }
    }
}

impl Spec {
    /// The option with a list of names.
    pub(crate) fn list_example(&self) -> &'static str {
        match self.shape {
            Shape::Key(_) => r#"key = header("webhook-id", "svix-id")"#,
            _ => self.example,
        }
    }

    /// The words that the option allows.
    pub(crate) fn words(&self) -> &'static [Word] {
        match self.shape {
            Shape::Word(words)
            | Shape::WordOrFunction(words)
            | Shape::WordOrArgument(words)
            | Shape::WordOrExcept(words)
            | Shape::WordOrCookies(words)
            | Shape::Key(words) => words,
            _ => &[],
        }
    }

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
            Shape::Word(words) => format!("{word} = {}", quoted(words)),
            Shape::WordOrFunction(words)
            | Shape::WordOrArgument(words)
            | Shape::WordOrExcept(words)
            | Shape::WordOrCookies(words) => {
                let (_, other) = spec.example.split_once(" = ").unwrap();
                format!("{word} = {} | {other}", quoted(words))
            }
            Shape::Key(words) => {
                let (_, other) = spec.example.split_once(" = ").unwrap();
                let header = r#"header("webhook-id", "svix-id")"#;
                format!("{word} = {} | {other} | {header}", quoted(words))
            }
            Shape::TypeOrExtractor => format!("{} | extractor(TenantEngine)", spec.example),
            _ => spec.example.to_owned(),
        }
    }

    fn quoted(words: &[Word]) -> String {
        words
            .iter()
            .map(|word| format!("{:?}", word.text))
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
            assert_eq!(
                format!("{:?}", spec.name).to_lowercase(),
                spec.word.replace('_', "")
            );
            assert!(spec.example.starts_with(spec.word));
        }
    }

    #[test]
    fn the_documentation_of_the_attribute_has_every_option() {
        let source = include_str!("docs/arguments.md");
        for spec in OPTIONS {
            let line = format!("- `{}`: {}\n", syntax(spec), spec.meaning);
            assert!(source.contains(&line), "add to docs/arguments.md:\n{line}");
        }
        let lines = source
            .lines()
            .filter(|line| line.starts_with("- `") && line.contains("`: "))
            .count();
        assert_eq!(
            lines,
            OPTIONS.len(),
            "docs/arguments.md describes an option that is not in the table"
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
