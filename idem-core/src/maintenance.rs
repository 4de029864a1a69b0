//! An operator's work on an engine: find, count, purge, erase, forget, drain.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, sleep, timeout};

use crate::engine::Engine;
use crate::identity::ScopeDigest;
use crate::key::IdempotencyKey;
use crate::meter;
use crate::operation::Operation;
use crate::record::Found;
use crate::store::{Forgotten, Stats, Store, StoreError};

/// The most records that one statement of a purge deletes.
const LARGEST_BATCH: u32 = 1000;

/// With fewer records a commit takes hardly less time, as it waits for the disk. And a purge that takes its turn
/// among many writers would delete hardly more than they write.
const SMALLEST_BATCH: u32 = 100;

/// How long one batch may keep all writers waiting.
const LONGEST_HOLD: Duration = Duration::from_millis(10);

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
        let identity = self.identity(scope, operation, key);
        let mut found = self.shared.store.find(&identity).await?;
        if let Some(Found { record, now }) = &mut found {
            self.open(record, *now, &identity, key)?;
        }
        Ok(found)
    }

    /// Deletes all expired records in batches, alongside live traffic and purges of other instances
    /// ([rule E3]). Returns their number.
    ///
    /// On SQLite a batch keeps all writers waiting. So its size adapts to about 10 ms, and after it the purge
    /// pauses for as long.
    ///
    /// [rule E3]: crate::_documentation::contract#e-expiry
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer; the batches until then are deleted.
    pub async fn purge_expired(&self) -> Result<u64, StoreError> {
        let mut purged = 0;
        let mut limit = SMALLEST_BATCH;
        loop {
            let batch = self.shared.store.purge_expired(limit).await?;
            purged += batch.records;
            meter::purged(batch.records);
            if batch.records < u64::from(limit) {
                meter::purge_completed();
                return Ok(purged);
            }
            limit = next_batch(limit, batch.held);
            sleep(batch.held).await;
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
        let namespace = self.shared.config.namespace.as_deref();
        let scope = ScopeDigest::in_namespace(namespace, scope);
        let erased = self.shared.store.erase(&scope).await;
        // Also after an error: the deletion may have happened, and only its answer be lost.
        self.shared.cache.erase(&scope);
        erased
    }

    /// Deletes the record of one key, expired or not, also one that can't be read: for support, after a
    /// look at it with [`find`](Self::find) ([rule E6]). The next request with the key **runs again**.
    ///
    /// An attempt in flight is not disturbed. If one holds the key, nothing is deleted, its record stays,
    /// and the answer is [`Forgotten::InFlight`].
    ///
    /// This engine's replay cache forgets the record, too. The cache of another instance still answers
    /// within its [max age](crate::ReplayCache#max-age).
    ///
    /// [rule E6]: crate::_documentation::contract#e-expiry
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    pub async fn forget(
        &self,
        scope: Option<&str>,
        operation: &Operation,
        key: &IdempotencyKey,
    ) -> Result<Forgotten, StoreError> {
        let identity = self.identity(scope, operation, key);
        let forgotten = self.shared.store.forget(&identity).await;
        // Also after an error, as for an erasure.
        self.shared.cache.forget(&identity);
        forgotten
    }

    /// Counts all records of the table, by operation and state ([rule E7]).
    ///
    /// It reads the whole table, and takes no locks that others wait for.
    /// [Operating](crate::_documentation::operating#erase-and-find) says how long that takes. For an
    /// engine with a namespace the records of other namespaces are counted, too.
    ///
    /// [rule E7]: crate::_documentation::contract#e-expiry
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        self.shared.store.tally(None).await
    }

    /// Counts the records of one scope, by operation and state: what [`erase`](Self::erase) would delete.
    /// It reads that scope's range of the index and its rows.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database does not answer.
    pub async fn stats_of(&self, scope: Option<&str>) -> Result<Stats, StoreError> {
        let namespace = self.shared.config.namespace.as_deref();
        let scope = ScopeDigest::in_namespace(namespace, scope);
        self.shared.store.tally(Some(&scope)).await
    }

    /// Refuses new requests with 503 and waits until every attempt and every `after_commit` future
    /// has ended. Call it before the process ends.
    ///
    /// An attempt whose client has gone goes on without a connection, so the server's own graceful
    /// shutdown does not wait for it.
    pub async fn drain(&self) {
        self.shared.attempts.close();
        self.shared.attempts.wait().await;
        self.shared.after_commit.close();
        self.shared.after_commit.wait().await;
    }

    /// As [`drain`](Self::drain), but for no longer than `limit`.
    ///
    /// # Errors
    ///
    /// [`NotDrained`] if something has not ended by then. It continues, and new requests are still
    /// refused. If the process ends now, its attempts are undone, and its `after_commit` futures are lost.
    pub async fn drain_for(&self, limit: Duration) -> Result<(), NotDrained> {
        let drained = timeout(limit, self.drain()).await;
        drained.map_err(|_elapsed| NotDrained {
            attempts: self.shared.attempts.len(),
            after_commit: self.shared.after_commit.len(),
        })
    }
}

/// Drains several engines at once, of any stores:
///
/// ```
/// # async fn end<A: idem_core::Store, B: idem_core::Store>(
/// #     payments: idem_core::Engine<A>, audit: idem_core::Engine<B>) {
/// idem_core::drain_all(&[&payments, &audit]).await;
/// # }
/// ```
///
/// See [`Engine::drain`].
pub fn drain_all<'e>(engines: &[&'e dyn Drain]) -> impl Future<Output = ()> + use<'e> {
    let drained: Vec<_> = engines.iter().map(|engine| engine.drained()).collect();
    async move {
        join_all(drained).await;
    }
}

/// An [`Engine`] of any store, for [`drain_all`].
pub trait Drain: Sync {
    #[doc(hidden)]
    fn drained(&self) -> BoxFuture<'_, ()>;
}

impl<S: Store> Drain for Engine<S> {
    fn drained(&self) -> BoxFuture<'_, ()> {
        self.drain().boxed()
    }
}

/// What a drain left running: see [`Engine::drain_for`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{attempts} attempts and {after_commit} futures of `after_commit` have not ended in time")]
#[non_exhaustive]
pub struct NotDrained {
    /// The number of attempts.
    pub attempts: usize,
    /// The number of `after_commit` futures.
    pub after_commit: usize,
}

/// The size of the batch after one of `limit` records that has kept all writers waiting for `held`.
fn next_batch(limit: u32, held: Duration) -> u32 {
    if held > LONGEST_HOLD {
        (limit / 2).max(SMALLEST_BATCH)
    } else if held <= LONGEST_HOLD / 2 {
        (limit * 2).min(LARGEST_BATCH)
    } else {
        limit
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn e3_batches_grow_while_they_are_quick_and_shrink_when_they_are_slow(
            limit in SMALLEST_BATCH..=LARGEST_BATCH,
            held in 0..30_u64,
        ) {
            let next = next_batch(limit, Duration::from_millis(held));
            let expected = match held {
                0..=5 => LARGEST_BATCH.min(limit * 2),
                6..=10 => limit,
                _ => SMALLEST_BATCH.max(limit / 2),
            };
            prop_assert_eq!(next, expected);
        }

        /// A disk on which each batch costs `fixed` and each record `record`, in microseconds.
        #[test]
        fn e3_batches_settle_where_they_hold_the_writer_for_about_10_ms(fixed in 0..5_000_u64, record in 10..150_u64) {
            let held = |limit: u32| Duration::from_micros(fixed + record * u64::from(limit));
            let mut limit = SMALLEST_BATCH;
            for _ in 0..8 {
                limit = next_batch(limit, held(limit));
            }
            for _ in 0..8 {
                prop_assert!(held(limit) <= 2 * LONGEST_HOLD);
                prop_assert!(held(limit) >= LONGEST_HOLD / 4 || limit == LARGEST_BATCH);
                limit = next_batch(limit, held(limit));
            }
        }
    }
}
