//! The answers to clients, key by key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use idem_core::store::Identity;
use idem_tests::{Answer, Database, Domain as _};
use tokio::time::sleep;

use crate::checker::{Answered, Facts, Ledger, check, denies};
use crate::report::Report;

/// The results of every key's requests, in the order of their ends. A key is also the label of its
/// effect.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<BTreeMap<String, Past>>>);

/// The history of one key.
#[derive(Debug, Clone, Default)]
struct Past {
    answered: Vec<Answered>,
    /// The harms to its requests.
    harms: Vec<String>,
    /// Whether only one request was harmed, and its answer says that it left nothing.
    is_denied: bool,
}

/// How long a key may take to be answered after the end of all faults.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of keys that are retried in parallel.
const RETRIES: usize = 8;

impl History {
    /// Adds the result of a request.
    pub(crate) fn add(&self, label: &str, answered: impl Into<Answered>) {
        let mut all = self.lock();
        all.entry(label.to_owned())
            .or_default()
            .answered
            .push(answered.into());
    }

    /// Adds the result of a request that was harmed.
    pub(crate) fn suffered(&self, label: &str, harm: String, answered: impl Into<Answered>) {
        let answered = answered.into();
        let denied = matches!(&answered, Answered::Answer(answer) if denies(answer));
        self.add(label, answered);
        let mut all = self.lock();
        let past = all.entry(label.to_owned()).or_default();
        past.is_denied = denied && past.harms.is_empty();
        past.harms.push(harm);
    }

    /// Retries a key as a client does, until the answer is a lasting one. Returns how long that
    /// took.
    pub(crate) async fn persist<T>(&self, label: &str, ask: impl AsyncFn() -> T) -> Duration
    where
        T: Into<Answered>,
    {
        let start = Instant::now();
        loop {
            let answered = ask().await.into();
            self.add(label, answered.clone());
            if answered.is_lasting() {
                return start.elapsed();
            }
            assert!(start.elapsed() < TIMEOUT, "{label}: {answered:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Retries every key.
    pub(crate) async fn persist_all(
        &self,
        ask: impl AsyncFn(&str) -> Option<Answer>,
    ) -> Vec<Duration> {
        let labels: Vec<String> = self.lock().keys().cloned().collect();
        let retries = labels
            .iter()
            .map(|label| self.persist(label, async || ask(label).await));
        stream::iter(retries)
            .buffer_unordered(RETRIES)
            .collect()
            .await
    }

    /// The results of every key's requests.
    pub(crate) fn answered(&self) -> BTreeMap<String, Vec<Answered>> {
        let all = self.lock();
        let all = all
            .iter()
            .map(|(label, past)| (label.clone(), past.answered.clone()));
        all.collect()
    }

    /// The violations, and the number of answers.
    ///
    /// # Panics
    ///
    /// If there are effects of transactions that wrote no record (I9).
    pub(crate) async fn check<D: Database>(
        &self,
        connection: &mut D::Connection,
        ledger: Ledger,
        identity: impl Fn(&str) -> Identity,
    ) -> Report {
        let facts = Facts::read::<D>(connection, ledger).await;
        if let Some(strays) = D::strays(ledger.table) {
            let strays = connection.number(&strays).await.expect("a number");
            assert_eq!(strays, 0, "I9: {self:?}");
        }
        let mut report = Report::default();
        for (label, past) in self.lock().iter() {
            let Past {
                answered,
                harms,
                is_denied,
            } = past;
            report.requests += answered.len();
            let evidence = facts.evidence(
                &identity(label),
                label.clone(),
                answered.clone(),
                *is_denied,
            );
            report.acknowledged += usize::from(evidence.is_acknowledged());
            report.effects += evidence.effects;
            let answers = answered.iter().filter(|end| end.is_lasting()).count();
            report.replays += answers.saturating_sub(1);
            let violations = check(&evidence).into_iter();
            let violations = violations.map(|found| (found, format!("{evidence}\n  {harms:?}")));
            report.violations.extend(violations);
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Past>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
