//! The handler, once every rule has been checked.

use syn::{ExprPath, ItemFn, Pat, Path, Type};

use crate::options::Choice;
use crate::value::{Duration, FieldPath};

/// A handler, with everything that its expansion needs.
pub(crate) struct Handler {
    pub(crate) function: ItemFn,
    /// What each argument of the function is, in order.
    pub(crate) roles: Vec<Role>,
    /// The type behind the one `&mut`.
    pub(crate) transaction: Type,
    /// The type behind the `&`, if there is one.
    pub(crate) attempt: Option<Type>,
    /// The arguments that the framework extracts, in order.
    pub(crate) extractors: Vec<Extractor>,
    pub(crate) body: Body,
    /// None for a handler that is `unscoped`.
    pub(crate) scope: Option<Scope>,
    pub(crate) content: Content,
    pub(crate) policy: Policy,
    /// The state that holds the store, where it is named.
    pub(crate) store: Option<Type>,
    /// The adapter's path, where it is named.
    pub(crate) root: Option<Path>,
}

/// What an argument of the function is.
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

/// Whose keys these are.
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
    /// The one whose type says so.
    Probed,
}

/// What a key is bound to, beside path and query.
pub(crate) enum Content {
    /// The deserialized body.
    Body,
    /// The body's bytes.
    Raw,
    /// Nothing.
    None,
    /// What a function makes of the body.
    Function(ExprPath),
}

/// The constants of the handler; None stands for the library's default.
pub(crate) struct Policy {
    pub(crate) ttl: Duration,
    pub(crate) wait: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) replay: Option<&'static Choice>,
    pub(crate) key: Option<&'static Choice>,
    pub(crate) isolation: Option<&'static Choice>,
    pub(crate) operation: Option<String>,
}
