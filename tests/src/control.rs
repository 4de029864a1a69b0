//! The test's control over the handlers: scenes that they play, a gate at which they wait, and
//! counts of their steps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::scene::Scene;

/// How long a test waits for an expected event.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Shared by the handlers of all instances of one test, and by the test itself.
#[derive(Debug)]
pub struct Control {
    scenes: Mutex<VecDeque<Scene>>,
    visits: Mutex<Vec<Visit>>,
    gate: Semaphore,
    extracted: watch::Sender<usize>,
    entered: watch::Sender<usize>,
    at_gate: watch::Sender<usize>,
    committed: watch::Sender<usize>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    polled: AtomicUsize,
}

/// A handler's view of its attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visit {
    /// The client's key.
    pub key: Option<String>,
    /// The scope of the key.
    pub scope: Option<String>,
    /// The attempt's number.
    pub number: u32,
    /// The key for the service `psp`, and the one for the service `mail`.
    pub downstream: [Option<String>; 2],
}

impl Default for Control {
    fn default() -> Self {
        Self {
            scenes: Mutex::default(),
            visits: Mutex::default(),
            gate: Semaphore::new(0),
            extracted: watch::Sender::new(0),
            entered: watch::Sender::new(0),
            at_gate: watch::Sender::new(0),
            committed: watch::Sender::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            polled: AtomicUsize::new(0),
        }
    }
}

impl Control {
    /// The scenes of the next handlers, in the order of their entry. All handlers after them play
    /// [`Scene::effect`].
    pub fn play(&self, scenes: impl IntoIterator<Item = Scene>) {
        lock(&self.scenes).extend(scenes);
    }

    /// Removes the scenes that have not been played yet.
    pub fn forget(&self) {
        lock(&self.scenes).clear();
    }

    /// Lets this many handlers through the gate, now or when they reach it.
    pub fn open(&self, handlers: usize) {
        self.gate.add_permits(handlers);
    }

    /// Waits until handlers were entered this many times in all.
    pub async fn entered(&self, times: usize) {
        reach(&self.entered, times, "handlers were entered").await;
    }

    /// Waits until handlers reached the gate this many times in all.
    pub async fn at_gate(&self, times: usize) {
        reach(&self.at_gate, times, "handlers came to the gate").await;
    }

    /// How many times handlers reached the gate.
    pub fn gated(&self) -> usize {
        *self.at_gate.borrow()
    }

    /// How many times handlers were entered.
    pub fn entries(&self) -> usize {
        *self.entered.borrow()
    }

    /// Waits until the tenants of this many requests were extracted in all.
    pub async fn extracted(&self, times: usize) {
        reach(&self.extracted, times, "tenants were extracted").await;
    }

    /// How many times a tenant was extracted.
    pub fn extractions(&self) -> usize {
        *self.extracted.borrow()
    }

    /// Waits until futures of `after_commit` have run this many times in all.
    pub async fn committed(&self, times: usize) {
        reach(&self.committed, times, "times `after_commit` ran").await;
    }

    /// How many times futures of `after_commit` have run.
    pub fn commits(&self) -> usize {
        *self.committed.borrow()
    }

    /// The most handlers that were running at once.
    pub fn most_running(&self) -> usize {
        self.most_running.load(Ordering::SeqCst)
    }

    /// How many times a body without an end was polled.
    pub fn polls(&self) -> usize {
        self.polled.load(Ordering::SeqCst)
    }

    /// The handlers' views of their attempts, in the order of their entries.
    pub fn visits(&self) -> Vec<Visit> {
        lock(&self.visits).clone()
    }

    pub(crate) fn extract(&self) {
        self.extracted.send_modify(|count| *count += 1);
    }

    /// Enters a handler, or a call. Returns its scene.
    pub fn enter(&self, visit: Visit) -> (Scene, Running<'_>) {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        lock(&self.visits).push(visit);
        let scene = lock(&self.scenes).pop_front();
        self.entered.send_modify(|count| *count += 1);
        let running = Running(&self.running);
        (scene.unwrap_or_else(Scene::effect), running)
    }

    /// Waits at the gate.
    pub async fn wait_at_gate(&self) {
        self.at_gate.send_modify(|count| *count += 1);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
    }

    /// Counts a future of `after_commit`.
    pub fn commit(&self) {
        self.committed.send_modify(|count| *count += 1);
    }

    pub(crate) fn poll(&self) {
        self.polled.fetch_add(1, Ordering::SeqCst);
    }

    /// Opens the gate for all handlers, so that a failed test can be cleaned up.
    pub fn tear_down(&self) {
        self.gate.close();
    }
}

/// A running handler. Dropped at its end, however it ends.
#[derive(Debug)]
pub struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn reach(count: &watch::Sender<usize>, times: usize, what: &str) {
    let mut count = count.subscribe();
    let reached = count.wait_for(|count| *count >= times);
    if tokio::time::timeout(TIMEOUT, reached).await.is_err() {
        let reached = *count.borrow();
        panic!("{reached} {what} within {TIMEOUT:?}, expected {times}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
