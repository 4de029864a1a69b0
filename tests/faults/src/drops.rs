//! Futures that are dropped at any poll, and stores that fail, panic or hang before and after each of their steps.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use fastrand::Rng;
use idem_core::Engine;
use idem_tests::{Choices, Database, Framework, World};

use crate::caller::Caller;
use crate::checker::Answered;
use crate::decorator::{Blow, Harmed, Point, Trigger};
use crate::history::History;
use crate::kind::Kind;
use crate::lane::EFFECTS;
use crate::report::Report;

/// Two instances without HTTP. One of them has a store that can be harmed.
#[derive(Debug)]
pub struct Drops<D: Database> {
    harmed: Caller<Harmed<D::Store>>,
    trigger: Trigger,
    clean: Caller<D::Store>,
    history: History,
    report: Report,
}

impl<D: Database> Drops<D> {
    /// Opens two more instances.
    pub async fn open<F: Framework<D>>(world: &World<F, D>) -> Self {
        let (clean, other) = (world.instance().await, world.instance().await);
        let store = D::store(other.pool.clone(), Choices::default()).await;
        let (harmed, trigger) = Harmed::new(store.expect("migrates"));
        Self {
            harmed: Caller::of(Engine::new(harmed)),
            trigger,
            clean: Caller::of(clean.engine.clone()),
            history: History::default(),
            report: Report::default(),
        }
    }

    /// Sends a request whose future is dropped after this many polls. Returns whether the request
    /// ended before.
    pub async fn drop_at(&mut self, label: String, kind: Kind, polls: usize) -> bool {
        self.prepare(&label, kind).await;
        let first = polled(self.harmed.clone().call(kind, label.clone()), polls).await;
        let passed = first.is_some();
        self.suffered(
            label,
            first.into(),
            format!("{kind:?}, {polls} polls"),
            !passed,
        )
        .await;
        passed
    }

    /// Sends a request to a harmed store.
    pub async fn strike(&mut self, label: String, kind: Kind, point: Point, blow: Blow) {
        self.prepare(&label, kind).await;
        self.trigger.set(point, blow);
        let first = tokio::spawn(self.harmed.clone().call(kind, label.clone())).await;
        let first = first.map_or(Answered::Nothing, Answered::Answer);
        let struck = self.trigger.has_struck();
        self.suffered(
            label,
            first,
            format!("{kind:?}, {point:?}, {blow:?}"),
            struck,
        )
        .await;
    }

    /// Sends the earlier request, if the kind needs one.
    async fn prepare(&self, label: &str, kind: Kind) {
        if let Some(earlier) = kind.earlier() {
            let earlier = self.clean.clone().call(earlier, label.to_owned()).await;
            self.history.add(label, earlier);
        }
    }

    async fn suffered(&mut self, label: String, first: Answered, harm: String, done: bool) {
        self.history.suffered(&label, harm, first);
        self.report.faults += usize::from(done);
        let ask = async || self.clean.clone().call(Kind::Success, label.clone()).await;
        let recovery = self.history.persist(&label, ask).await;
        self.report.recoveries.push(recovery);
        let again = self.harmed.clone().call(Kind::Success, label.clone()).await;
        self.history.add(&label, again);
    }

    /// Sends random requests for a while. The labels contain the name.
    pub async fn storm(&mut self, name: &str, rng: &mut Rng, duration: Duration) {
        let end = Instant::now() + duration;
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let label = format!("{name}-{number}");
            let kind = Kind::ALL[rng.usize(..Kind::ALL.len())];
            if rng.u8(..10) < 7 {
                self.drop_at(label, kind, rng.usize(1..POLLS)).await;
                continue;
            }
            let point = Point::ALL[rng.usize(..Point::ALL.len())];
            // A blow that hangs lasts until the deadline.
            let hangs = rng.u8(..50) == 0;
            let blow = if hangs {
                Blow::Hangs
            } else {
                [Blow::Fails, Blow::Panics][rng.usize(..2)]
            };
            self.strike(label, kind, point, blow).await;
        }
    }

    /// Checks all requests.
    pub async fn check<F: Framework<D>>(self, world: &World<F, D>) -> Report {
        let mut connection = world.observe().await;
        let identity = Caller::<D::Store>::identity;
        let checked = self
            .history
            .check::<D>(&mut connection, EFFECTS, identity)
            .await;
        self.report.and(checked)
    }
}

/// More polls than a request takes on most databases.
const POLLS: usize = 24;

/// Polls a future this many times and then drops it. Returns the output, if there is one.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
