//! One stream of faulted requests: an instance with a proxy in front of its database, one without,
//! and a database of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use idem_core::store::Identity;
use idem_core::{IdempotencyKey, Operation};
use idem_tests::{
    Answer, Framework, Instance, Reply, Request, Scene, Served, Settings, Wires, World, answers,
};

use crate::checker::Ledger;
use crate::history::History;
use crate::kind::Kind;
use crate::proxy::{Direction, Fault, Harm, Proxy, Traffic};
use crate::report::Report;

/// An endpoint whose attempts may take a second, and the tenant of all requests.
const PATH: &str = "/bounded";
pub(crate) const TENANT: &str = "acme";

/// The ledger of the test service's handlers.
pub const EFFECTS: Ledger = Ledger {
    table: "effects",
    label: "label",
};

/// The event during a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// The client sends the request twice more, to an instance that has no fault.
    Duplicates,
    /// The server ends every session that is inside a transaction.
    Terminated,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Lane<F: Framework<D>, D: Served> {
    /// The environment of the lane.
    pub world: World<F, D>,
    /// The wire of the faulty instance.
    pub proxy: Proxy,
    faulty: Arc<Instance<D>>,
    clean: Arc<Instance<D>>,
    keys: usize,
    history: History,
    /// Violations that the history can't show.
    report: Report,
}

impl<F: Framework<D>, D: Served> Lane<F, D> {
    /// Opens a lane.
    pub async fn open() -> Self {
        let world = World::<F, D>::create().await;
        let proxy = Proxy::to(world.database.address()).await;
        let clean = world.instance_of(2).await;
        let wires = Wires {
            connections: 2,
            acquire_timeout: Duration::from_secs(2),
            through: Some(proxy.address),
            ..Wires::default()
        };
        let settings = Settings::from(wires);
        let faulty = world.instance_with(settings).await;
        Self {
            world,
            proxy,
            faulty,
            clean,
            keys: 0,
            history: History::default(),
            report: Report::default(),
        }
    }

    /// Checks all requests of the lane. Also checks that both pools are complete and that no
    /// session is left in a transaction (I6).
    pub async fn close(self) -> Report {
        self.proxy.heal();
        let mut connection = self.world.observe().await;
        let identity = |label: &str| identity(PATH, label);
        let checked = self
            .history
            .check::<D>(&mut connection, EFFECTS, identity)
            .await;
        drop(connection);
        self.world.end(true).await;
        self.report.and(checked)
    }

    fn request(&mut self) -> (Request, String) {
        self.keys += 1;
        let label = format!("key-{}", self.keys);
        let request = self.faulty.post(PATH).tenant(TENANT);
        (request.key(&label).effect(&label), label)
    }

    /// Prepares the handler's end for a request of this kind. Returns the answer to the earlier
    /// request, if the kind needs one.
    async fn prepare(&self, kind: Kind, request: &Request) -> Option<Answer> {
        let control = &self.world.control;
        let play = |kind: Kind| control.play([Scene::answering(Reply::new(kind.status()))]);
        let mut earlier = None;
        if let Some(kind) = kind.earlier() {
            play(kind);
            earlier = Some(request.clone().to(self.clean.address).send().await);
        }
        if kind != Kind::Replay {
            play(kind);
        }
        earlier
    }

    /// The traffic of a request of a kind.
    pub async fn traffic(&mut self, kind: Kind) -> Traffic {
        self.warm_up().await;
        let (request, _) = self.request();
        self.prepare(kind, &request).await;
        self.proxy.count();
        request.send().await;
        // The connection returns to its pool a little later.
        drop(self.faulty.whole_pool().await);
        self.proxy.traffic()
    }

    /// Opens the connection and prepares its statements.
    pub async fn warm_up(&mut self) {
        self.keys += 1;
        let label = format!("warm-{}", self.keys);
        let request = self.faulty.post("/effects").tenant(TENANT);
        let answer = request.key(&label).effect(&label).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        drop(self.faulty.whole_pool().await);
    }

    /// Sends a request of a kind once with each fault, and at the end once without a fault.
    pub async fn suffer(&mut self, kind: Kind, faults: &[(Fault, Meanwhile)]) {
        let (request, label) = self.request();
        if let Some(earlier) = self.prepare(kind, &request).await {
            self.history.add(&label, earlier);
        }
        for (fault, meanwhile) in faults {
            let first = self.strike(&request, &label, *fault, *meanwhile).await;
            let harm = format!("{kind:?}, {fault:?}, {meanwhile:?}");
            self.history.suffered(&label, harm, first);
        }
        let clean = request.to(self.clean.address);
        let recovery = self
            .history
            .persist(&label, async || clean.send().await)
            .await;
        self.report.recoveries.push(recovery);
        self.history.add(&label, clean.send().await);
    }

    /// Sends a request with a fault. When the fault is done, starts the other event, and then heals
    /// the fault.
    async fn strike(
        &mut self,
        request: &Request,
        label: &str,
        fault: Fault,
        meanwhile: Meanwhile,
    ) -> Answer {
        let harms = self.proxy.harms();
        self.proxy.arm(fault);
        let mut first = request.start();
        let done = tokio::select! {
            () = self.proxy.harmed(harms + 1) => true,
            () = first.answered() => self.proxy.harms() > harms,
        };
        if done {
            self.happen(meanwhile, request, label).await;
        }
        if fault.harm.is_lasting() {
            first.answered().await;
        }
        self.proxy.heal();
        let first = first.answer().await;
        self.world.control.forget();
        self.report.faults += usize::from(done);
        self.report.resolved += usize::from(done && first.status == 201);
        self.report.unknown += usize::from(first.text().contains("outcome-unknown"));
        first
    }

    async fn happen(&self, meanwhile: Meanwhile, request: &Request, label: &str) {
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Duplicates => {
                let request = request.clone().to(self.clean.address);
                let pending = (0..2).map(|_| request.start()).collect();
                for answer in answers(pending).await {
                    self.history.add(label, answer);
                }
            }
            Meanwhile::Terminated => {
                let mut connection = self.world.observe().await;
                D::terminate(&mut connection).await;
            }
        }
    }

    /// Injects random faults for a while.
    pub async fn storm(mut self, rng: &mut Rng, duration: Duration) -> Report {
        let end = Instant::now() + duration;
        let span = self.traffic(Kind::FinalFailure).await;
        while Instant::now() < end {
            // Without a warm connection, one may have to be opened, and its bytes count.
            if rng.u8(..4) == 0 {
                self.warm_up().await;
            }
            let kind = Kind::ALL[rng.usize(..Kind::ALL.len())];
            let times = if rng.u8(..4) == 0 { 2 } else { 1 };
            let faults: Vec<_> = (0..times).map(|_| random(rng, span)).collect();
            self.suffer(kind, &faults).await;
        }
        self.close().await
    }
}

/// Mostly cuts: after other faults an attempt waits a second in vain.
fn random(rng: &mut Rng, span: Traffic) -> (Fault, Meanwhile) {
    let (harm, meanwhile) = match rng.u8(..100) {
        ..85 => (Harm::Cut, Meanwhile::Nothing),
        85..90 => (Harm::HoldBack, Meanwhile::Nothing),
        90..93 => (Harm::HoldBack, Meanwhile::Duplicates),
        93..98 => (Harm::HoldBack, Meanwhile::Terminated),
        98 => (Harm::Stall, Meanwhile::Nothing),
        _ => (Harm::BlackHole, Meanwhile::Nothing),
    };
    let direction = [Direction::Requests, Direction::Answers][rng.usize(..2)];
    let fault = Fault {
        direction,
        after: rng.usize(..=span.of(direction)),
        harm,
    };
    (fault, meanwhile)
}

/// The identity of a request with this label.
pub(crate) fn identity(path: &str, label: &str) -> Identity {
    let key = IdempotencyKey::parse(label.as_bytes()).expect("a key");
    Identity::new(Some(TENANT), &Operation::of_route("POST", path), &key)
}
