//! The engine of `#[idempotent]`, without a web framework.
//!
//! Applications use [`idem-axum`](https://docs.rs/idem-axum) or
//! [`idem-actix`](https://docs.rs/idem-actix). This crate is for authors of adapters and stores.
//!
//! # Three doors
//!
//! - The names in this root are for applications. The adapters re-export all of them.
//! - [`store`] is for authors of a store for another database.
//! - A hidden module serves the adapters. It is exempt from semantic versioning.
//!
//! The contract, the operator's guide and other long documents are part of this documentation, in the
//! module [`_documentation`].
//!
//! One request goes from top to bottom of `engine/`: admission, claim, handler, settlement. The
//! other modules:
//!
//! | module | content |
//! |---|---|
//! | `key`, `scope`, `operation`, `identity` | whose key for which endpoint, and the digest of all three |
//! | `fingerprint`, `canonical` | digests of the request |
//! | `policy` | the promises of the attribute |
//! | `record`, `decision` | the stored row, and what it means for a request |
//! | `single_flight` | the owner of an identity in this process, and its duplicates |
//! | `cache`, `recent` | records and identities that this process remembers, so as to ask the database less |
//! | `throttle` | rate limits of keys and of scopes |
//! | [`once`] | the engine without HTTP |
//! | `response`, `problem` | the recorded answer; the library's own errors |
//! | `maintenance`, `observe`, `meter`, `metrics` | the operator's side |
#![cfg_attr(docsrs, feature(doc_cfg))]

// The documents' examples use the adapters, so they are not doctests of this crate.
#[cfg(not(doctest))]
pub mod _documentation;
#[doc(hidden)]
pub mod adapter;
mod attempt;
mod cache;
mod canonical;
mod config;
mod decision;
mod digest;
mod engine;
mod fingerprint;
mod identity;
mod key;
mod maintenance;
#[cfg(feature = "metrics")]
mod meter;
#[cfg(not(feature = "metrics"))]
#[path = "meter/off.rs"]
mod meter;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "multipart")]
mod multipart;
mod observe;
pub mod once;
#[cfg(feature = "utoipa")]
mod openapi;
mod operation;
mod policy;
mod preference;
pub mod problem;
mod provider;
mod recent;
mod record;
mod response;
mod scope;
mod seal;
mod single_flight;
mod steps;
pub mod store;
#[cfg(feature = "rate-limit")]
mod throttle;
#[cfg(not(feature = "rate-limit"))]
#[path = "throttle/off.rs"]
mod throttle;
mod transaction;

pub use self::attempt::Attempt;
pub use self::cache::ReplayCache;
pub use self::canonical::EncodeError;
pub use self::config::{Config, ConfigError};
pub use self::engine::Engine;
pub use self::fingerprint::Content;
pub use self::key::{IdempotencyKey, KeyError, KeyRule};
pub use self::maintenance::{Drain, NotDrained, PurgeTask, drain_all};
#[cfg(feature = "multipart")]
pub use self::multipart::{MultipartLimits, Part, PartHead, Spooled};
pub use self::operation::Operation;
pub use self::policy::Settle;
pub use self::problem::{Problem, ProblemDocument, ProblemForm};
pub use self::provider::Provider;
pub use self::record::{Found, Record, State, Timestamp};
pub use self::response::{Marker, Replayed};
pub use self::scope::Scope;
#[cfg(feature = "seal")]
pub use self::seal::Seal;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use self::steps::SqlStepConnection;
pub use self::steps::{
    RecordedStep, Recovered, Resolution, Resolved, StepClaim, StepConnection, StepError, StepKey,
    StepName, StepStore, Steps, UnfinishedRun,
};
#[cfg(feature = "mysql")]
pub use self::store::MySqlStore;
#[cfg(feature = "sqlite")]
pub use self::store::SqliteStore;
pub use self::store::{Forgotten, Stats, Store, StoreError, Tally};
#[cfg(feature = "postgres")]
pub use self::store::{PostgresStore, TimeLimit};
#[cfg(feature = "rate-limit")]
pub use self::throttle::RateLimit;
pub use self::transaction::{
    Borrowed, HandlerEnded, Locked, Open, Shared, SharedOwner, Transaction,
};
