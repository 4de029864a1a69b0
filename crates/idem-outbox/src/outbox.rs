//! An outbox.

use std::sync::Arc;
use std::time::Duration;

use idem_core::adapter::outbox::{message, random_id};
use idem_core::{Attempt, StoreError};
use serde::Serialize;
use tokio::sync::Notify;

use crate::database::{Insert, OutboxStore};
use crate::error::PushError;
use crate::message::{DeadLetter, Stats, Topic};
use crate::meter;
use crate::sql::Sql;

/// The messages of a service that are to be published, in a table next to its records.
///
/// The table is `idem_outbox`, on PostgreSQL `idem.outbox`; in the store's own schema or with its prefix, if it has one.
/// The [crate's page](crate) has an example.
#[derive(Debug, Clone)]
pub struct Outbox<S> {
    pub(crate) store: S,
    pub(crate) sql: Arc<Sql>,
    pub(crate) bell: Arc<Notify>,
}

impl<S: OutboxStore> Outbox<S> {
    /// An outbox in the database of a store, for the handlers of this store's engine.
    pub fn new(store: S) -> Self {
        Self {
            sql: Arc::new(store.sql()),
            bell: Arc::default(),
            store,
        }
    }

    /// Creates the table, or brings it up to date; then [checks](Self::check) it. Many instances may call it at
    /// once. The bookkeeping is `idem_outbox_migrations`, on PostgreSQL `idem.outbox_migrations`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the database refuses; [`StoreError::Unavailable`] if it can't be reached.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.store.migrate_outbox().await?;
        self.check().await
    }

    /// Pushes a message, reads it, deletes it, and rolls back: so a missing table and missing rights are found at
    /// the start of a service.
    ///
    /// # Errors
    ///
    /// As those of [`migrate`](Self::migrate).
    pub async fn check(&self) -> Result<(), StoreError> {
        let message = Insert {
            id: &random_id(),
            topic: "check",
            payload: b"",
        };
        self.store.rehearse(&self.sql, message).await
    }

    /// Writes a message, with its payload as JSON, in the handler's transaction: `tx` is what the handler takes by
    /// `&mut`. Returns the id of the message, which is the key for its consumers. Relays of this process are woken
    /// once the transaction is committed.
    ///
    /// The id comes from the identity of the request, the topic, and the number of the message in this attempt, or
    /// its name: so another attempt of the request writes the same id. A request without a key has random ids.
    ///
    /// # Errors
    ///
    /// [`PushError`]. The handler has to fail then: the message is not there.
    pub async fn push<'t, T: Serialize + ?Sized>(
        &self,
        tx: &mut S::Connection,
        attempt: &Attempt,
        topic: impl Into<Topic<'t>>,
        payload: &T,
    ) -> Result<String, PushError> {
        let payload = serde_json::to_vec(payload).map_err(PushError::Payload)?;
        self.push_bytes(tx, attempt, topic, &payload).await
    }

    /// The same for a payload of bytes.
    ///
    /// # Errors
    ///
    /// As those of [`push`](Self::push).
    pub async fn push_bytes<'t>(
        &self,
        tx: &mut S::Connection,
        attempt: &Attempt,
        topic: impl Into<Topic<'t>>,
        payload: &[u8],
    ) -> Result<String, PushError> {
        let Topic { topic, name } = topic.into();
        let (id, before) = message(attempt, topic, name.as_deref()).ok_or(PushError::Unnamed)?;
        if before == 0 {
            let bell = Arc::clone(&self.bell);
            attempt.after_commit(async move { bell.notify_one() });
        }
        let message = Insert {
            id: &id,
            topic,
            payload,
        };
        match S::insert(tx, &self.sql, message).await {
            Ok(()) => Ok(id),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(PushError::Taken { id })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a relay of this process look for messages now. A push does it by itself.
    pub fn wake(&self) {
        self.bell.notify_one();
    }

    /// What there is to publish, and what is dead. It reads an index of the whole table, which is short unless relays lag.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the database can't be reached.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let (pending, dead, oldest) = self.store.numbers(self.sql.stats()).await?;
        let stats = Stats {
            pending: pending.unsigned_abs(),
            oldest_age: oldest.map(|age| Duration::from_micros(u64::try_from(age).unwrap_or(0))),
            dead: dead.unsigned_abs(),
        };
        meter::stats(stats);
        Ok(stats)
    }

    /// Dead letters, those first that died first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the database can't be reached.
    pub async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let letters = self.store.messages(self.sql.dead_letters(limit)).await?;
        Ok(letters.into_iter().map(DeadLetter::from).collect())
    }

    /// Has a dead letter published again. Returns whether there was one with this id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the database can't be reached.
    pub async fn revive(&self, id: &str) -> Result<bool, StoreError> {
        let revived = self.store.change(self.sql.revive(Some(id))).await?;
        self.wake();
        Ok(revived > 0)
    }

    /// Has all dead letters published again. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the database can't be reached.
    pub async fn revive_all(&self) -> Result<u64, StoreError> {
        let revived = self.store.change(self.sql.revive(None)).await?;
        self.wake();
        Ok(revived)
    }

    /// Deletes a dead letter. Returns whether there was one with this id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the database can't be reached.
    pub async fn discard(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.store.change(self.sql.discard(id)).await? > 0)
    }
}
