//! The answers that clients got, key by key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use idem_core::store::Identity;
use idem_tests::{Answer, Database, Domain as _};
use tokio::time::sleep;

use crate::checker::{Facts, Ledger, Told, check, denies, is_lasting};
use crate::report::Report;

/// What every key's requests ended with, in the order in which they ended. A key is also the label
/// of its effect.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<BTreeMap<String, Past>>>);

/// One key's.
#[derive(Debug, Clone, Default)]
struct Past {
    told: Vec<Told>,
    /// What was done to its requests.
    harms: Vec<String>,
    /// Whether that was one request, and its answer says that nothing is left of it.
    is_denied: bool,
}

/// How long a key may take to be answered once all faults are over.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many keys are retried at once.
const RETRIES: usize = 8;

impl History {
    /// One more request has ended.
    pub(crate) fn add(&self, label: &str, told: impl Into<Told>) {
        let mut all = self.lock();
        all.entry(label.to_owned())
            .or_default()
            .told
            .push(told.into());
    }

    /// A request to which harm was done has ended.
    pub(crate) fn suffered(&self, label: &str, harm: String, told: impl Into<Told>) {
        let told = told.into();
        let denied = matches!(&told, Told::Answer(answer) if denies(answer));
        self.add(label, told);
        let mut all = self.lock();
        let past = all.entry(label.to_owned()).or_default();
        past.is_denied = denied && past.harms.is_empty();
        past.harms.push(harm);
    }

    /// Retries a key as a client does until there is an answer that stays; says how long that took.
    pub(crate) async fn persist<T>(&self, label: &str, ask: impl AsyncFn() -> T) -> Duration
    where
        T: Into<Told>,
    {
        let start = Instant::now();
        loop {
            let told = ask().await.into();
            self.add(label, told.clone());
            if matches!(&told, Told::Answer(answer) if is_lasting(answer)) {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "{label}: {told:?}");
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
                told,
                harms,
                is_denied,
            } = past;
            report.requests += told.len();
            let evidence =
                facts.evidence(&identity(label), label.clone(), told.clone(), *is_denied);
            report.acknowledged += usize::from(evidence.is_acknowledged());
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
