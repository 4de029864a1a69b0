//! An operator's work on an engine: find, purge, erase, drain.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::engine::Engine;
use crate::identity::{Identity, ScopeDigest};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::record::Found;
use crate::store::{Store, StoreError};

/// The most records that one statement of a purge deletes.
const BATCH: u32 = 1000;

impl<S: Store> Engine<S> {
    /// The record of a key; also an expired one, until it is purged.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer or the record can't be read.
    pub async fn find(
        &self,
        scope: Option<&str>,
        operation: &Operation,
        key: &IdempotencyKey,
    ) -> Result<Option<Found>, StoreError> {
        let identity = Identity::new(scope, operation, key);
        self.shared.store.find(&identity).await
    }

    /// Deletes all expired records in batches, alongside live traffic and purges of other instances
    /// ([rule E3]). Returns their number.
    ///
    /// [rule E3]: crate::_documentation::contract#e-expiry
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer; the batches until then are deleted.
    pub async fn purge_expired(&self) -> Result<u64, StoreError> {
        let mut purged = 0;
        loop {
            let batch = self.shared.store.purge_expired(BATCH).await?;
            purged += batch;
            if batch < u64::from(BATCH) {
                return Ok(purged);
            }
        }
    }

    /// Purges in the background, at once and then after each `period`, until the task is dropped.
    ///
    /// Expiry is decided when a record is read, so this only keeps the table small.
    ///
    /// # Panics
    ///
    /// If `period` is zero, or outside of a Tokio runtime.
    #[must_use = "dropping the task ends it"]
    pub fn spawn_purge(&self, period: Duration) -> PurgeTask {
        assert!(!period.is_zero(), "the period of a purge is zero");
        let engine = self.clone();
        PurgeTask(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match engine.purge_expired().await {
                    Ok(0) => {}
                    Ok(purged) => tracing::debug!(purged, "expired records are purged"),
                    Err(error) => tracing::warn!(%error, "expired records could not be purged"),
                }
            }
        }))
    }

    /// Deletes all settled records of a scope, such as a tenant who leaves, and returns their number
    /// ([rule E4]). `None` stands for the endpoints that are explicitly unscoped.
    ///
    /// [rule E4]: crate::_documentation::contract#e-expiry
    ///
    /// This engine's replay cache forgets them, too. The cache of another instance still answers
    /// within its [max age](crate::ReplayCache#max-age).
    ///
    /// # Errors
    ///
    /// [`StoreError::Incomplete`] if records are left, [`StoreError`] if the database does not
    /// answer.
    pub async fn erase(&self, scope: Option<&str>) -> Result<u64, StoreError> {
        let scope = ScopeDigest::new(scope);
        let erased = self.shared.store.erase(&scope).await;
        // Also after an error: the deletion may have happened, and only its answer be lost.
        self.shared.cache.erase(&scope);
        erased
    }

    /// Refuses new requests with 503 and waits until every attempt and every `after_commit` future
    /// has ended. Call it before the process ends.
    ///
    /// An attempt whose client has gone goes on without a connection, so the server's own graceful
    /// shutdown does not wait for it.
    pub async fn drain(&self) {
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }
}

/// A purge in the background; dropping it ends it.
#[derive(Debug)]
pub struct PurgeTask(JoinHandle<()>);

impl Drop for PurgeTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
