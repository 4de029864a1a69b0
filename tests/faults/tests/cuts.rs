//! X29: the wire between application and database is cut after every byte of a ride in steps, in both
//! directions. The client repeats the request until it is answered for good.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use idem_core::adapter::Policy;
use idem_core::store::Identity;
use idem_faults::{
    Asking, Direction, Fault, Flaw, Gate, Harm, Middle, Play, Process, Proxy, Ride, Rows, Service,
    Stop, Traffic, create_legs, end_lease,
};
use idem_tests::{
    Answer, Axum, Domain as _, Driver, Framework, Mysql, Postgres, RecordInCommit, Served, Threads,
    Wires, World,
};
use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use tokio::time::{sleep, timeout};

/// A lease ends only where the test says so.
static POLICY: Policy = RENEWING.with_lease(Duration::from_hours(1));

/// A call that waits for its lease's renewal need not wait long.
const RENEWING: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::ZERO)
    .with_lease(Duration::from_millis(150))
    .with_deadline(Duration::from_secs(10));

static SHORT_LEASE: Policy = RENEWING;

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of requests with faults in parallel.
const LANES: usize = 4;

/// A cut after every byte takes long: `FAULTS_LONG=1` has them all, and `FAULTS_LONG=7` every seventh.
fn step(short: usize) -> usize {
    let long = std::env::var("FAULTS_LONG").ok();
    long.map_or(short, |long| long.parse().expect("a number of bytes"))
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Two commits, and a call between them.
    Call,
    /// The same, and the lease is renewed during the call.
    Renewed,
    /// A call that is made once: with an intent, and its completion.
    CallOnce,
    /// The next attempt of a ride that has come as far as the call.
    Resumed,
    /// The next attempt after an intent without a result.
    Recovered,
    /// A ride that is recorded.
    Replayed,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Call,
        Self::Renewed,
        Self::CallOnce,
        Self::Resumed,
        Self::Recovered,
        Self::Replayed,
    ];

    fn middle(self) -> Middle {
        match self {
            Self::CallOnce | Self::Recovered => Middle::CallOnce(Service::Knows),
            Self::Call | Self::Renewed | Self::Resumed | Self::Replayed => Middle::Call,
        }
    }

    /// How far an earlier attempt has come before its process died.
    fn earlier(self) -> Option<Stop> {
        match self {
            Self::Resumed => Some(Stop::Charged),
            Self::Recovered => Some(Stop::Sent),
            _ => None,
        }
    }
}

/// The counts of some cuts.
#[derive(Debug, Default)]
struct Seen {
    cuts: usize,
    requests: usize,
    /// The calls that were made again.
    repeated: usize,
    /// How the requests were answered whose wire was cut.
    answers: BTreeMap<String, usize>,
    violations: Vec<String>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.requests += other.requests;
        self.repeated += other.repeated;
        self.violations.extend(other.violations);
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
    }
}

/// Two processes on one database, one of them behind a proxy.
struct Lane<D: Served> {
    proxy: Proxy,
    faulty: Process<D>,
    clean: Process<D>,
    observer: PoolConnection<Driver<D>>,
    flaw: Rc<Flaw<D::Connection>>,
    name: usize,
    rides: usize,
    seen: Seen,
}

impl<D: Served> Lane<D> {
    async fn open<F: Framework<D>>(world: &World<F, D>, name: usize) -> Self {
        let proxy = Proxy::to(world.database.address()).await;
        let wires = Wires {
            connections: 2,
            ..Wires::default()
        };
        let through = Some(proxy.address);
        Self {
            faulty: Process::start(world, Wires { through, ..wires }).await,
            clean: Process::start(world, wires).await,
            proxy,
            observer: world
                .database
                .connect(wires)
                .await
                .acquire()
                .await
                .expect("a connection"),
            flaw: Rc::new(Flaw::None),
            name,
            rides: 0,
            seen: Seen::default(),
        }
    }

    fn ride(&mut self, kind: Kind) -> (Rc<Ride>, Asking) {
        self.rides += 1;
        let label = format!("ride-{}-{}", self.name, self.rides);
        let ride = Ride::new(label.clone(), kind.middle());
        (Rc::new(ride), Asking::of(label))
    }

    fn play(&self, gate: &Rc<Gate>) -> Play<D::Connection> {
        Play {
            flaw: Rc::clone(&self.flaw),
            ..Play::right(gate)
        }
    }

    /// The traffic of a request.
    async fn traffic(&mut self, kind: Kind) -> Result<Traffic> {
        let (ride, asking) = self.ride(kind);
        self.prepare(kind, &ride, &asking).await?;
        self.proxy.count();
        let answer = self.first(kind, &ride, &asking).await?;
        ensure!(answer.status == 201, "{answer:?}");
        self.faulty.whole_pool().await?;
        Ok(self.proxy.traffic())
    }

    /// Opens the connections, and sends the earlier request.
    async fn prepare(&mut self, kind: Kind, ride: &Rc<Ride>, asking: &Asking) -> Result<()> {
        if kind == Kind::Replayed {
            let answer = self.ask(ride, asking).await?;
            ensure!(answer.status == 201, "{answer:?}");
        }
        if let Some(stop) = kind.earlier() {
            let stops: fn(Stop) -> bool = match stop {
                Stop::Sent => |stop| stop == Stop::Sent,
                _ => |stop| stop == Stop::Charged,
            };
            let gate = Rc::new(Gate::new(stops));
            let play = self.play(&gate);
            let asked = self
                .clean
                .ask(asking.clone(), &POLICY, Rc::clone(ride), play);
            tokio::select! {
                () = gate.reached() => {}
                answer = asked => ensure!(false, "it does not stop: {answer:?}"),
            }
            self.end_lease(&asking.identity()).await?;
        }
        self.faulty.whole_pool().await
    }

    /// Sends the request whose wire is cut.
    async fn first(&mut self, kind: Kind, ride: &Rc<Ride>, asking: &Asking) -> Result<Answer> {
        let stops: fn(Stop) -> bool = match kind {
            Kind::Renewed => |stop| stop == Stop::Sent,
            _ => |_| false,
        };
        let policy = match kind {
            Kind::Renewed => &SHORT_LEASE,
            _ => &POLICY,
        };
        let gate = Rc::new(Gate::new(stops));
        let play = self.play(&gate);
        let asked = self
            .faulty
            .ask(asking.clone(), policy, Rc::clone(ride), play);
        let harms = self.proxy.harms();
        let identity = asking.identity();
        let renewed = async {
            gate.reached().await;
            let before = self.leased_until(&identity).await;
            while self.proxy.harms() == harms && self.leased_until(&identity).await == before {
                sleep(Duration::from_millis(2)).await;
            }
            gate.open();
            std::future::pending::<()>().await;
        };
        let answer = async {
            tokio::select! {
                answer = asked => answer,
                () = renewed => unreachable!("it never ends"),
            }
        };
        timeout(TIMEOUT, answer).await.context("it hangs")
    }

    async fn leased_until(&mut self, identity: &Identity) -> Option<i64> {
        let runs = D::RECORDS.replace("records", "runs");
        let identity = D::bytes(&format!("{identity:?}"));
        let select = format!("SELECT leased_until FROM {runs} WHERE identity = {identity}");
        self.observer.number(&select).await.ok()
    }

    async fn end_lease(&mut self, identity: &Identity) -> Result<()> {
        end_lease::<D>(&mut self.observer, identity).await?;
        Ok(())
    }

    /// Sends a request without a fault.
    async fn ask(&mut self, ride: &Rc<Ride>, asking: &Asking) -> Result<Answer> {
        self.seen.requests += 1;
        let play = self.play(&Rc::new(Gate::new(|_| false)));
        let asked = self
            .clean
            .ask(asking.clone(), &POLICY, Rc::clone(ride), play);
        timeout(TIMEOUT, asked).await.context("it hangs")
    }

    /// Sends a request whose wire is cut, and repeats it until it is answered for good.
    async fn suffer(&mut self, kind: Kind, fault: Fault) {
        let (ride, asking) = self.ride(kind);
        if let Err(violation) = self.try_suffer(kind, fault, &ride, &asking).await {
            let violation = format!("{violation:#}: {kind:?}, {fault:?}, {ride:?}");
            self.seen.violations.push(violation);
            self.proxy.heal();
        }
    }

    async fn try_suffer(
        &mut self,
        kind: Kind,
        fault: Fault,
        ride: &Rc<Ride>,
        asking: &Asking,
    ) -> Result<()> {
        self.prepare(kind, ride, asking).await?;
        let harms = self.proxy.harms();
        self.proxy.arm(fault);
        let first = self.first(kind, ride, asking).await?;
        self.proxy.heal();
        self.seen.requests += 1;
        if self.proxy.harms() > harms {
            self.seen.cuts += 1;
            *self.seen.answers.entry(summary(&first)).or_default() += 1;
        }
        let start = Instant::now();
        let last = loop {
            self.end_lease(&asking.identity()).await?;
            let answer = self.ask(ride, asking).await?;
            if answer.status == 201 {
                break answer;
            }
            ensure!(
                matches!(answer.status, 409 | 503) && start.elapsed() < TIMEOUT,
                "a retry is answered {answer:?} after {:?}",
                start.elapsed()
            );
            sleep(Duration::from_millis(2)).await;
        };
        if first.status == 201 {
            ensure!(last.is_replay(), "R1: executed twice: {first:?}, {last:?}");
            ensure!(first.body == last.body, "R3: {first:?}, then {last:?}");
        }
        let replay = self.ask(ride, asking).await?;
        ensure!(
            replay.is_replay() && replay.body == last.body,
            "R3: {replay:?} after {last:?}"
        );
        self.seen.repeated += ride.charges().saturating_sub(1);
        let rows = Rows::read::<D>(&mut self.observer, &asking.identity(), &ride.label).await?;
        ride.check_success(&rows, &last)
    }
}

/// Status and problem.
fn summary(answer: &Answer) -> String {
    let text = answer.text();
    let problem = text
        .split_once('#')
        .and_then(|(_, kind)| kind.split('"').next());
    let replay = if answer.is_replay() { "replay " } else { "" };
    format!("{replay}{} {}", answer.status, problem.unwrap_or_default())
}

/// The report of the cuts after every `step` bytes, spread over lanes.
async fn sweep<F: Framework<D>, D: Served>(
    world: &World<F, D>,
    kinds: &[Kind],
    step: usize,
    flaw: impl Fn(&Process<D>) -> Flaw<D::Connection>,
) -> Seen {
    let start = Instant::now();
    let legs = create_legs(&mut *world.observe().await).await;
    legs.expect("a table");
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        lanes.push(Lane::open(world, lane).await);
    }
    let mut faults = Vec::new();
    for &kind in kinds {
        let traffic = lanes[0].traffic(kind).await.expect("without a fault");
        for direction in [Direction::Requests, Direction::Answers] {
            let bytes = (0..traffic.of(direction)).step_by(step);
            faults.extend(bytes.map(|after| {
                let harm = Harm::Cut;
                let fault = Fault {
                    direction,
                    after,
                    harm,
                };
                (kind, fault)
            }));
        }
    }
    let (faults, flaw) = (&faults, &flaw);
    let lanes = lanes.into_iter().enumerate();
    let lanes = lanes.map(async |(number, mut lane)| {
        lane.flaw = Rc::new(flaw(&lane.clean));
        for (kind, fault) in faults.iter().skip(number).step_by(LANES) {
            lane.suffer(*kind, *fault).await;
        }
        for process in [&lane.faulty, &lane.clean] {
            process.whole_pool().await.expect("I6: the pool is whole");
            process.pool.close().await;
        }
        lane.seen
    });
    let mut seen = Seen::default();
    for lane in join_all(lanes).await {
        seen.add(lane);
    }
    let test = std::thread::current();
    println!(
        "{}: {} cuts in {} requests, {} violations; {} calls were made again; answered {:?}; {:.0?}",
        test.name().unwrap_or_default(),
        seen.cuts,
        seen.requests,
        seen.violations.len(),
        seen.repeated,
        seen.answers,
        start.elapsed()
    );
    assert!(seen.cuts >= 20, "hardly any wire was cut");
    seen
}

fn every_byte<F: Framework<D>, D: Served>(short: usize) {
    idem_tests::run(Threads::Many, async |world: &World<F, D>| {
        let seen = sweep(world, &Kind::ALL, step(short), |_| Flaw::None).await;
        assert!(seen.violations.is_empty(), "{:#?}", seen.violations);
    });
}

#[test]
fn x29_t2_t3_t4_wire_cut_after_every_byte_on_postgres() {
    every_byte::<Axum, Postgres>(127);
}

#[test]
fn x29_t2_t3_t4_wire_cut_after_every_byte_on_record_in_commit() {
    every_byte::<Axum, RecordInCommit>(127);
}

#[test]
fn x29_t2_t3_t4_wire_cut_after_every_byte_on_mysql() {
    every_byte::<Axum, Mysql>(607);
}

/// A handler that does wrong: the cuts have to show it.
fn is_found(rule: &str, flaw: impl Fn(&Process<Postgres>) -> Flaw<PgConnection>) {
    idem_tests::run(Threads::Many, async |world: &World<Axum, Postgres>| {
        let seen = sweep(world, &[Kind::Call], 61, flaw).await;
        let violations = seen.violations.iter();
        let of_rule = violations.filter(|found| found.starts_with(rule)).count();
        println!("{of_rule} cuts break {rule}");
        assert!(of_rule > 0, "{:#?}", seen.violations);
    });
}

#[test]
fn x29_t2_write_outside_of_the_step_is_found() {
    is_found("T2", |process| Flaw::WritesOutside(process.pool.clone()));
}

#[test]
fn x29_t3_key_of_each_attempt_is_found() {
    is_found("T3", |_| Flaw::Rekeys);
}
