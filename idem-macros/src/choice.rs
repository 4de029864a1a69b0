//! The meanings of the strings that an option allows.

/// The meaning of one of these strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Replay(Replay),
    Key(Need),
    Isolation(Isolation),
    Fingerprint(Fingerprint),
    Query(Query),
    /// The handler has no body that a key is bound to.
    NoBody,
    /// A response is recorded without its body.
    Head,
}

/// Which responses are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replay {
    Success,
    #[default]
    Final,
    All,
}

/// Whether a request needs a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Need {
    #[default]
    Required,
    Optional,
}

/// How isolated the handler's transaction is. Without an option it is as isolated as the database makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// Which form of the body a key is bound to, where no function makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fingerprint {
    /// The deserialized body.
    Body,
    /// The body's bytes.
    Raw,
    /// Neither the body nor path and query.
    None,
}

/// What of the query a key is bound to, where no parameters are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    Exact,
    Sorted,
    None,
}
