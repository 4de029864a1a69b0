//! A store around a store, which fails, panics or hangs between the engine's steps.

use std::fmt::Debug;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use idem_core::store::{ClaimRequest, Claimed, Opening, SettleError, Settlement};
use idem_core::store::{Forgotten, Identity, Purged, ScopeDigest, Stats};
use idem_core::{Found, Store, StoreError};

/// The point of the harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// P1: the claim does not reach the database.
    BeforeClaim,
    /// P2: the claim reaches the database, but its answer is lost.
    AfterClaim,
    /// P8: the settlement does not reach the database, and the engine gets a definite error.
    BeforeSettle,
    /// P8: the settlement does not reach the database, but the engine can't know.
    Unsettled,
    /// P10: the settlement reaches the database, but its answer is lost.
    AfterSettle,
}

impl Point {
    /// All points.
    pub const ALL: [Self; 5] = [
        Self::BeforeClaim,
        Self::AfterClaim,
        Self::BeforeSettle,
        Self::Unsettled,
        Self::AfterSettle,
    ];
}

/// The kind of harm at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blow {
    /// An error.
    Fails,
    /// A panic.
    Panics,
    /// A wait without end.
    Hangs,
}

impl Blow {
    /// All kinds of harm.
    pub const ALL: [Self; 3] = [Self::Fails, Self::Panics, Self::Hangs];
}

/// A store that its [`Trigger`] harms once.
#[derive(Debug)]
pub struct Harmed<S> {
    store: S,
    due: Arc<Mutex<Option<(Point, Blow)>>>,
}

/// Decides when a [`Harmed`] store is harmed.
#[derive(Debug, Clone)]
pub struct Trigger(Arc<Mutex<Option<(Point, Blow)>>>);

impl Trigger {
    /// Harms the store when it next reaches this point.
    pub fn set(&self, point: Point, blow: Blow) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((point, blow));
    }

    /// Whether the harm has been done. It is done only once.
    pub fn has_struck(&self) -> bool {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        due.take().is_none()
    }
}

impl<S> Harmed<S> {
    /// A store that can be harmed, and its trigger.
    pub fn new(store: S) -> (Self, Trigger) {
        let due = Arc::default();
        let trigger = Trigger(Arc::clone(&due));
        (Self { store, due }, trigger)
    }

    /// Does the harm, if it is due at this point.
    async fn harm<E>(&self, point: Point, error: impl FnOnce() -> E) -> Result<(), E> {
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            due.take_if(|(here, _)| *here == point)
        };
        match due {
            None => Ok(()),
            Some((_, Blow::Fails)) => Err(error()),
            Some((_, Blow::Panics)) => resume_unwind(Box::new("harm")),
            Some((_, Blow::Hangs)) => std::future::pending().await,
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("harm".into())
}

impl<S: Store + Debug> Store for Harmed<S> {
    type Connection = S::Connection;
    type Claim = S::Claim;

    async fn begin(&self, opening: Opening) -> Result<S::Claim, StoreError> {
        self.store.begin(opening).await
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> Result<Claimed<S::Claim>, StoreError> {
        self.harm(Point::BeforeClaim, unavailable).await?;
        let claimed = self.store.claim(request).await;
        self.harm(Point::AfterClaim, unavailable).await?;
        claimed
    }

    async fn settle(&self, claim: S::Claim, settlement: Settlement<'_>) -> Result<(), SettleError> {
        let refused = || SettleError::Refused("harm".into());
        let unknown = || SettleError::Unknown("harm".into());
        self.harm(Point::BeforeSettle, refused).await?;
        self.harm(Point::Unsettled, unknown).await?;
        let settled = self.store.settle(claim, settlement).await;
        self.harm(Point::AfterSettle, unknown).await?;
        settled
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        self.store.find(identity).await
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        self.store.purge_expired(limit).await
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        self.store.erase(scope).await
    }

    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        self.store.forget(identity).await
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        self.store.tally(scope).await
    }
}
