//! The handler after all rules have been checked.

use syn::{ExprPath, ItemFn, Pat, Path, Type};

use crate::choice::{Isolation, KeyRule, Replay};
use crate::value::{Duration, FieldPath};

/// A handler, with everything that its expansion needs.
pub(crate) struct Handler {
    pub(crate) function: ItemFn,
    /// The role of each argument of the function, in order.
    pub(crate) roles: Vec<Role>,
    /// The type that is taken by `&mut`.
    pub(crate) transaction: Type,
    /// The type that is taken by `&`, if there is one.
    pub(crate) attempt: Option<Type>,
    /// The arguments that the framework extracts, in order.
    pub(crate) extractors: Vec<Extractor>,
    pub(crate) body: Body,
    /// `None` for a handler that is `unscoped`.
    pub(crate) scope: Option<Scope>,
    pub(crate) content: Content,
    pub(crate) policy: Policy,
    /// The type in `store = …`.
    pub(crate) store: Option<Type>,
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

/// The owner of the keys.
pub(crate) struct Scope {
    /// The extractor that binds the name.
    pub(crate) extractor: usize,
    pub(crate) path: FieldPath,
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
    /// The value that a function makes of the body.
    Function(ExprPath),
}

/// The constants of the handler. `None` stands for the library's default.
pub(crate) struct Policy {
    pub(crate) ttl: Duration,
    pub(crate) wait: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) replay: Option<Replay>,
    pub(crate) key: Option<KeyRule>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) operation: Option<String>,
}
