//! The handler after all rules have been checked.

use syn::{ExprPath, ItemFn, Pat, Path, Type};

use crate::choice::{Isolation, Need, Replay};
use crate::value::{Duration, FieldPath};

/// A handler, with everything that its expansion needs.
pub(crate) struct Handler {
    pub(crate) function: ItemFn,
    /// The role of each argument of the function, in order.
    pub(crate) roles: Vec<Role>,
    /// The type that is taken by `&mut`.
    pub(crate) transaction: Type,
    /// Whether the compiler has to be asked if that type has a lease, as its name doesn't say so.
    pub(crate) asks_for_lease: bool,
    /// The type that is taken by `&`, if there is one.
    pub(crate) attempt: Option<Type>,
    /// The arguments that the framework extracts, in order.
    pub(crate) extractors: Vec<Extractor>,
    pub(crate) body: Body,
    /// `None` for a handler that is `unscoped`.
    pub(crate) scope: Option<Source>,
    pub(crate) key: Key,
    pub(crate) content: Content,
    pub(crate) target: Target,
    /// The headers that are bound by name, in the order of their names.
    pub(crate) headers: Vec<String>,
    pub(crate) policy: Policy,
    pub(crate) store: Option<Store>,
    /// The type in `state = …`.
    pub(crate) state: Option<Type>,
    /// The path in `crate = …`.
    pub(crate) root: Option<Path>,
}

/// The role of an argument of the function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Transaction,
    Attempt,
    /// The extractor with this index.
    Extractor(usize),
}

/// An argument that the framework extracts.
#[derive(Clone)]
pub(crate) struct Extractor {
    pub(crate) pattern: Pat,
    pub(crate) ty: Type,
}

/// An argument or a field of one: the owner of the keys, or the key.
#[derive(Clone)]
pub(crate) struct Source {
    /// The extractor that binds the name.
    pub(crate) extractor: usize,
    pub(crate) path: FieldPath,
}

/// Where the key is, and whether a request can be without it.
pub(crate) struct Key {
    pub(crate) need: Need,
    pub(crate) place: KeyPlace,
}

pub(crate) enum KeyPlace {
    /// In the first of these headers that is sent. Without any, in the application's header.
    Headers(Vec<String>),
    Argument(Source),
}

impl Key {
    /// The argument that it is in, if it is in one.
    pub(crate) fn argument(&self) -> Option<&Source> {
        match &self.place {
            KeyPlace::Headers(_) => None,
            KeyPlace::Argument(source) => Some(source),
        }
    }
}

/// The engine that `store = …` names.
pub(crate) enum Store {
    /// In this part of the application's state.
    State(Type),
    /// This extractor points to it.
    Extractor(Type),
}

/// Which extractor reads the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is no extractor.
    None,
    /// The one with this index.
    Extractor(usize),
    /// The one whose type implements `RequestBody`.
    Probed,
}

/// The content that a key is bound to, besides path and query.
pub(crate) enum Content {
    /// The deserialized body.
    Body,
    /// The body's bytes.
    Raw,
    /// Nothing: `body = "none"`.
    None,
    /// Nothing, and nothing of the target either: `fingerprint = "none"`.
    Nothing,
    /// The value that a function makes of the body.
    Function(ExprPath),
}

impl Content {
    /// Whether no argument is bound, so that any of them can read the body.
    pub(crate) fn binds_no_argument(&self) -> bool {
        matches!(self, Self::Raw | Self::Nothing)
    }
}

/// What a key is bound to of method, path and query.
pub(crate) enum Target {
    Exact,
    SortedQuery,
    /// Without these parameters of the query.
    QueryExcept(Vec<String>),
    NoQuery,
    Nothing,
}

/// The constants of the handler. `None` stands for the library's default.
pub(crate) struct Policy {
    pub(crate) ttl: Duration,
    pub(crate) wait: Option<Duration>,
    pub(crate) respond_within: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) lease: Option<Duration>,
    pub(crate) replay: Option<Replay>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) operation: Option<String>,
    /// The most bytes of a response's body.
    pub(crate) response_limit: Option<u64>,
    pub(crate) record: Record,
}

/// What is recorded of a response.
pub(crate) enum Record {
    /// The body, and the headers that the library and the application name.
    Default,
    /// These cookies, too.
    WithCookies(Vec<String>),
    /// All but the body.
    Head,
}
