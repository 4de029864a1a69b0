//! What operators do with an engine beside serving: look, purge, erase, drain.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::engine::Engine;
use crate::identity::{Identity, ScopeDigest};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::record::Found;
use crate::store::{Store, StoreError};

/// How many records one statement of a purge deletes at the most.
const BATCH: u32 = 1000;

impl<S: Store> Engine<S> {
    /// The settings.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    /// What is remembered of a key; expired records too, until they are purged.
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

    /// Deletes all expired records, in batches, beside live traffic and beside other instances
    /// that do the same (rule E3). Says how many.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer; the batches before are deleted.
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

    /// Purges in the background, once in `every`, until the task is dropped.
    ///
    /// Expiry is decided when a record is read, so this only keeps the table small.
    #[must_use = "dropping the task ends it"]
    pub fn spawn_purge(&self, every: Duration) -> PurgeTask {
        let engine = self.clone();
        PurgeTask(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(every);
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

    /// Deletes all settled records of a scope, such as a tenant who leaves, and says how many
    /// (rule E4). `None` stands for the endpoints that are spelled out as unscoped.
    ///
    /// This engine's replay cache forgets them, too; that of another instance still answers for as
    /// long as its [staleness](crate::ReplayCache#staleness) allows.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    pub async fn erase(&self, scope: Option<&str>) -> Result<u64, StoreError> {
        let scope = ScopeDigest::new(scope);
        let erased = self.shared.store.erase(&scope).await;
        // Also after an error: that may be all that is lost of a deletion.
        self.shared.cache.erase(&scope);
        erased
    }

    /// Refuses new requests with 503 and waits until every attempt has ended and every
    /// `after_commit` has run. Call it before the process ends.
    ///
    /// Attempts run on when their client has gone, so the server's own graceful shutdown does not
    /// wait for them.
    pub async fn drain(&self) {
        self.shared.attempts.close();
        self.shared.attempts.wait().await;
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
