//! From the outbox to the broker.

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use idem_core::StoreError;
use tokio::time::{Instant, sleep, timeout};

use crate::database::OutboxStore;
use crate::error::Failure;
use crate::message::Message;
use crate::meter;
use crate::outbox::Outbox;

/// How often [`Relay::run`] measures the lag.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

/// Publishes the messages of an outbox by a function of the application. Many relays may run, in one process or in many.
///
/// A relay leases a batch of messages, publishes all of them at once outside of any transaction, and deletes those that
/// the function has confirmed. The others are due again later. A relay that dies leaves its batch to the others, which
/// publish it once the lease is over, three times as long as a [publication](Self::with_timeout) may take. So each
/// message is published **at least once**, always with the same id, and there is no order of messages.
///
/// All times are the database's.
#[derive(Clone)]
pub struct Relay<S, P> {
    outbox: Outbox<S>,
    publish: P,
    batch: u32,
    timeout: Duration,
    poll_interval: Duration,
    first_delay: Duration,
    longest_delay: Duration,
    max_failures: u32,
}

/// What a relay has done with one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Round {
    /// The messages that were published.
    pub published: u32,
    /// Those that could not be published, and are due again later.
    pub failed: u32,
    /// Those that have become dead letters.
    pub dead: u32,
}

impl<S, P> Relay<S, P>
where
    S: OutboxStore,
    P: AsyncFn(Message) -> Result<(), Failure>,
{
    /// A relay that publishes by `publish`: it returns `Ok` once the broker has confirmed that it keeps the message.
    ///
    /// A panic in it is a failure.
    pub fn new(outbox: Outbox<S>, publish: P) -> Self {
        meter::describe();
        Self {
            outbox,
            publish,
            batch: 100,
            timeout: Duration::from_secs(10),
            poll_interval: Duration::from_secs(1),
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_mins(5),
            max_failures: 100,
        }
    }

    /// How many messages are published at once, by default 100.
    #[must_use]
    pub fn with_batch(mut self, messages: u32) -> Self {
        self.batch = messages.max(1);
        self
    }

    /// How long the publication of a message may take, by default 10 s; later it is a failure. The lease is three times as
    /// long.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long [`run`](Self::run) waits if there was less than a batch to publish, by default 1 s. A push in the same
    /// process wakes it earlier.
    #[must_use]
    pub fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// How long a message waits after its first failure, by default 1 s, and at most, by default 5 min. The wait doubles with each
    /// failure.
    #[must_use]
    pub fn with_delays(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_delay, self.longest_delay) = (first, longest);
        self
    }

    /// After how many failures a message is a dead letter, by default 100: after about eight hours with the other defaults.
    ///
    /// A message that fails holds up no other, and a broker that is down lets all messages fail. So let it be
    /// longer than an outage takes.
    #[must_use]
    pub fn with_max_failures(mut self, failures: u32) -> Self {
        self.max_failures = failures;
        self
    }

    /// Publishes until the future is dropped, which is safe at any point.
    ///
    /// An error of the database is logged, and tried again after the poll interval.
    pub async fn run(&self) -> Infallible {
        let mut measured: Option<Instant> = None;
        loop {
            let rest = match self.run_once().await {
                Ok(round) if round.published + round.failed + round.dead >= self.batch => None,
                Ok(_) => Some(true),
                Err(error) => {
                    log(&error);
                    Some(false)
                }
            };
            if meter::IS_ON && measured.is_none_or(|last| last.elapsed() >= MEASURED_EVERY) {
                measured = Some(Instant::now());
                if let Err(error) = self.outbox.stats().await {
                    log(&error);
                }
            }
            match rest {
                None => {}
                Some(true) => {
                    let woken = self.outbox.bell.notified();
                    let _ = timeout(self.poll_interval, woken).await;
                }
                Some(false) => sleep(self.poll_interval).await,
            }
        }
    }

    /// Publishes one batch of messages that are due.
    ///
    /// # Errors
    ///
    /// The database's. What was published and could not be deleted is published again.
    pub async fn run_once(&self) -> Result<Round, StoreError> {
        let Outbox { store, sql, .. } = &self.outbox;
        let lease = self.timeout * 3;
        let leased = store.lease(sql, self.batch, lease).await?;
        let mut messages: Vec<Message> = leased.into_iter().map(Message::from).collect();
        // The database returns them in any order.
        messages.sort_by_key(|message| message.pushed_at);
        let published = join_all(messages.iter().map(|message| self.publish(message))).await;

        let mut round = Round::default();
        let mut confirmed = Vec::new();
        let mut failures = Vec::new();
        for (message, published) in messages.iter().zip(published) {
            match published {
                Ok(()) => confirmed.push(message),
                Err(failure) => failures.push(self.failed(message, &failure, &mut round)),
            }
        }
        if !confirmed.is_empty() {
            let delete = sql.delete(&confirmed);
            if let Err(error) = store.change(delete.clone()).await {
                log(&error);
                // A deadlock or a lost connection would have all of them published again.
                store.change(delete).await?;
            }
            round.published = u32::try_from(confirmed.len()).unwrap_or(u32::MAX);
        }
        if !failures.is_empty() {
            store.change(failures.join("; ")).await?;
        }
        meter::round(round);
        Ok(round)
    }

    async fn publish(&self, message: &Message) -> Result<(), Failure> {
        let published = AssertUnwindSafe((self.publish)(message.clone())).catch_unwind();
        match timeout(self.timeout, published).await {
            Ok(Ok(published)) => published,
            Ok(Err(_)) => Err(Failure::later("the publication panicked")),
            Err(_) => Err(Failure::later("the publication took too long")),
        }
    }

    /// The statement that writes a failure down.
    fn failed(&self, message: &Message, failure: &Failure, round: &mut Round) -> String {
        let failures = message.failures.saturating_add(1);
        let delay = if failure.is_dead || failures >= self.max_failures {
            round.dead += 1;
            tracing::error!(id = message.id, topic = message.topic, error = %failure, "a message is a dead letter");
            None
        } else {
            round.failed += 1;
            tracing::warn!(id = message.id, topic = message.topic, failures, error = %failure, "a message could not be published");
            Some(self.delay(message.failures))
        };
        self.outbox.sql.fail(message, &failure.reason, delay)
    }

    /// The wait after a failure, with so many failures before it.
    fn delay(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures);
        self.first_delay
            .saturating_mul(factor)
            .min(self.longest_delay)
    }
}

fn log(error: &StoreError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "the outbox could not be read or written");
}

impl<S: fmt::Debug, P> fmt::Debug for Relay<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}
