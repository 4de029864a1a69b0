//! Where records live, in the database of the application's own tables.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;

use crate::operation::Operation;
use crate::record::{Found, State, Timestamp};

#[macro_use]
mod row;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod connection;
#[cfg(feature = "store-contract")]
pub mod contract;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "mysql")]
pub use self::mysql::{MySqlClaim, MySqlStore};
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresClaim, PostgresStore, TimeLimit};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteClaim, SqliteStore};

pub use self::row::Row;
pub use crate::fingerprint::Fingerprint;
pub use crate::identity::{Identity, ScopeDigest};
pub use crate::policy::Isolation;
pub use crate::record::{Unreadable, Version};
pub use crate::response::Recorded;

/// Any error of a driver.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A database that keeps records in the transaction of the handler's own writes.
///
/// An implementation is SQL and row mapping only: the order of things is the engine's, and what a
/// record means is decided by [`decide`](crate::decide). With the feature `store-contract`, the
/// macro `store_contract!` checks what is promised here with real concurrency.
///
/// # Contract
///
/// - The unique index over the identity is the truth. Locks only make the answer "in flight" fast:
///   with a lock function that always says yes there must still be at most one effect.
/// - No decision is made from a read that another writer may have overtaken.
/// - A connection goes back to its pool only after the server confirmed the end of its
///   transaction. On any other exit, a dropped future included, it is closed.
/// - Times are the database's, read when the statement runs and not when the transaction began.
pub trait Store: Send + Sync + 'static {
    /// What handlers write through.
    type Connection: Send;

    /// An open transaction in which this process has won the right to be the attempt.
    type Claim: Claim<Connection = Self::Connection>;

    /// Opens a transaction for a request without a key. It is settled without a record.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no transaction.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves no transaction behind.
    fn begin(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<Self::Claim, StoreError>> + Send;

    /// Opens a transaction and claims `request.identity` in it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if nothing could be found out; no transaction is left then.
    ///
    /// # Atomicity
    ///
    /// Two claims of one identity that are both won and both settled do not both commit. A claim
    /// is won only if, while it is held, the record is the one that was seen: none for `None`, else
    /// the writing that [`ClaimRequest::seen`] names. Otherwise the answer is
    /// [`Claimed::Changed`], and the transaction has ended.
    ///
    /// # Cancellation
    ///
    /// Dropping the future, or the claim, undoes everything and frees the identity as soon as the
    /// server notices.
    fn claim(
        &self,
        request: ClaimRequest<'_>,
    ) -> impl Future<Output = Result<Claimed<Self::Claim>, StoreError>> + Send;

    /// Ends the transaction: keeps or undoes what the handler wrote, writes the record, commits.
    ///
    /// # Errors
    ///
    /// [`SettleError`], which says what is known of the effect.
    ///
    /// # Atomicity
    ///
    /// The record is an INSERT, or an UPDATE of exactly the writing that [`Draft::replaces`]
    /// names; where that is not possible nothing is kept and the error is
    /// [`SettleError::Superseded`]. `Ok` means that the statement which wrote the record succeeded
    /// in the claim's own transaction, after everything the handler did in it, and that the commit
    /// was confirmed. Whether the handler has broken the transaction is checked on every outcome,
    /// also when everything is undone and also without a record.
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

    /// Deletes at most `limit` expired records, and says how many; skips what is locked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    ///
    /// # Atomicity
    ///
    /// One statement. Never touches a record that has not expired.
    ///
    /// # Cancellation
    ///
    /// Safe: the statement happens or doesn't.
    fn purge_expired(&self, limit: u32) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Deletes all settled records of a scope, and says how many.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    ///
    /// # Atomicity
    ///
    /// One statement. An attempt in flight is not disturbed and writes its record afterwards.
    ///
    /// # Cancellation
    ///
    /// Safe: the statement happens or doesn't.
    fn erase(&self, scope: &ScopeDigest) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// An open transaction that is lent to the handler. Dropping it undoes everything.
pub trait Claim: Send + 'static {
    /// What handlers write through.
    type Connection;

    /// The connection, inside the transaction.
    fn connection(&mut self) -> &mut Self::Connection;
}

/// How a transaction is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// The isolation that the endpoint asks for; `None` leaves the database's default. A database
    /// that knows a stricter one only gives that.
    pub isolation: Option<Isolation>,
    /// How long the attempt may take. A store that can has the server end an attempt that takes
    /// much longer, since its process may be frozen.
    pub deadline: Duration,
}

/// What to claim.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    /// The record's primary key.
    pub identity: &'a Identity,
    /// For operators.
    pub operation: &'a Operation,
    /// What the key is bound to.
    pub fingerprint: &'a Fingerprint,
    /// The attempt's number, if the claim is won.
    pub attempt: i32,
    /// For how long the endpoint's records answer.
    pub ttl: Duration,
    /// How to open the transaction.
    pub opening: Opening,
    /// The record that was found and may be replaced: expired, or retriable.
    pub seen: Option<Version>,
    /// Whether someone is likely to hold or to have settled the identity: it is in flight, or the
    /// request is likely a retry. A store for which a failing claim is dear looks first then.
    pub likely_taken: bool,
}

/// How a claim went.
#[derive(Debug)]
pub enum Claimed<C> {
    /// This is the attempt.
    Won(C),
    /// Another attempt holds the identity.
    InFlight,
    /// The record is not the one that was seen, but this.
    Changed(Option<Found>),
}

/// How a transaction is to be ended.
#[derive(Debug, Clone, Copy)]
pub struct Settlement<'a> {
    /// Whether what the handler wrote is kept.
    pub keep_writes: bool,
    /// The record to write; `None` for a request without a key.
    pub record: Option<Draft<'a>>,
    /// Where the store puts the record's times once it is written and before it is committed: so
    /// they are known also if the answer to the commit is not.
    pub written: &'a OnceLock<Times>,
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The primary key.
    pub identity: &'a Identity,
    /// For operators.
    pub operation: &'a Operation,
    /// How the attempt ended.
    pub state: State,
    /// Its number.
    pub attempts: i32,
    /// The status it answered with.
    pub status: StatusCode,
    /// What the key is bound to.
    pub fingerprint: &'a Fingerprint,
    /// [`Recorded::encode`](crate::Recorded::encode), if it is to be replayed.
    pub response: Option<&'a [u8]>,
    /// For how long it answers, from now.
    pub ttl: Duration,
    /// The writing that it replaces; `None` if there must be no record.
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
    /// An erasure has left records, as other transactions hold them.
    #[error("{erased} records are erased, and {left} are left: other transactions hold them")]
    Incomplete {
        /// The number of records that were deleted.
        erased: u64,
        /// The number of records that were not.
        left: u64,
    },
    /// The tables or functions are missing or of another version.
    #[error("the database is not set up for this release, or not for this role; run `migrate()`")]
    Misconfigured(#[source] BoxError),
}

/// Why a settlement is not confirmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// A statement of the handler had failed and the transaction with it: nothing is kept.
    #[error("the transaction was aborted by an SQL error that the handler swallowed")]
    Aborted(#[source] BoxError),
    /// The handler ended the transaction itself: what it wrote may stand.
    #[error("the handler ended the transaction itself; its effect may stand")]
    Ended,
    /// Someone else has settled the identity or was in the way otherwise: nothing is kept.
    #[error("another attempt has settled the identity, or another transaction was in the way")]
    Superseded,
    /// The database refused: nothing is kept.
    #[error("the database refused to commit")]
    Refused(#[source] BoxError),
    /// The answer to COMMIT was lost: everything is kept, or nothing.
    #[error("the outcome of the commit is unknown")]
    Unknown(#[source] BoxError),
}
