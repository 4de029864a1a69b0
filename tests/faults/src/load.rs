//! Clients that go on whatever happens, and what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use idem_core::{IdempotencyKey, Identity, Operation};
use idem_tests::{Answer, Database, Request};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::checker::{Evidence, Ledger, Told, check};
use crate::report::Report;

/// What every key's requests ended with, in the order in which they were sent.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<BTreeMap<String, Vec<Told>>>>);

impl History {
    fn add(&self, label: &str, told: Option<Answer>) {
        let told = told.map_or(Told::Nothing, Told::Answer);
        let mut history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        history.entry(label.to_owned()).or_default().push(told);
    }

    /// How many keys clients were told of a success.
    pub fn acknowledged(&self) -> usize {
        let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let succeeded = |told: &Told| matches!(told, Told::Answer(answer) if answer.status == 201);
        history
            .values()
            .filter(|told| told.iter().any(succeeded))
            .count()
    }

    /// How many requests were sent.
    pub fn requests(&self) -> usize {
        let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        history.values().map(Vec::len).sum()
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    /// What they were told.
    pub history: History,
}

/// How often a client sends a request before it takes another key.
const TRIES: usize = 20;

impl Load {
    /// So many clients, each with one key after the other. `request` makes the request of a key,
    /// which is also the label of its effect; its argument changes with every try.
    pub fn start(
        clients: usize,
        name: &str,
        request: impl Fn(&str, usize) -> Request + Clone + Send + 'static,
    ) -> Self {
        let (history, stop) = (History::default(), Arc::new(AtomicBool::new(false)));
        let keys = Arc::new(AtomicUsize::new(0));
        let mut load = Self {
            clients: JoinSet::new(),
            stop: Arc::clone(&stop),
            history: history.clone(),
        };
        for client in 0..clients {
            let (request, history) = (request.clone(), history.clone());
            let (stop, keys, name) = (Arc::clone(&stop), Arc::clone(&keys), name.to_owned());
            load.clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let label = format!("{name}-{}", keys.fetch_add(1, Ordering::Relaxed));
                    for attempt in 0..TRIES {
                        let answer = request(&label, client + attempt).attempt().await;
                        let is_last = answer.as_ref().is_some_and(|answer| answer.status == 201);
                        history.add(&label, answer);
                        // Now and then a success is sent again: a double click.
                        if stop.load(Ordering::Relaxed) || is_last && attempt % 4 != 0 {
                            break;
                        }
                        if !is_last {
                            sleep(Duration::from_millis(10)).await;
                        }
                    }
                }
            });
        }
        load
    }

    /// Lets every client end its request.
    pub async fn stop(mut self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        self.history
    }
}

/// How long a key may take to be answered once all faults are over.
const PATIENCE: Duration = Duration::from_secs(30);

impl History {
    /// Retries every key, and checks all of them. `path` and `tenant` are the requests'.
    pub async fn check<D: Database>(
        &self,
        connection: &mut D::Connection,
        ledger: Ledger,
        (tenant, path): (&str, &str),
        request: impl Fn(&str) -> Request,
    ) -> Report {
        let keys: Vec<String> = {
            let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            history.keys().cloned().collect()
        };
        let operation = Operation::of_route("POST", path);
        let mut report = Report::default();
        for label in keys {
            let start = Instant::now();
            loop {
                let answer = request(&label).attempt().await;
                self.add(&label, answer.clone());
                if answer.as_ref().is_some_and(|answer| answer.status == 201) {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "{label}: {answer:?}");
                sleep(Duration::from_millis(10)).await;
            }
            report.slowest = report.slowest.max(start.elapsed());
            let told = {
                let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                history[&label].clone()
            };
            let key = IdempotencyKey::parse(label.as_bytes()).expect("a key");
            let identity = Identity::new(Some(tenant), &operation, &key);
            let evidence = Evidence::read::<D>(connection, ledger, &identity, told, label).await;
            let violations = check(&evidence).into_iter();
            let violations = violations.map(|violation| (violation, format!("{evidence:?}")));
            report.violations.extend(violations);
        }
        report
    }
}
