//! Exactly-once handlers for axum.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod request;
mod response;
mod serve;

#[cfg(feature = "postgres")]
pub use idem_core::PostgresStore;
#[cfg(feature = "sqlite")]
pub use idem_core::SqliteStore;
pub use idem_core::canonical::EncodeError;
pub use idem_core::{
    Attempt, Config, ConfigError, Content, Decision, Engine, Found, IdempotencyKey, KeyError, Open,
    Operation, Problem, Provider, PurgeTask, Record, Scope, Settle, State, StoreError, Timestamp,
    Transaction, problem,
};
pub use idem_macros::idempotent_axum as idempotent;

pub use self::body::RequestBody;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
