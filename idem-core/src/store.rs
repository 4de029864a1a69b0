//! Where records live, in the database of the application's own tables: for authors of stores.
//!
//! Applications use one of the stores of this crate and need nothing else of this module. It has all
//! types that an author of a [`Store`] for another database needs.
//!
//! # How to write a store
//!
//! 1. **A table.** One row for each identity, with the columns of [`Row`]. The identity is the primary
//!    key: this unique index alone guarantees that two attempts never both commit. [`Row::decode`]
//!    reads a row and refuses what this release did not write. All times are the database's.
//! 2. **A claim.** [`Store::claim`] opens a transaction and takes the identity in it, usually with a
//!    lock that ends with the transaction. It then checks that the record is still the one in
//!    [`ClaimRequest::seen`]. The handler writes through [`Claim::connection`].
//! 3. **A settlement.** [`Store::settle`] keeps or undoes what the handler wrote, writes the record and
//!    commits. The record is an INSERT, or an UPDATE of exactly the [`Version`] that was seen. A handler
//!    may have ended the transaction itself, so the statement that writes the record has to fail outside
//!    of the claim's own transaction.
//! 4. **Reads and deletions.** [`Store::find`], [`Store::tally`], [`Store::purge_expired`] and
//!    [`Store::erase`] are one statement each. [`Store::forget`] also finds out whether an attempt holds
//!    the identity.
//! 5. **The checks.** With the feature `store-contract`, `store_contract!` runs the module `contract`
//!    against the store, with real concurrency.
//!
//! The engine decides what a record means and in which order things happen. A store only answers: a
//! record of another version than `seen` is [`Claimed::Changed`], in every state, and an identity that
//! another attempt holds is [`Claimed::InFlight`].
//!
//! # Example
//!
//! A store in memory. It is complete in the sense of the contract, but it lacks what makes a database
//! useful: nothing survives the process, there is one lock for everything, and a handler can't read
//! what is committed, nor see a constraint fail.
//!
//! ```
//! use std::collections::{HashMap, HashSet};
//! use std::sync::{Arc, Mutex, MutexGuard};
//! use std::time::{SystemTime, UNIX_EPOCH};
//!
//! use idem_core::store::{
//!     Claim, ClaimRequest, Claimed, Draft, Forgotten, Found, Identity, Opening, Operation, Purged, Row,
//!     ScopeDigest, SettleError, Settlement, State, Stats, Store, StoreError, Tally, Times, Timestamp,
//!     Version,
//! };
//!
//! /// The application's table, the table of the records, and the locks.
//! #[derive(Default)]
//! struct Tables {
//!     effects: Vec<String>,
//!     records: HashMap<[u8; 32], Row>,
//!     /// The endpoint of each record.
//!     operations: HashMap<[u8; 32], String>,
//!     held: HashSet<[u8; 32]>,
//! }
//!
//! /// What happens while the mutex is locked is one transaction.
//! #[derive(Clone, Default)]
//! struct MemoryStore(Arc<Mutex<Tables>>);
//!
//! /// The handler's writes are staged here until the attempt is settled.
//! struct MemoryClaim {
//!     store: MemoryStore,
//!     identity: Option<[u8; 32]>,
//!     staged: Vec<String>,
//! }
//!
//! impl Claim for MemoryClaim {
//!     type Connection = Vec<String>;
//!
//!     fn connection(&mut self) -> &mut Vec<String> {
//!         &mut self.staged
//!     }
//! }
//!
//! /// A dropped claim keeps nothing and frees its identity.
//! impl Drop for MemoryClaim {
//!     fn drop(&mut self) {
//!         if let Some(identity) = &self.identity {
//!             self.store.tables().held.remove(identity);
//!         }
//!     }
//! }
//!
//! impl MemoryStore {
//!     fn tables(&self) -> MutexGuard<'_, Tables> {
//!         self.0.lock().expect("no other thread panicked")
//!     }
//! }
//!
//! impl Tables {
//!     fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
//!         let row = self.records.get(identity.as_bytes()).cloned();
//!         // A row that can't be decoded is an error, and never a missing record.
//!         let record = row.map(|row| row.decode(identity)).transpose()?;
//!         Ok(record.map(|record| Found { record, now: now() }))
//!     }
//!
//!     fn version(&self, identity: &Identity) -> Option<Version> {
//!         let row = self.records.get(identity.as_bytes())?;
//!         let settled_at = Timestamp(row.settled_at);
//!         Some(Version { attempts: row.attempts, settled_at })
//!     }
//!
//!     fn write(&mut self, draft: Draft<'_>) -> Result<Times, SettleError> {
//!         // Compare and set: only the version that the claim saw is replaced.
//!         if self.version(draft.identity) != draft.replaces {
//!             return Err(SettleError::Superseded);
//!         }
//!         let settled_at = now();
//!         let expires_at = Timestamp(settled_at.0 + draft.ttl.as_micros() as i64);
//!         let row = Row {
//!             state: draft.state.code(),
//!             attempts: draft.attempts,
//!             status: draft.status.as_u16() as i16,
//!             fingerprint: draft.fingerprint.to_bytes().to_vec(),
//!             response: draft.response.map(<[u8]>::to_vec),
//!             settled_at: settled_at.0,
//!             expires_at: expires_at.0,
//!         };
//!         let identity = *draft.identity.as_bytes();
//!         self.operations.insert(identity, draft.operation.to_string());
//!         self.records.insert(identity, row);
//!         Ok(Times { settled_at, expires_at })
//!     }
//! }
//!
//! /// The one clock that decides expiry.
//! fn now() -> Timestamp {
//!     let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
//!     Timestamp(elapsed.expect("it is after 1970").as_micros() as i64)
//! }
//!
//! impl Store for MemoryStore {
//!     type Connection = Vec<String>;
//!     type Claim = MemoryClaim;
//!
//!     async fn begin(&self, _: Opening) -> Result<MemoryClaim, StoreError> {
//!         Ok(MemoryClaim { store: self.clone(), identity: None, staged: Vec::new() })
//!     }
//!
//!     async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<MemoryClaim>, StoreError> {
//!         let identity = *request.identity.as_bytes();
//!         let mut tables = self.tables();
//!         let found = tables.find(request.identity)?;
//!         if found.as_ref().map(|found| found.record.version()) != request.seen {
//!             return Ok(Claimed::Changed(found));
//!         }
//!         if !tables.held.insert(identity) {
//!             return Ok(Claimed::InFlight);
//!         }
//!         let (store, identity) = (self.clone(), Some(identity));
//!         Ok(Claimed::Won(MemoryClaim { store, identity, staged: Vec::new() }))
//!     }
//!
//!     async fn settle(
//!         &self,
//!         mut claim: MemoryClaim,
//!         settlement: Settlement<'_>,
//!     ) -> Result<(), SettleError> {
//!         let mut tables = self.tables();
//!         if let Some(draft) = settlement.record {
//!             let times = tables.write(draft)?;
//!             settlement.written.set(times).ok();
//!         }
//!         if settlement.keep_writes {
//!             tables.effects.append(&mut claim.staged);
//!         }
//!         // The claim's drop locks the tables again.
//!         drop(tables);
//!         Ok(())
//!     }
//!
//!     async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
//!         self.tables().find(identity)
//!     }
//!
//!     async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
//!         let mut tables = self.tables();
//!         let Tables { records, held, .. } = &mut *tables;
//!         let now = now().0;
//!         let is_purged = |(identity, row): &(&[u8; 32], &mut Row)| {
//!             row.expires_at <= now && !held.contains(*identity)
//!         };
//!         let purged = records.iter_mut().filter(is_purged).map(|(identity, _)| *identity);
//!         let purged: Vec<_> = purged.take(limit as usize).collect();
//!         records.retain(|identity, _| !purged.contains(identity));
//!         Ok(Purged { records: purged.len() as u64, ..Purged::default() })
//!     }
//!
//!     async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
//!         let scope = scope.first()..=scope.last();
//!         let mut tables = self.tables();
//!         let before = tables.records.len();
//!         tables.records.retain(|identity, _| !scope.contains(identity));
//!         Ok((before - tables.records.len()) as u64)
//!     }
//!
//!     async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
//!         let mut tables = self.tables();
//!         if tables.held.contains(identity.as_bytes()) {
//!             return Ok(Forgotten::InFlight);
//!         }
//!         Ok(match tables.records.remove(identity.as_bytes()) {
//!             Some(_) => Forgotten::Deleted,
//!             None => Forgotten::Missing,
//!         })
//!     }
//!
//!     async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
//!         let range = scope.map(|scope| scope.first()..=scope.last());
//!         let (tables, now) = (self.tables(), now());
//!         let mut tallies: HashMap<(&str, i16), Tally> = HashMap::new();
//!         for (identity, row) in &tables.records {
//!             if range.as_ref().is_some_and(|range| !range.contains(identity)) {
//!                 continue;
//!             }
//!             let operation = tables.operations[identity].as_str();
//!             let (settled, expires) = (Timestamp(row.settled_at), Timestamp(row.expires_at));
//!             let tally = tallies.entry((operation, row.state)).or_insert_with(|| Tally {
//!                 operation: Operation::named(operation),
//!                 state: State::from_code(row.state),
//!                 records: 0,
//!                 expired: 0,
//!                 attempts: 0,
//!                 response_bytes: 0,
//!                 oldest_settled: settled,
//!                 newest_settled: settled,
//!                 oldest_expired: None,
//!             });
//!             tally.records += 1;
//!             tally.attempts += row.attempts as u64;
//!             tally.response_bytes += row.response.as_ref().map_or(0, Vec::len) as u64;
//!             tally.oldest_settled = tally.oldest_settled.min(settled);
//!             tally.newest_settled = tally.newest_settled.max(settled);
//!             if expires <= now {
//!                 tally.expired += 1;
//!                 let oldest = tally.oldest_expired.map_or(expires, |oldest| oldest.min(expires));
//!                 tally.oldest_expired = Some(oldest);
//!             }
//!         }
//!         Ok(Stats { tallies: tallies.into_values().collect(), now })
//!     }
//! }
//!
//! # #[cfg(feature = "store-contract")]
//! # #[tokio::main]
//! # async fn main() {
//! use idem_core::store::contract::{self, Subject};
//!
//! // The contract's checks need the application's table too.
//! impl Subject for MemoryStore {
//!     type Store = Self;
//!
//!     fn store(&self) -> &Self {
//!         self
//!     }
//!
//!     fn scope(&self) -> String {
//!         "acme".to_owned()
//!     }
//!
//!     async fn write(&self, staged: &mut Vec<String>, effect: &str) {
//!         staged.push(effect.to_owned());
//!     }
//!
//!     async fn count(&self, effect: &str) -> u64 {
//!         let tables = self.tables();
//!         tables.effects.iter().filter(|written| *written == effect).count() as u64
//!     }
//! }
//!
//! // In a test module of its own: `idem_core::store_contract!(MemoryStore::default());`
//! contract::a_success_keeps_everything(&MemoryStore::default()).await;
//! contract::simultaneous_claims_have_one_effect(&MemoryStore::default()).await;
//! # contract::a_failure_keeps_the_record_alone(&MemoryStore::default()).await;
//! # contract::a_dropped_claim_keeps_nothing(&MemoryStore::default()).await;
//! # contract::a_held_identity_is_not_won_twice(&MemoryStore::default()).await;
//! # contract::a_record_is_shown_in_place_of_a_claim(&MemoryStore::default()).await;
//! # contract::only_the_version_that_was_seen_is_replaced(&MemoryStore::default()).await;
//! # contract::identities_do_not_hold_each_other_up(&MemoryStore::default()).await;
//! # contract::a_plain_transaction_is_kept_or_undone(&MemoryStore::default()).await;
//! # contract::a_claim_without_a_record_leaves_the_identity_as_it_was(&MemoryStore::default()).await;
//! # contract::times_are_read_when_the_record_is_written(&MemoryStore::default()).await;
//! # contract::a_purge_takes_expired_records_only(&MemoryStore::default()).await;
//! # contract::an_erasure_takes_one_scope_only(&MemoryStore::default()).await;
//! # contract::a_forgotten_record_is_gone_and_a_held_one_stays(&MemoryStore::default()).await;
//! # contract::a_tally_counts_records_by_operation_and_state(&MemoryStore::default()).await;
//! # contract::an_aborted_claim_leaves_nothing_behind(&MemoryStore::default()).await;
//! # }
//! # #[cfg(not(feature = "store-contract"))]
//! # fn main() {}
//! ```

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;

pub use crate::fingerprint::Fingerprint;
pub use crate::identity::{Identity, ScopeDigest};
pub use crate::operation::Operation;
pub use crate::policy::Isolation;
use crate::problem::Problem;
pub use crate::record::{Found, Record, State, Timestamp, Unreadable, Version};
pub use crate::response::Recorded;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use crate::steps::SqlRuns;
pub use crate::steps::StepKind;

#[macro_use]
mod row;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
#[macro_use]
pub(crate) mod run_sql;
pub(crate) mod runs;
#[macro_use]
mod tally;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod connection;
#[cfg(feature = "store-contract")]
pub mod contract;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod erasure;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod name;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod place;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod rehearsal;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "mysql")]
pub use self::mysql::{MySqlClaim, MySqlStore};
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresClaim, PostgresStore, TimeLimit};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteClaim, SqliteStore};

pub use self::row::Row;
pub use self::runs::{Holder, Lease, Run, RunStore, StepRow};
pub use self::tally::{Stats, Tally};

/// Any error of a driver.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A database that keeps records in the transaction of the handler's own writes.
///
/// An implementation is SQL and row mapping only: the engine decides what a record means, and in
/// which order things happen. The [module](self) shows how to write one. With the feature
/// `store-contract`, the macro `store_contract!` checks this contract with real concurrency.
///
/// # Contract
///
/// - The unique index over the identity guarantees at most one effect. Locks only make the answer "in
///   flight" fast: with a lock function that always returns true there must still be at most one effect.
/// - A store never decides from a read that another writer may have overtaken.
/// - A connection goes back to its pool only after the server confirmed the end of its
///   transaction. In all other cases, also when a future is dropped, the connection is closed.
/// - Times are the database's, read when the statement runs and not when the transaction began.
/// - A record that can't be read is [`StoreError::Unreadable`], never a missing record and never an
///   error that a retry could mend.
pub trait Store: Send + Sync + 'static {
    #[doc(hidden)]
    const MODE: Mode = Mode::Transaction;

    /// The connection that handlers write through.
    type Connection: Send;

    /// An open transaction in which this process has won the right to be the attempt.
    type Claim: Claim<Connection = Self::Connection>;

    /// Opens a transaction for a request without a key. The transaction is settled without a record.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no transaction.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves no transaction open.
    fn begin(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<Self::Claim, StoreError>> + Send;

    /// Opens a transaction and claims `request.identity` in it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store can't tell who has the identity; no transaction is left then.
    ///
    /// # Atomicity
    ///
    /// Two claims of one identity that are both won and both settled do not both commit. A claim
    /// is won only if, while it is held, the record has the version [`ClaimRequest::seen`]; for
    /// `None` there must be no record. If the record has another version the answer is
    /// [`Claimed::Changed`], also while another attempt holds the identity: a settled key is never
    /// answered as in flight. Except for [`Claimed::Won`], the transaction has ended.
    ///
    /// # Cancellation
    ///
    /// Dropping the future, or the claim, undoes everything and frees the identity as soon as the
    /// server notices.
    fn claim(
        &self,
        request: ClaimRequest<'_>,
    ) -> impl Future<Output = Result<Claimed<Self::Claim>, StoreError>> + Send;

    /// Ends the transaction: keeps or undoes the handler's writes, writes the record, commits.
    ///
    /// # Errors
    ///
    /// [`SettleError`], which says what is known of the effect.
    ///
    /// # Atomicity
    ///
    /// The record is an INSERT, or an UPDATE of exactly the version [`Draft::replaces`]. If neither
    /// is possible, nothing is kept and the error is [`SettleError::Superseded`]. `Ok` means two
    /// things: the statement that wrote the record succeeded in the claim's own transaction, after
    /// all statements of the handler, and the commit was confirmed. The store checks on every
    /// outcome whether the handler has broken the transaction, also when everything is undone and
    /// also without a record.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves either everything or nothing.
    fn settle(
        &self,
        claim: Self::Claim,
        settlement: Settlement<'_>,
    ) -> impl Future<Output = Result<(), SettleError>> + Send;

    /// Reads a record, expired or not, without claiming it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer or the record can't be read.
    ///
    /// # Atomicity
    ///
    /// Reads only what is committed. The answer may be overtaken at once.
    ///
    /// # Cancellation
    ///
    /// Safe.
    fn find(
        &self,
        identity: &Identity,
    ) -> impl Future<Output = Result<Option<Found>, StoreError>> + Send;

    /// Deletes at most `limit` expired records, the oldest first. Skips locked records. If there is none, this
    /// is one read of an index.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    ///
    /// # Atomicity
    ///
    /// One statement. Never touches a record that has not expired. Records that can't be read are
    /// deleted like others.
    ///
    /// # Cancellation
    ///
    /// Safe: the statement happens or doesn't.
    fn purge_expired(&self, limit: u32) -> impl Future<Output = Result<Purged, StoreError>> + Send;

    /// Deletes all settled records of a scope, also those that can't be read, and returns their
    /// number.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer. [`StoreError::Incomplete`] if records are left,
    /// as other transactions kept them locked.
    ///
    /// # Atomicity
    ///
    /// `Ok` means that no record is left that was settled before the call. An attempt in flight is not
    /// disturbed and writes its record afterwards.
    ///
    /// # Cancellation
    ///
    /// Safe: a record is deleted or it isn't.
    fn erase(&self, scope: &ScopeDigest) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Deletes the record of one identity, expired or not, also one that can't be read.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    ///
    /// # Atomicity
    ///
    /// Deletes only the record that was there when the call began, and none that an attempt is about to
    /// replace. An attempt that is in flight at that time is not disturbed, and its record stays: the
    /// answer is [`Forgotten::InFlight`]. [`Forgotten::Missing`] means that neither a record nor an
    /// attempt was there.
    ///
    /// # Cancellation
    ///
    /// Safe: the record is deleted or it isn't.
    fn forget(
        &self,
        identity: &Identity,
    ) -> impl Future<Output = Result<Forgotten, StoreError>> + Send;

    /// Counts the records of a scope, or all of the table: one [`Tally`] for each operation and state, in
    /// any order. Records that can't be read are counted like others.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    ///
    /// # Atomicity
    ///
    /// One statement that takes no locks and reads only what is committed.
    ///
    /// # Cancellation
    ///
    /// Safe.
    fn tally(
        &self,
        scope: Option<&ScopeDigest>,
    ) -> impl Future<Output = Result<Stats, StoreError>> + Send;
}

/// What [`forget`](Store::forget) found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// The record is deleted. The next request with this key runs.
    Deleted,
    /// There was no record, and no attempt in flight.
    Missing,
    /// An attempt held the key, so nothing was deleted. What the attempt records stays.
    InFlight,
}

/// A batch of a purge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// The number of records that were deleted.
    pub records: u64,
    /// How long no other transaction could write, because this one did. Zero for a database whose
    /// transactions write side by side. The engine chooses the size of the next batch by it.
    pub held: Duration,
}

/// What stays of an attempt that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Mode {
    /// Nothing: it is one transaction.
    Transaction,
    /// The steps that were committed.
    Steps,
}

/// An open transaction. The handler borrows its connection. Dropping the claim undoes everything.
pub trait Claim: Send + 'static {
    /// The connection that handlers write through.
    type Connection;

    /// The connection, inside the transaction.
    fn connection(&mut self) -> &mut Self::Connection;

    /// The problem that the request is answered with, in place of the handler's response: of a claim that
    /// has failed while the handler ran.
    fn problem(&self) -> Option<Problem> {
        None
    }
}

/// How a transaction is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// The isolation that the endpoint asks for; `None` leaves the database's default. A database
    /// without this level uses a stricter one.
    pub isolation: Option<Isolation>,
    /// How long the attempt may take. If possible, the store has the server end an attempt that takes
    /// much longer, since its process may be frozen.
    pub deadline: Duration,
    /// How long a run is held without a sign of life; `None` for a handler in one transaction.
    pub lease: Option<Duration>,
}

/// What to claim.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    /// The record's primary key.
    pub identity: &'a Identity,
    /// The endpoint, stored for operators.
    pub operation: &'a Operation,
    /// The request that the key is bound to.
    pub fingerprint: &'a Fingerprint,
    /// The attempt's number, if the claim is won.
    pub attempt: i32,
    /// How long the endpoint's records answer.
    pub ttl: Duration,
    /// How to open the transaction.
    pub opening: Opening,
    /// The version of the record that was found and may be replaced, as it is expired or retriable.
    pub seen: Option<Version>,
    /// Whether the identity is likely to be in flight or settled, such as for a retry. A store whose
    /// failing claims are expensive reads the record first then.
    pub likely_taken: bool,
}

/// How a claim went.
#[derive(Debug)]
pub enum Claimed<C> {
    /// This is the attempt.
    Won(C),
    /// Another attempt holds the identity.
    InFlight,
    /// The record is not the version that was seen, but this one.
    Changed(Option<Found>),
}

/// How a transaction is to be ended.
#[derive(Debug, Clone, Copy)]
pub struct Settlement<'a> {
    /// Whether the handler's writes are kept.
    pub keep_writes: bool,
    /// The record to write. `None` for a request without a key, and for a failure that leaves no trace:
    /// then a record that the claim replaces stays as it was.
    pub record: Option<Draft<'a>>,
    /// The store sets the record's times here after the record is written and before the commit. So
    /// the times are known even if the reply to the commit is lost.
    pub written: &'a OnceLock<Times>,
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The primary key.
    pub identity: &'a Identity,
    /// The endpoint, stored for operators.
    pub operation: &'a Operation,
    /// How the attempt ended.
    pub state: State,
    /// The attempt's number.
    pub attempts: i32,
    /// The status of the attempt's response.
    pub status: StatusCode,
    /// The request that the key is bound to.
    pub fingerprint: &'a Fingerprint,
    /// [`Recorded::encode`], or the same in a sealed form, if the response is to be replayed.
    pub response: Option<&'a [u8]>,
    /// How long the record answers, from now.
    pub ttl: Duration,
    /// The version that the record replaces; `None` if there must be no record.
    pub replaces: Option<Version>,
}

/// When a record was written, and until when it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The settling.
    pub settled_at: Timestamp,
    /// The expiry.
    pub expires_at: Timestamp,
}

/// Why a store could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database can't be reached, is overloaded, or has no free connection.
    #[error("the database is unavailable")]
    Unavailable(#[source] BoxError),
    /// The database refused because of another transaction; the same may succeed at once.
    #[error("the database refused because of a concurrent transaction")]
    Conflict(#[source] BoxError),
    /// There is a record that can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The tables or functions are missing or of another version.
    #[error("the database is not set up for this release, or not for this role; run `migrate()`")]
    Misconfigured(#[source] BoxError),
    /// An erasure is incomplete: other transactions kept records locked, or a trigger keeps records.
    /// Erase again later.
    #[error("the erasure is incomplete: {erased} records are erased, {left} are left")]
    Incomplete {
        /// The number of records that were erased.
        erased: u64,
        /// The number of records that are left and were settled before the erasure.
        left: u64,
    },
}

/// Why a settlement is not confirmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// A statement of the handler failed, and the transaction with it: nothing is kept.
    #[error("the transaction was aborted by an SQL error that the handler swallowed")]
    Aborted(#[source] BoxError),
    /// The handler ended the transaction itself: its writes may have been committed.
    #[error("the handler ended the transaction itself; its effect may stand")]
    Ended,
    /// Another attempt has settled the identity, or another transaction was in the way: nothing is
    /// kept.
    #[error("another attempt has settled the identity, or another transaction was in the way")]
    Superseded,
    /// The database refused: nothing is kept.
    #[error("the database refused to commit")]
    Refused(#[source] BoxError),
    /// The database refuses the record, and would refuse each one, such as for a missing right: nothing
    /// is kept.
    #[error("the database refuses every record, or those of this role; nothing is kept")]
    Misconfigured(#[source] BoxError),
    /// The answer to COMMIT was lost: everything is kept, or nothing.
    #[error("the outcome of the commit is unknown")]
    Unknown(#[source] BoxError),
}
