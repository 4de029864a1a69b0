//! What handlers do, decided by the test: scenes that are played, a gate that is waited at, and
//! counts of what happened.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::scene::Scene;

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// What a handler saw of its attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visit {
    /// The client's key.
    pub key: Option<String>,
    /// Whose key it is.
    pub scope: Option<String>,
    /// The attempt's number.
    pub number: u32,
    /// The key for the service `psp`, and the one for the service `mail`.
    pub downstream: [Option<String>; 2],
}

impl Control {
    pub(crate) fn new() -> Self {
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

    /// What the next handlers that are entered play, one after the other; those behind them play
    /// [`Scene::effect`].
    pub fn play(&self, scenes: impl IntoIterator<Item = Scene>) {
        lock(&self.scenes).extend(scenes);
    }

    /// Forgets the scenes that nobody has played yet.
    pub fn forget(&self) {
        lock(&self.scenes).clear();
    }

    /// Lets so many handlers through the gate, now or when they come to it.
    pub fn open(&self, handlers: usize) {
        self.gate.add_permits(handlers);
    }

    /// Waits until handlers were entered so many times in all.
    pub async fn entered(&self, times: usize) {
        reach(&self.entered, times, "handlers were entered").await;
    }

    /// Waits until handlers came to the gate so many times in all.
    pub async fn at_gate(&self, times: usize) {
        reach(&self.at_gate, times, "handlers came to the gate").await;
    }

    /// How many times handlers came to the gate.
    pub fn gated(&self) -> usize {
        *self.at_gate.borrow()
    }

    /// How many times handlers were entered.
    pub fn entries(&self) -> usize {
        *self.entered.borrow()
    }

    /// Waits until the tenants of so many requests were extracted in all.
    pub async fn extracted(&self, times: usize) {
        reach(&self.extracted, times, "tenants were extracted").await;
    }

    /// How many times a tenant was extracted.
    pub fn extractions(&self) -> usize {
        *self.extracted.borrow()
    }

    /// Waits until what was given to `after_commit` has run so many times in all.
    pub async fn committed(&self, times: usize) {
        reach(&self.committed, times, "times `after_commit` ran").await;
    }

    /// How many times what was given to `after_commit` has run.
    pub fn commits(&self) -> usize {
        *self.committed.borrow()
    }

    /// The most handlers that were running at once.
    pub fn most_running(&self) -> usize {
        self.most_running.load(Ordering::SeqCst)
    }

    /// How many times a body without an end was asked for its next part.
    pub fn polls(&self) -> usize {
        self.polled.load(Ordering::SeqCst)
    }

    /// What the handlers saw, in the order of their entries.
    pub fn visits(&self) -> Vec<Visit> {
        lock(&self.visits).clone()
    }

    pub(crate) fn extract(&self) {
        self.extracted.send_modify(|count| *count += 1);
    }

    pub(crate) fn enter(&self, visit: Visit) -> (Scene, Running<'_>) {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        lock(&self.visits).push(visit);
        let scene = lock(&self.scenes).pop_front();
        self.entered.send_modify(|count| *count += 1);
        let running = Running(&self.running);
        (scene.unwrap_or_else(Scene::effect), running)
    }

    pub(crate) async fn wait_at_gate(&self) {
        self.at_gate.send_modify(|count| *count += 1);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
    }

    pub(crate) fn commit(&self) {
        self.committed.send_modify(|count| *count += 1);
    }

    pub(crate) fn poll(&self) {
        self.polled.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets everybody through, so that a test that failed can be cleaned up.
    pub(crate) fn tear_down(&self) {
        self.gate.close();
    }
}

/// A handler between its entry and its end, whatever the end.
pub(crate) struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn reach(count: &watch::Sender<usize>, times: usize, what: &str) {
    let mut count = count.subscribe();
    let reached = count.wait_for(|count| *count >= times);
    if tokio::time::timeout(PATIENCE, reached).await.is_err() {
        let reached = *count.borrow();
        panic!("{reached} {what} within {PATIENCE:?}, expected {times}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
