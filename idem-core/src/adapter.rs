//! For idem's own adapters of web frameworks: from a request's head to the attempt's answer.
//!
//! Hidden, and exempt from semantic versioning.
#![allow(missing_docs)]

mod before_handler;
mod detach;
mod engine_source;
pub mod expansion;
mod head;
mod key_probe;
mod key_source;
pub mod message;
pub mod outbox;
mod outcome;
mod payload;
mod return_probe;
mod scope_probe;

/// For the tests and benchmarks of the encoding.
pub mod canonical {
    pub use crate::canonical::*;
}

pub use crate::engine::{ClaimGuard, ClaimSlot, Patience, Prepared, Turn, answer_within};
pub use crate::fingerprint::{Binding, BoundTarget, Fingerprint, RequestParts};
#[cfg(feature = "multipart")]
pub use crate::multipart::{Meter, Spooling, content_of_parts};
pub use crate::policy::{
    DEFAULT_DEADLINE, DEFAULT_WAIT, Isolation, Misuse, Policy, Replay, Returned,
};
pub use crate::response::{EXPIRES, REPLAYED, Response};

pub use self::before_handler::{BeforeHandler, HookFuture};
pub use self::detach::DetachOnDrop;
pub use self::engine_source::{
    ByExtractor, InArc, Named, Of, PointsToEngine, Source, StoreOf, address,
};
pub use self::head::{Admissible, RequestHead, admit, misconfigured, misused};
pub use self::key_probe::{KeyByDeref, KeyByDisplay, KeyProbe, PointsToKey};
pub use self::key_source::{
    HeaderName, HeaderNames, InArgument, InHeader, KeyArgument, KeySource, Name,
};
pub use self::outcome::{HandlerOutcome, is_endless};
pub use self::payload::{Payload, Readable};
pub use self::return_probe::{AnyReturned, ReturnProbe};
pub use self::scope_probe::{NoScope, ScopeByDeref, ScopeProbe};
