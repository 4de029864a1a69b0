//! The contract, rule by rule, for handlers with steps in Redis, on each framework.
//!
//! There is a file for each letter of the contract. These rules do not apply, as a handler has no transaction here:
//!
//! - The parts of K6, K8, C, E, L, M and P on undone writes: T6 and T14 stand in their places, and the tests look at
//!   the calls in place of rows.
//! - S6: services of one server have keys of their own by `RedisStore::with_prefix`, which S4 and S5 are tested with.
//! - R5: its layers and middlewares. They are around the engine.
//! - R9: there are no migrations.
//! - M4, second half: a run binds its key from its first claim, whatever its answer was (T8).
//! - C1, C2 and C4: the sentences on Galera and SQLite.
//! - E3: the server removes expired keys by itself, so a purge has nothing to delete.
//! - E4: attempts in flight are refused after an erasure (T10).
//! - F2, F5, and the rest of F: they are decided before the store. F is tested as far as a stored fingerprint goes.
//! - L2: the limits of multipart bodies. They are decided before the store.
//! - P5: tables, triggers and poolers. What is left are rights.
//! - `transaction-lost`, in P and V: no closure has a transaction that it could end.
//! - T2, and T6 and T13 as far as they are about `commit`: `Steps<Redis>` has no `commit`. T6 is about what calls did.
//! - O1, O8, O9, O14, O15, O18, H2 and N7: they are about a transaction. `tests/redis` has what stands in for O8 and O9.
//!
//! The rules for servers that fail, restart and fail over are tested in `tests/redis`.

#[allow(dead_code, reason = "`tests/redis` uses the rest")]
#[path = "../redis/place.rs"]
mod place;
#[allow(dead_code, reason = "`tests/redis` uses the rest")]
#[path = "../redis/server.rs"]
mod server;

mod provider;
mod service;
mod world;

/// K: the key.
mod key;

/// S: scope and operation.
mod identity;

/// R: first request and replay.
mod replay;

/// M and F: mismatch and fingerprint.
mod mismatch;

/// C: concurrency.
mod duplicates;

/// O and H: outcomes, and the handler's view of its attempt.
mod outcomes;

/// E: expiry.
mod expiry;

/// L: limits.
mod limits;

/// P: problem documents.
mod problems;

/// V: visibility.
mod visibility;

/// T: steps.
mod steps;

/// N: without HTTP.
mod once;
