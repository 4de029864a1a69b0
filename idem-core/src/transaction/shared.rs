//! The handler's connection as a value, for what can't hold a borrow.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Borrowed, Open, Transaction};
use crate::store::{BoxError, Claim};

/// The handler's connection as a value that can be cloned and has no lifetime: for units of work, the
/// context of a GraphQL schema, and repositories that keep their transaction.
///
/// A handler takes it in place of the connection, as `tx: &mut Shared<PgConnection>`. All clones are the
/// same connection, in the same transaction, and take turns:
///
/// ```
/// # #[cfg(feature = "postgres")]
/// # mod example {
/// use idem_core::Shared;
/// use sqlx::PgConnection;
///
/// /// A repository without a lifetime.
/// struct Orders {
///     tx: Shared<PgConnection>,
/// }
///
/// impl Orders {
///     async fn add(&self, item: &str) -> sqlx::Result<()> {
///         let mut tx = self.tx.lock().await?;
///         let insert = sqlx::query("INSERT INTO orders (item) VALUES ($1)").bind(item);
///         insert.execute(tx.as_mut()).await?;
///         Ok(())
///     }
/// }
/// # }
/// ```
///
/// # The end of the handler
///
/// The attempt takes the connection back when the handler returns, panics or passes its deadline. After
/// that each clone's [`lock`](Self::lock) fails with [`HandlerEnded`]. If a clone is *locked* at the end,
/// as by a task that still runs a statement, the attempt can't be committed: it is undone and answered
/// 503 `try-again`. So a handler waits for the tasks that it gave a clone to.
///
/// A transaction that waits for its own lock, as the holder of a [`Locked`] does that calls `lock` again,
/// waits until the deadline.
pub struct Shared<C>(Arc<Slot<C>>);

struct Slot<C> {
    /// One permit, for the holder of the connection. Closed at the handler's end.
    turn: Arc<Semaphore>,
    /// `None` while the connection is locked, and after the handler's end.
    claim: Mutex<Option<Box<dyn Claim<Connection = C>>>>,
}

/// The connection of a [`Shared`] handle, which is free again when this is dropped.
///
/// `as_mut()` is the connection. A nested `begin()` on it is a savepoint.
pub struct Locked<C> {
    claim: Option<Box<dyn Claim<Connection = C>>>,
    slot: Arc<Slot<C>>,
    // Freed after the claim is in the slot again.
    _turn: OwnedSemaphorePermit,
}

/// The handler of this transaction has ended, and the transaction with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the handler has ended, and its transaction with it")]
pub struct HandlerEnded;

/// The handle that the attempt keeps. Dropping it ends all clones.
pub struct SharedOwner<C>(Shared<C>);

impl<C> Shared<C> {
    /// The connection, once no other clone has it. First come, first served.
    ///
    /// # Errors
    ///
    /// [`HandlerEnded`], also if the handler ends in the meantime.
    ///
    /// # Cancellation
    ///
    /// Safe: the place in the queue is given up.
    pub async fn lock(&self) -> Result<Locked<C>, HandlerEnded> {
        let turn = Arc::clone(&self.0.turn).acquire_owned().await;
        let turn = turn.map_err(|_closed| HandlerEnded)?;
        let claim = self.0.claim().take();
        // The handler can end between the two steps.
        Ok(Locked {
            claim: Some(claim.ok_or(HandlerEnded)?),
            slot: Arc::clone(&self.0),
            _turn: turn,
        })
    }
}

impl<C> Slot<C> {
    fn claim(&self) -> MutexGuard<'_, Option<Box<dyn Claim<Connection = C>>>> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: 'static> AsMut<C> for Locked<C> {
    fn as_mut(&mut self) -> &mut C {
        const HELD: &str = "a lock holds its claim until it is dropped";
        self.claim.as_mut().expect(HELD).connection()
    }
}

impl<C> Drop for Locked<C> {
    fn drop(&mut self) {
        let mut slot = self.slot.claim();
        // After the handler's end the claim is dropped in place of that, which undoes.
        if !self.slot.turn.is_closed() {
            *slot = self.claim.take();
        }
    }
}

impl<C> SharedOwner<C> {
    pub(super) fn new(claim: Box<dyn Claim<Connection = C>>) -> Self {
        Self(Shared(Arc::new(Slot {
            turn: Arc::new(Semaphore::new(1)),
            claim: Mutex::new(Some(claim)),
        })))
    }
}

impl<C> Deref for SharedOwner<C> {
    type Target = Shared<C>;

    fn deref(&self) -> &Shared<C> {
        &self.0
    }
}

impl<C> DerefMut for SharedOwner<C> {
    fn deref_mut(&mut self) -> &mut Shared<C> {
        &mut self.0
    }
}

impl<C> Drop for SharedOwner<C> {
    fn drop(&mut self) {
        // Closed under the mutex, as a `Locked` decides under it where its claim goes.
        let claim = {
            let mut slot = self.0.0.claim();
            self.0.0.turn.close();
            slot.take()
        };
        if claim.is_none() {
            tracing::error!(
                "a clone of the transaction's handle is in use after the handler's end"
            );
        }
    }
}

#[diagnostic::do_not_recommend]
impl<C> Transaction for Shared<C>
where
    C: Transaction<Connection = C> + Send,
{
    type Connection = C;
    type Store = C::Store;
}

#[diagnostic::do_not_recommend]
impl<'c, C> Open<'c> for Shared<C>
where
    C: Transaction<Connection = C> + Send + 'c,
{
    type Opened = SharedOwner<C>;

    async fn open(connection: Borrowed<'c, C>) -> Result<Self::Opened, BoxError> {
        Ok(connection.share())
    }

    fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
    where
        'c: 'r,
    {
        opened
    }

    // The claim's transaction is settled afterwards, which keeps or undoes.
    async fn close(_: Self::Opened, _: bool) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<C> Clone for Shared<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
impl From<HandlerEnded> for sqlx::Error {
    fn from(ended: HandlerEnded) -> Self {
        Self::Io(std::io::Error::new(std::io::ErrorKind::NotConnected, ended))
    }
}

impl<C> fmt::Debug for Shared<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Locked<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for SharedOwner<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedOwner").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
