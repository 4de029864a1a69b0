//! Who is in flight in this process (rules C1 to C4).
//!
//! An identity that is in flight has a slot with one turn. Its owner holds the turn; duplicates
//! queue for it in order. An owner that settles closes the slot, and all waiters read the record
//! from it. An owner that doesn't passes the turn on to exactly one waiter. Nobody here touches
//! the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::identity::Identity;
use crate::record::Record;

/// The identities in flight.
#[derive(Debug)]
pub(crate) struct Flights {
    slots: Mutex<HashMap<Identity, Arc<Slot>>>,
    waiting: AtomicUsize,
    limit: usize,
    limit_per_identity: usize,
}

/// What a request finds when it joins.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It is the attempt now.
    Owner(Owner),
    /// The attempt it waited for has settled, with this record.
    Settled(Arc<Record>),
    /// The attempt is still in flight and the time or the room to wait is used up.
    InFlight,
}

impl Flights {
    pub(crate) fn new(limit: usize, limit_per_identity: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::default(),
            waiting: AtomicUsize::new(0),
            limit,
            limit_per_identity,
        })
    }

    /// Becomes the owner of `identity`, or waits up to `wait` for the one there is.
    ///
    /// Dropping the future gives the place in the queue up.
    pub(crate) async fn join(self: &Arc<Self>, identity: Identity, wait: Duration) -> Joined {
        let place = self.place(identity);
        let turn = Arc::clone(&place.slot.turn);
        match Arc::clone(&turn).try_acquire_owned() {
            Ok(permit) => return Joined::Owner(Owner { permit, place }),
            Err(TryAcquireError::Closed) => return place.settled(),
            Err(TryAcquireError::NoPermits) => {}
        }
        let slot = Arc::clone(&place.slot);
        let Some(_waiting) = self.wait(&slot) else {
            return Joined::InFlight;
        };
        match tokio::time::timeout(wait, turn.acquire_owned()).await {
            Ok(Ok(permit)) => Joined::Owner(Owner { permit, place }),
            Ok(Err(_closed)) => place.settled(),
            Err(_elapsed) => Joined::InFlight,
        }
    }

    fn place(self: &Arc<Self>, identity: Identity) -> Place {
        let mut slots = self.slots();
        let slot = Arc::clone(slots.entry(identity).or_default());
        slot.places.fetch_add(1, Ordering::Relaxed);
        drop(slots);
        Place {
            flights: Arc::clone(self),
            identity,
            slot,
        }
    }

    fn wait<'a>(&'a self, slot: &'a Slot) -> Option<(Waiting<'a>, Waiting<'a>)> {
        let all = Waiting::enter(&self.waiting, self.limit)?;
        let own = Waiting::enter(&slot.waiting, self.limit_per_identity)?;
        Some((all, own))
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Identity, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be the attempt for an identity in this process. Dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Owner {
    permit: OwnedSemaphorePermit,
    place: Place,
}

impl Owner {
    /// Hands the record to all who wait, and to those who come before the slot is gone.
    pub(crate) fn settle(self, record: Arc<Record>) {
        let slot = &self.place.slot;
        if slot.settled.set(record).is_ok() {
            slot.turn.close();
        }
        self.place.flights.slots().remove(&self.place.identity);
        drop(self.permit);
    }
}

#[derive(Debug)]
struct Slot {
    turn: Arc<Semaphore>,
    settled: OnceLock<Arc<Record>>,
    waiting: AtomicUsize,
    // Changes only while the map is locked.
    places: AtomicUsize,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            settled: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
        }
    }
}

/// A use of a slot; the last one takes the slot out of the map.
#[derive(Debug)]
struct Place {
    flights: Arc<Flights>,
    identity: Identity,
    slot: Arc<Slot>,
}

impl Place {
    fn settled(&self) -> Joined {
        match self.slot.settled.get() {
            Some(record) => Joined::Settled(Arc::clone(record)),
            // A slot is closed only after its record was set.
            None => Joined::InFlight,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut slots = self.flights.slots();
        let was_last = self.slot.places.fetch_sub(1, Ordering::Relaxed) == 1;
        // A settled slot has left the map already, and another one may be there.
        let is_mine = |slot: &Arc<Slot>| Arc::ptr_eq(slot, &self.slot);
        if was_last && slots.get(&self.identity).is_some_and(is_mine) {
            slots.remove(&self.identity);
        }
    }
}

/// One of a bounded number of waiters.
#[derive(Debug)]
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let enter = |count| (count < limit).then_some(count + 1);
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter)
            .ok()?;
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::IdempotencyKey;
    use crate::operation::Operation;
    use crate::store::Row;

    const LONG: Duration = Duration::from_mins(1);

    fn identity(key: &str) -> Identity {
        let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
        Identity::new(None, &Operation::named("test"), &key)
    }

    fn record() -> Arc<Record> {
        let row = Row {
            state: 3,
            attempts: 1,
            status: 500,
            fingerprint: vec![1; 65],
            response: None,
            settled_at: 0,
            expires_at: 1,
        };
        Arc::new(row.decode(&identity("k")).unwrap())
    }

    async fn owner(flights: &Arc<Flights>) -> Owner {
        match flights.join(identity("k"), LONG).await {
            Joined::Owner(owner) => owner,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn c2_waiters_get_the_record_and_the_slot_goes() {
        let flights = Flights::new(10, 10);
        let owner = owner(&flights).await;
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let flights = Arc::clone(&flights);
                tokio::spawn(async move { flights.join(identity("k"), LONG).await })
            })
            .collect();
        tokio::task::yield_now().await;
        owner.settle(record());
        for waiter in waiters {
            assert!(matches!(waiter.await.unwrap(), Joined::Settled(_)));
        }
        assert!(flights.slots().is_empty());
        assert_eq!(flights.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn c2_waiting_is_bounded_in_time() {
        let flights = Flights::new(10, 10);
        let owner = owner(&flights).await;
        for wait in [Duration::ZERO, Duration::from_secs(2)] {
            let joined = flights.join(identity("k"), wait).await;
            assert!(matches!(joined, Joined::InFlight));
        }
        drop(owner);
        assert!(flights.slots().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn c3_exactly_one_waiter_becomes_the_next_attempt() {
        let flights = Flights::new(10, 10);
        let first = owner(&flights).await;
        let (became, mut owners) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..3 {
            let (flights, became) = (Arc::clone(&flights), became.clone());
            tokio::spawn(async move { became.send(flights.join(identity("k"), LONG).await) });
        }
        tokio::task::yield_now().await;
        drop(first);
        let second = owners.recv().await.unwrap();
        assert!(matches!(second, Joined::Owner(_)));
        tokio::task::yield_now().await;
        assert!(owners.try_recv().is_err(), "the others wait on");
        drop(second);
        assert!(matches!(owners.recv().await.unwrap(), Joined::Owner(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn c4_waiters_are_bounded_in_number() {
        for (all, per_identity) in [(2, 10), (10, 2)] {
            let flights = Flights::new(all, per_identity);
            let _owner = owner(&flights).await;
            for _ in 0..2 {
                let flights = Arc::clone(&flights);
                tokio::spawn(async move { flights.join(identity("k"), LONG).await });
            }
            tokio::task::yield_now().await;
            let joined = flights.join(identity("k"), LONG).await;
            assert!(matches!(joined, Joined::InFlight));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn l3_other_identities_are_not_held_up() {
        let flights = Flights::new(10, 10);
        let _owner = owner(&flights).await;
        let other = flights.join(identity("other"), Duration::ZERO).await;
        assert!(matches!(other, Joined::Owner(_)));
    }
}
