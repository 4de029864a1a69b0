//! The engine behind `#[idempotent]`, without a web framework.
//!
//! Applications use [`idem-axum`](https://docs.rs/idem-axum) or
//! [`idem-actix`](https://docs.rs/idem-actix). This crate is for who writes an adapter for another
//! framework, or a [`Store`] for another database.
//!
//! One request goes from top to bottom of `engine.rs`: join the flight, claim, run, settle. What
//! it is made of:
//!
//! | module | what it holds |
//! |---|---|
//! | `key`, `scope`, `call` | who asks for what, and the [`Identity`] it is stored under |
//! | `fingerprint`, `canonical` | what was asked, as digests |
//! | `policy` | what the attribute promises |
//! | `flight` | who is in flight in this process |
//! | `cache`, `lately` | what this process remembers of records, so as to ask the database less |
//! | `record` | the stored row, and [`decide`] |
//! | `store` | the contract of a database, and the databases |
//! | `response`, `problem` | what is answered |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod adapter;
mod attempt;
mod cache;
mod call;
pub mod canonical;
mod config;
mod decision;
mod digest;
mod engine;
mod fingerprint;
mod identity;

mod key;
mod maintenance;
mod observe;
mod operation;
mod policy;
pub mod problem;
mod provider;
mod recent;
mod record;
mod response;
mod scope;
mod single_flight;
pub mod store;
mod transaction;

pub use self::attempt::Attempt;
pub use self::cache::ReplayCache;
pub use self::call::Call;
pub use self::config::{Config, ConfigError};
pub use self::decision::{Decision, decide};
pub use self::engine::{Engine, Lent, Ran, Turn};
pub use self::fingerprint::{Content, Fingerprint, RequestParts};
pub use self::identity::{Identity, ScopeDigest};
pub use self::key::{IdempotencyKey, KeyError};
pub use self::maintenance::PurgeTask;
pub use self::operation::Operation;
pub use self::policy::{
    DEFAULT_DEADLINE, DEFAULT_WAIT, Isolation, KeyRule, Policy, Replay, Settle,
};
pub use self::problem::Problem;
pub use self::provider::Provider;
pub use self::record::{Found, Record, State, Timestamp, Unreadable, Version};
pub use self::response::{EXPIRES, REPLAYED, Recorded, Response};
pub use self::scope::Scope;
#[cfg(feature = "mysql")]
pub use self::store::MySqlStore;
pub use self::store::Row;
#[cfg(feature = "sqlite")]
pub use self::store::SqliteStore;
#[cfg(feature = "postgres")]
pub use self::store::{PostgresStore, TimeLimit};
pub use self::store::{Store, StoreError};
pub use self::transaction::{Open, Transaction};
