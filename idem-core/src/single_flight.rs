//! One request at a time for each identity in this process (rules C1 to C4).
//!
//! The first request for an identity becomes the owner of its slot; duplicates queue for the slot
//! in order. An owner that has an answer for all publishes it: the slot closes, and every waiter
//! takes the answer from it. An owner that ends without one passes the slot on to exactly one
//! waiter. Nothing here touches the database.
//!
//! An owner begins with a read: the record may be there already, and then duplicates need only wait
//! for that read. So they are counted and bounded in time only while a handler runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::future::{Either, select};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};
use tokio::time::{Instant, timeout_at};

use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::meter;

/// The identities that have an owner in this process. Owners publish answers of the type `A`.
#[derive(Debug)]
pub(crate) struct SingleFlight<A> {
    slots: Mutex<HashMap<Identity, Arc<Slot<A>>>>,
    waiting: AtomicUsize,
    limit: usize,
    limit_per_identity: usize,
}

/// The outcome of joining.
#[derive(Debug)]
pub(crate) enum Joined<A> {
    /// The request is the owner now.
    Owner(Owner<A>),
    /// The owner that it waited for has published this.
    Published(A),
    /// A handler is still running, and the time or the room to wait is used up. If it runs in this
    /// process, this is the fingerprint of its request.
    InFlight(Option<Fingerprint>),
}

/// The progress of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It reads or claims the record.
    Reading,
    /// A handler runs for the identity: here for a request with this fingerprint, or in another process.
    Running(Option<Fingerprint>),
}

impl Phase {
    fn is_running(self) -> bool {
        matches!(self, Self::Running(_))
    }

    fn of(self) -> Option<Fingerprint> {
        match self {
            Self::Running(fingerprint) => fingerprint,
            Self::Reading => None,
        }
    }
}

impl<A: Clone> SingleFlight<A> {
    pub(crate) fn new(limit: usize, limit_per_identity: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::default(),
            waiting: AtomicUsize::new(0),
            limit,
            limit_per_identity,
        })
    }

    /// How many requests wait for a handler that runs.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Becomes the owner of `identity`, or waits for the present one: until its read ends, and for
    /// a running handler at most until `until`.
    ///
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn join(self: &Arc<Self>, identity: Identity, until: Instant) -> Joined<A> {
        let place = self.place(identity);
        let permit = Arc::clone(&place.slot.permit);
        match Arc::clone(&permit).try_acquire_owned() {
            Ok(permit) => return Joined::Owner(Owner::new(place, permit)),
            Err(TryAcquireError::Closed) => return place.published(),
            Err(TryAcquireError::NoPermits) => {}
        }
        let slot = Arc::clone(&place.slot);
        let mut phase = slot.phase.subscribe();
        let mut acquired = std::pin::pin!(permit.acquire_owned());
        let running = std::pin::pin!(phase.wait_for(|phase| phase.is_running()));
        if let Either::Left((acquired, _)) = select(acquired.as_mut(), running).await {
            return place.joined(acquired);
        }
        let in_flight = || Joined::InFlight(slot.phase.borrow().of());
        let Some(_waiting) = self.wait(&slot) else {
            return in_flight();
        };
        match timeout_at(until, acquired).await {
            Ok(acquired) => place.joined(acquired),
            Err(_elapsed) => in_flight(),
        }
    }

    fn wait<'a>(&'a self, slot: &'a Slot<A>) -> Option<(Waiting<'a>, Waiting<'a>, meter::Level)> {
        let all = Waiting::enter(&self.waiting, self.limit)?;
        let own = Waiting::enter(&slot.waiting, self.limit_per_identity)?;
        Some((all, own, meter::Level::waiter()))
    }
}

impl<A> SingleFlight<A> {
    fn place(self: &Arc<Self>, identity: Identity) -> Place<A> {
        let mut slots = self.slots();
        let slot = Arc::clone(slots.entry(identity).or_default());
        slot.places.fetch_add(1, Ordering::Relaxed);
        drop(slots);
        Place {
            single_flight: Arc::clone(self),
            identity,
            slot,
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Identity, Arc<Slot<A>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be the attempt for an identity in this process. Dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Owner<A> {
    place: Place<A>,
    // Dropped last: the next owner finds everything else in order.
    _permit: OwnedSemaphorePermit,
}

impl<A> Owner<A> {
    fn new(place: Place<A>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            place,
            _permit: permit,
        }
    }

    /// Says that a handler runs for the identity, here for a request with this fingerprint, or in
    /// another process: waiters are counted and bounded in time from now on.
    pub(crate) fn handler_runs(&self, fingerprint: Option<Fingerprint>) {
        let phase = Phase::Running(fingerprint);
        self.place.slot.phase.send_replace(phase);
    }

    /// What the duplicates see of this owner.
    pub(crate) fn progress(&self) -> Progress {
        Progress(self.place.slot.phase.subscribe())
    }

    /// Gives `answer` to all who wait, and to those who come before the slot is gone.
    pub(crate) fn publish(self, answer: A) {
        let slot = &self.place.slot;
        if slot.published.set(answer).is_ok() {
            slot.permit.close();
        }
        self.place
            .single_flight
            .slots()
            .remove(&self.place.identity);
    }
}

/// How far an owner is.
#[derive(Debug)]
pub(crate) struct Progress(watch::Receiver<Phase>);

impl Progress {
    /// Whether the owner runs a handler in this process.
    pub(crate) fn is_running_here(&self) -> bool {
        self.0.borrow().of().is_some()
    }
}

impl<A> Drop for Owner<A> {
    fn drop(&mut self) {
        // The next owner reads first.
        self.place.slot.phase.send_replace(Phase::Reading);
    }
}

#[derive(Debug)]
struct Slot<A> {
    permit: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
    published: OnceLock<A>,
    waiting: AtomicUsize,
    // Changes only while the map is locked.
    places: AtomicUsize,
}

impl<A> Default for Slot<A> {
    fn default() -> Self {
        Self {
            permit: Arc::new(Semaphore::new(1)),
            phase: watch::Sender::new(Phase::Reading),
            published: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
        }
    }
}

/// A use of a slot; the last one takes the slot out of the map.
#[derive(Debug)]
struct Place<A> {
    single_flight: Arc<SingleFlight<A>>,
    identity: Identity,
    slot: Arc<Slot<A>>,
}

impl<A: Clone> Place<A> {
    fn joined(self, acquired: Result<OwnedSemaphorePermit, AcquireError>) -> Joined<A> {
        match acquired {
            Ok(permit) => Joined::Owner(Owner::new(self, permit)),
            Err(_closed) => self.published(),
        }
    }

    fn published(&self) -> Joined<A> {
        match self.slot.published.get() {
            Some(answer) => Joined::Published(answer.clone()),
            // A slot is closed only after its answer was set.
            None => Joined::InFlight(None),
        }
    }
}

impl<A> Drop for Place<A> {
    fn drop(&mut self) {
        let mut slots = self.single_flight.slots();
        let was_last = self.slot.places.fetch_sub(1, Ordering::Relaxed) == 1;
        // A slot with an answer has left the map already, and another one may be there.
        let is_mine = |slot: &Arc<Slot<A>>| Arc::ptr_eq(slot, &self.slot);
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

    const LONG: Duration = Duration::from_mins(1);
    const ANSWER: &str = "published";

    type Flights = Arc<SingleFlight<&'static str>>;

    fn identity(key: &str) -> Identity {
        let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
        Identity::new(None, &Operation::named("test"), &key)
    }

    async fn join(flights: &Flights, wait: Duration) -> Joined<&'static str> {
        flights.join(identity("k"), Instant::now() + wait).await
    }

    async fn owner(flights: &Flights) -> Owner<&'static str> {
        match join(flights, LONG).await {
            Joined::Owner(owner) => owner,
            other => panic!("{other:?}"),
        }
    }

    fn spawn_waiters(
        flights: &Flights,
        count: usize,
    ) -> Vec<tokio::task::JoinHandle<Joined<&'static str>>> {
        let spawn = |_| {
            let flights = Arc::clone(flights);
            tokio::spawn(async move { join(&flights, LONG).await })
        };
        (0..count).map(spawn).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn c2_waiters_get_the_answer_and_the_slot_goes() {
        let flights = SingleFlight::new(10, 10);
        let owner = owner(&flights).await;
        owner.handler_runs(None);
        let waiters = spawn_waiters(&flights, 3);
        tokio::task::yield_now().await;
        owner.publish(ANSWER);
        for waiter in waiters {
            assert!(matches!(waiter.await.unwrap(), Joined::Published(ANSWER)));
        }
        assert!(flights.slots().is_empty());
        assert_eq!(flights.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn c2_waiting_for_a_handler_is_bounded_in_time() {
        let flights = SingleFlight::new(10, 10);
        let owner = owner(&flights).await;
        owner.handler_runs(None);
        for wait in [Duration::ZERO, Duration::from_secs(2)] {
            let asked = Instant::now();
            assert!(matches!(join(&flights, wait).await, Joined::InFlight(_)));
            assert_eq!(asked.elapsed().as_secs(), wait.as_secs());
        }
        drop(owner);
        assert!(flights.slots().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn r2_waiting_for_a_read_is_bounded_by_the_read_alone() {
        let flights = SingleFlight::new(1, 1);
        let owner = owner(&flights).await;
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let flights = Arc::clone(&flights);
                tokio::spawn(async move { join(&flights, Duration::ZERO).await })
            })
            .collect();
        tokio::time::sleep(LONG).await;
        owner.publish(ANSWER);
        for waiter in waiters {
            assert!(matches!(waiter.await.unwrap(), Joined::Published(ANSWER)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn c4_waiters_for_a_read_are_counted_when_a_handler_runs() {
        let flights = SingleFlight::new(10, 2);
        let owner = owner(&flights).await;
        let waiters = spawn_waiters(&flights, 5);
        tokio::task::yield_now().await;
        owner.handler_runs(None);
        tokio::time::sleep(Duration::from_millis(1)).await;
        owner.publish(ANSWER);
        let mut in_flight = 0;
        for waiter in waiters {
            in_flight += usize::from(matches!(waiter.await.unwrap(), Joined::InFlight(_)));
        }
        assert_eq!(in_flight, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn c3_exactly_one_waiter_becomes_the_next_attempt() {
        let flights = SingleFlight::new(10, 10);
        let first = owner(&flights).await;
        first.handler_runs(None);
        let (became, mut owners) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..3 {
            let (flights, became) = (Arc::clone(&flights), became.clone());
            tokio::spawn(async move { became.send(join(&flights, LONG).await) });
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
            let flights = SingleFlight::new(all, per_identity);
            let owner = owner(&flights).await;
            owner.handler_runs(None);
            let _waiters = spawn_waiters(&flights, 2);
            tokio::task::yield_now().await;
            assert!(matches!(join(&flights, LONG).await, Joined::InFlight(_)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn l3_other_identities_are_not_held_up() {
        let flights = SingleFlight::<&str>::new(10, 10);
        let _owner = owner(&flights).await;
        let other = flights.join(identity("other"), Instant::now()).await;
        assert!(matches!(other, Joined::Owner(_)));
    }
}
