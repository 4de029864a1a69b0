//! One stream of faulted requests: an instance behind a proxy, one that is not, and a database of
//! their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_core::{IdempotencyKey, Identity, Operation};
use idem_tests::{
    Answer, Framework, Instance, Reply, Request, Scene, Served, Settings, Wires, World, answers,
};
use tokio::time::sleep;

use crate::checker::{Evidence, Ledger, Told, check};
use crate::kind::Kind;
use crate::proxy::{Fault, Proxy, Traffic};
use crate::report::Report;

/// An endpoint whose attempts may take a second, and the tenant of all requests.
const PATH: &str = "/bounded";
const TENANT: &str = "acme";

/// Where the test service's handlers write.
pub const EFFECTS: Ledger = Ledger {
    table: "effects",
    label: "label",
};

/// Longer than any retry may need.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Lane<F: Framework<D>, D: Served> {
    /// Where it runs.
    pub world: World<F, D>,
    /// The wire of the instance that is to suffer.
    pub proxy: Proxy,
    faulty: Arc<Instance<D>>,
    clean: Arc<Instance<D>>,
    keys: usize,
}

impl<F: Framework<D>, D: Served> Lane<F, D> {
    /// Opens one.
    pub async fn open() -> Self {
        let world = World::<F, D>::create().await;
        let proxy = Proxy::to(world.database.address()).await;
        let clean = world.instance_of(2).await;
        let wires = Wires {
            connections: 2,
            patience: Duration::from_secs(2),
            through: Some(proxy.address),
            ..Wires::default()
        };
        let settings = Settings {
            wires,
            ..Settings::default()
        };
        let faulty = world.instance_with(settings).await;
        Self {
            world,
            proxy,
            faulty,
            clean,
            keys: 0,
        }
    }

    /// Closes it, and checks that both pools are whole and no session is left in a transaction (I6).
    pub async fn close(self) {
        self.proxy.heal();
        self.world.end(true).await;
    }

    fn request(&mut self) -> (Request, String) {
        self.keys += 1;
        let label = format!("key-{}", self.keys);
        let request = self.faulty.post(PATH).tenant(TENANT);
        (request.key(&label).effect(&label), label)
    }

    /// Has a request's handler end as its kind says; an earlier answer if it is to be replayed.
    async fn prepare(&self, kind: Kind, request: &Request) -> Option<Answer> {
        let status = match kind {
            Kind::Success => return None,
            Kind::Replay => return Some(request.clone().to(self.clean.address).send().await),
            Kind::FinalFailure => 422,
            Kind::RetriableFailure => 500,
        };
        self.world
            .control
            .play([Scene::answering(Reply::new(status))]);
        None
    }

    /// What a request of a kind sends and receives.
    pub async fn traffic(&mut self, kind: Kind) -> Traffic {
        self.warm_up().await;
        let (request, _) = self.request();
        self.prepare(kind, &request).await;
        self.proxy.count();
        request.send().await;
        // The connection goes back to its pool a little later.
        drop(self.faulty.whole_pool().await);
        self.proxy.traffic()
    }

    /// So that the connection is open and its statements are prepared.
    async fn warm_up(&mut self) {
        self.keys += 1;
        let label = format!("warm-{}", self.keys);
        let request = self.faulty.post("/effects").tenant(TENANT);
        let answer = request.key(&label).effect(&label).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        drop(self.faulty.whole_pool().await);
    }

    /// Sends a request of a kind with a fault. Once the fault is done, does something else, and
    /// then undoes the fault, and retries; and checks what is seen.
    pub async fn suffer(
        &mut self,
        kind: Kind,
        fault: Fault,
        meanwhile: impl AsyncFnOnce(&Self, &Request) -> Vec<Answer>,
    ) -> Report {
        self.warm_up().await;
        let (request, label) = self.request();
        let mut told: Vec<Answer> = self.prepare(kind, &request).await.into_iter().collect();
        let harms = self.proxy.harms();
        self.proxy.arm(fault);
        let mut first = request.start();
        let done = tokio::select! {
            () = self.proxy.harmed(harms + 1) => true,
            () = first.answered() => self.proxy.harms() > harms,
        };
        if done {
            told.extend(meanwhile(self, &request).await);
        }
        if fault.harm.is_lasting() {
            first.answered().await;
        }
        self.proxy.heal();
        let healed = Instant::now();
        let first = first.answer().await;
        self.world.control.forget();
        told.push(first.clone());

        let clean = request.clone().to(self.clean.address);
        told.push(self.persist(&clean).await);
        let slowest = healed.elapsed();
        told.push(clean.send().await);
        let told = told.into_iter().map(Told::Answer).collect();
        let key = IdempotencyKey::parse(label.as_bytes()).expect("a key");
        let operation = Operation::of_route("POST", PATH);
        let identity = Identity::new(Some(TENANT), &operation, &key);
        let mut connection = self.world.observe().await;
        let read = Evidence::read::<D>(&mut connection, EFFECTS, &identity, told, label);
        let evidence = read.await;
        let violations = check(&evidence).into_iter();
        let violations = violations
            .map(|violation| (violation, format!("{kind:?} with {fault:?}: {evidence:?}")));
        Report {
            faults: usize::from(done),
            violations: violations.collect(),
            slowest,
            resolved: usize::from(done && first.status == 201),
            unknown: usize::from(first.text().contains("outcome-unknown")),
        }
    }

    /// Duplicates on the other instance, which is not harmed.
    pub async fn duplicates(&self, request: &Request, count: usize) -> Vec<Answer> {
        let request = request.clone().to(self.clean.address);
        let pending = (0..count).map(|_| request.start()).collect();
        answers(pending).await
    }

    /// Has the server end every session that is inside a transaction.
    pub async fn terminate(&self) {
        let mut connection = self.world.observe().await;
        D::terminate(&mut connection).await;
    }

    /// Retries as a client does, until there is an answer that stays.
    async fn persist(&self, request: &Request) -> Answer {
        let start = Instant::now();
        loop {
            let answer = request.send().await;
            if matches!(answer.status, 201 | 422) {
                return answer;
            }
            let text = answer.text();
            assert!(start.elapsed() < PATIENCE, "{}: {text}", answer.status);
            sleep(Duration::from_millis(5)).await;
        }
    }
}
