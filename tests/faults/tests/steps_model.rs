//! X30: attempts in steps compared with their rules, in random sequences that shrink. Two processes work
//! for two tenants with two keys. Attempts are paused between steps, wake, and are dropped at any poll; leases
//! and times to live end, processes crash, and an operator purges and erases.
//!
//! `PROPTEST_CASES` sets the number of sequences.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use idem_core::Engine;
use idem_faults::{
    Asking, Ending, Expected, Flaw, Gate, Live, Middle, Next, Play, Process, Reached, Ride, Rows,
    Service, Stop, UNTIMED, View, create_legs, end_lease,
};
use idem_tests::{
    Answer, Axum, Database, Domain as _, Driver, Framework, Mysql, Postgres, RecordInCommit,
    Sqlite, Wires, World,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sqlx::pool::PoolConnection;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use self::cases::cases;

mod cases;

prop_state_machine! {
    #![proptest_config(cases(64))]
    #[test]
    fn x30_t1_t2_t5_t7_t8_t9_t10_model_on_sqlite(sequential 1..32 => System<Axum, Sqlite>);
}

prop_state_machine! {
    #![proptest_config(cases(12))]
    #[test]
    fn x30_t1_t2_t5_t7_t8_t9_t10_model_on_postgres(sequential 1..32 => System<Axum, Postgres>);
    #[test]
    fn x30_t1_t2_t5_t7_t8_t9_t10_model_on_record_in_commit(sequential 1..32 => System<Axum, RecordInCommit>);
}

prop_state_machine! {
    // Each commit waits for the disk.
    #![proptest_config(cases(4))]
    #[test]
    fn x30_t1_t2_t5_t7_t8_t9_t10_model_on_mysql(sequential 1..32 => System<Axum, Mysql>);
}

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The connections of the test itself.
const OBSERVERS: u32 = 2;

/// The number of attempts that can be paused at once.
const PAUSED: usize = 3;

/// The points where attempts pause. In a transaction none does: SQLite has one writer.
const PAUSES: [Stop; 6] = [
    Stop::Claimed,
    Stop::Ridden,
    Stop::Calling,
    Stop::Sent,
    Stop::Charged,
    Stop::Paid,
];

#[derive(Clone, Copy)]
enum Step {
    /// A request begins.
    Begin(Ask),
    /// One of the paused attempts goes on to its end, or to a poll at which it is dropped.
    Wake(usize, Option<usize>),
    /// One of the paused attempts is dropped.
    Drop(usize),
    /// A process crashes with its attempts, and starts again.
    Crash(usize),
    /// All leases end.
    EndLeases,
    /// All runs and records pass their time to live.
    Expire,
    Purge,
    /// A tenant's runs and records are deleted.
    Erase(u8),
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    process: usize,
    whose: Whose,
    body: u8,
    ending: Ending,
    /// Where it pauses.
    pause: Option<Stop>,
    /// The poll at which it is dropped.
    dropped: Option<usize>,
}

/// Tenant and key.
type Whose = (u8, u8);

/// One line for each step, also in the pretty form.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(ask) => write!(f, "{ask:?}"),
            Self::Wake(at, dropped) => write!(f, "Wake({at}, {dropped:?})"),
            Self::Drop(at) => write!(f, "Drop({at})"),
            Self::Crash(process) => write!(f, "Crash({process})"),
            Self::EndLeases => f.write_str("EndLeases"),
            Self::Expire => f.write_str("Expire"),
            Self::Purge => f.write_str("Purge"),
            Self::Erase(tenant) => write!(f, "Erase({tenant})"),
        }
    }
}

/// Generates the steps. There is no state: a step that finds no paused attempt does nothing.
struct Sequence;

impl ReferenceStateMachine for Sequence {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        let paused = 0..PAUSED;
        let polls = prop::option::weighted(0.3, 1..40_usize);
        Union::new_weighted(vec![
            (12, ask().prop_map(Step::Begin).boxed()),
            (
                6,
                (paused.clone(), polls)
                    .prop_map(|(at, polls)| Step::Wake(at, polls))
                    .boxed(),
            ),
            (2, paused.prop_map(Step::Drop).boxed()),
            (1, (0..2_usize).prop_map(Step::Crash).boxed()),
            (6, Just(Step::EndLeases).boxed()),
            (1, Just(Step::Expire).boxed()),
            (1, Just(Step::Purge).boxed()),
            (3, mostly(1).prop_map(Step::Erase).boxed()),
        ])
        .boxed()
    }

    fn apply((): (), _: &Step) {}
}

/// 0, and so many times in five the other.
fn mostly(others: u32) -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0), others => Just(1)]
}

fn ask() -> impl Strategy<Value = Ask> {
    let ending = prop_oneof![
        4 => Just(Ending::Success),
        2 => Just(Ending::RetriableFailure),
        1 => Just(Ending::FinalFailure),
        1 => Just(Ending::Panic),
    ];
    (
        (0..2_usize, mostly(1), mostly(2), mostly(1)),
        ending,
        prop::option::weighted(0.6, select(&PAUSES[..])),
        prop::option::weighted(0.3, 1..60_usize),
    )
        .prop_map(
            |((process, tenant, key, body), ending, pause, dropped)| Ask {
                process,
                whose: (tenant, key),
                body,
                ending,
                pause,
                dropped,
            },
        )
}

/// A database that can tell whether the sessions of dropped attempts have ended. Their clients have gone, and
/// they may still have messages to read.
trait Quiet: Database {
    /// A query for the number of sessions, on a server.
    const SESSIONS: Option<&'static str>;
}

impl Quiet for Sqlite {
    const SESSIONS: Option<&'static str> = None;
}

impl Quiet for Mysql {
    const SESSIONS: Option<&'static str> =
        Some("SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()");
}

impl<const RECORD_IN_COMMIT: bool> Quiet for Postgres<RECORD_IN_COMMIT> {
    const SESSIONS: Option<&'static str> = Some(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND backend_type = 'client backend'",
    );
}

/// Whether a session is left.
async fn is_busy<D: Quiet>(connection: &mut D::Connection, sessions: u32) -> bool {
    if let Some(all) = D::SESSIONS
        && connection.number(all).await.expect("a number") != i64::from(sessions)
    {
        return true;
    }
    D::unfinished(connection).await > 0
}

/// What is known of an identity.
#[derive(Debug, Default)]
struct Known {
    expected: Expected,
    /// The answer that is recorded.
    answer: Option<Answer>,
    /// The ride of each life.
    rides: Vec<Rc<Ride>>,
    /// The rows of the lives that are over.
    legs: Vec<BTreeMap<String, i64>>,
}

/// An attempt that waits.
struct Paused {
    process: usize,
    whose: Whose,
    ride: Rc<Ride>,
    live: Live,
}

/// The engine in two processes, and the rules' knowledge.
struct System<F: Framework<D>, D: Quiet> {
    runtime: Rc<Runtime>,
    world: Option<World<F, D>>,
    observer: Option<PoolConnection<Driver<D>>>,
    processes: Vec<Process<D>>,
    paused: Vec<Paused>,
    known: BTreeMap<Whose, Known>,
}

impl<F: Framework<D>, D: Quiet> StateMachineTest for System<F, D> {
    type SystemUnderTest = Self;
    type Reference = Sequence;

    fn init_test((): &()) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut this = Self {
            world: Some(runtime.block_on(World::create())),
            runtime: Rc::new(runtime),
            observer: None,
            processes: Vec::new(),
            paused: Vec::new(),
            known: BTreeMap::new(),
        };
        this.run(Self::start);
        this
    }

    fn apply(mut this: Self, (): &(), step: Step) -> Self {
        this.run(async |this| this.step(step).await);
        this
    }

    fn teardown(mut this: Self, (): ()) {
        this.run(Self::settle);
    }
}

impl<F: Framework<D>, D: Quiet> Drop for System<F, D> {
    fn drop(&mut self) {
        let runtime = Rc::clone(&self.runtime);
        let _inside = runtime.enter();
        self.paused.clear();
        self.observer = None;
        self.processes.clear();
        if let Some(world) = self.world.take() {
            runtime.block_on(world.end(!std::thread::panicking()));
        }
    }
}

impl<F: Framework<D>, D: Quiet> System<F, D> {
    fn run(&mut self, step: impl AsyncFnOnce(&mut Self) -> Result<()>) {
        let runtime = Rc::clone(&self.runtime);
        if let Err(difference) = runtime.block_on(step(self)) {
            panic!("{difference:#}");
        }
    }

    async fn start(&mut self) -> Result<()> {
        let world = self.world.as_ref().context("it is there until the end")?;
        let mut observer = world.observe().await;
        create_legs(&mut *observer).await?;
        self.observer = Some(observer);
        let wires = Wires {
            connections: 2,
            ..Wires::default()
        };
        for _ in 0..2 {
            self.processes.push(Process::start(world, wires).await);
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Begin(ask) if self.paused.len() < PAUSED => self.begin(ask).await,
            Step::Wake(at, polls) if at < self.paused.len() => {
                let paused = self.paused.remove(at);
                self.go(paused, None, polls.unwrap_or(usize::MAX)).await
            }
            Step::Drop(at) if at < self.paused.len() => {
                let paused = self.paused.remove(at);
                drop(paused.live);
                self.rest(paused.process).await
            }
            Step::Crash(process) => {
                self.paused.retain(|paused| paused.process != process);
                self.rest(process).await?;
                let process = &mut self.processes[process];
                process.engine = Engine::new(process.store.clone());
                Ok(())
            }
            Step::EndLeases => {
                for (whose, known) in &mut self.known {
                    known.expected.is_leased = false;
                    let identity = asking(*whose, 0).identity();
                    end_lease::<D>(self.observer.as_mut().context("it is open")?, &identity)
                        .await?;
                }
                Ok(())
            }
            Step::Expire => self.expire().await,
            Step::Purge => self.purge().await,
            Step::Erase(tenant) => self.erase(tenant).await,
            Step::Begin(_) | Step::Wake(..) | Step::Drop(_) => Ok(()),
        }
    }

    async fn begin(&mut self, ask: Ask) -> Result<()> {
        let whose = ask.whose;
        let holder = self
            .paused
            .iter()
            .find(|paused| (paused.process, paused.whose) == (ask.process, whose));
        let known = self.known.entry(whose).or_default();
        // A new life has a ride of its own.
        let is_new = known.rides.is_empty() || !known.expected.binds();
        if is_new && holder.is_none() {
            let label = format!("{}-{}-{}", whose.0, whose.1, known.rides.len());
            known.rides.push(Rc::new(Ride::new(label, middle(whose))));
            known.legs.push(std::mem::take(&mut known.expected.legs));
        }
        let ride = known.rides.last().context("there is one")?;
        let ride = Rc::clone(ride);
        let gate = Rc::new(Gate::new(|stop| !stop.is_inside()));
        let play = Play {
            gate: Rc::clone(&gate),
            ending: ask.ending,
            flaw: Rc::new(Flaw::None),
        };
        let process = &self.processes[ask.process];
        let future = process.ask(asking(whose, ask.body), &UNTIMED, Rc::clone(&ride), play);
        let view = View::new(ask.body, ask.ending);
        // In one process, the first request answers for the others.
        if let Some(holder) = holder {
            let is_same = holder.live.view.body == ask.body;
            let kind = if is_same {
                "#in-flight\""
            } else {
                "#key-reused\""
            };
            let answer = timeout(TIMEOUT, future).await.context("it hangs")?;
            ensure!(answer.text().contains(kind), "{answer:?} is not {kind}");
            return Ok(());
        }
        let paused = Paused {
            process: ask.process,
            whose,
            ride,
            live: Live { future, gate, view },
        };
        self.go(paused, ask.pause, ask.dropped.unwrap_or(usize::MAX))
            .await
    }

    /// Moves an attempt on to a point, to its end, or to a poll at which it is dropped.
    async fn go(&mut self, mut this: Paused, pause: Option<Stop>, mut polls: usize) -> Result<()> {
        let whose = this.whose;
        loop {
            let known = self.known.get_mut(&whose).context("it has begun")?;
            let before = known.expected.clone();
            let view = &mut this.live.view;
            let next = known
                .expected
                .go(view, &this.ride, middle(whose), |stop| !stop.is_inside());
            let reached = timeout(TIMEOUT, this.live.go(&mut polls)).await;
            let Some(reached) = reached.context("it hangs")? else {
                return self.dropped(this, before).await;
            };
            if known.expected.life > before.life {
                known.answer = None;
            }
            let first = known.answer.as_ref();
            let is_right = next.is(&reached, first);
            let is_recorded = matches!(next, Next::Recorded(_));
            if let (Reached::Answer(answer), true) = (&reached, is_recorded) {
                known.answer = Some(answer.clone());
            }
            self.compare(whose, &this.ride).await?;
            ensure!(is_right, "it came to {reached:?}, expected {next:?}");
            match reached {
                Reached::Answer(_) => return Ok(()),
                Reached::Stop(stop) => {
                    this.live.view.at = Some(stop);
                    if Some(stop) == pause {
                        self.paused.push(this);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Drops an attempt on its way. Its last commit may have happened.
    async fn dropped(&mut self, this: Paused, before: Expected) -> Result<()> {
        drop(this.live);
        self.rest(this.process).await?;
        let known = self.known.get_mut(&this.whose).context("it has begun")?;
        let ride = known.rides.last().context("there is one")?;
        let identity = asking(this.whose, 0).identity();
        let observer = self.observer.as_mut().context("it is open")?;
        let rows = Rows::read::<D>(observer, &identity, &ride.label).await?;
        if known.expected.check(&rows).is_err() {
            // There is no new life.
            let is_first = known.expected.life > before.life;
            known.expected = before;
            if is_first {
                known.rides.pop();
                known.expected.legs = known.legs.pop().unwrap_or_default();
            }
        } else if known.expected.is_settled && !before.is_settled {
            // Nobody has seen the answer that is recorded.
            known.answer = None;
        }
        self.compare_all().await
    }

    /// Waits until a process has ended all transactions of dropped attempts.
    async fn rest(&mut self, process: usize) -> Result<()> {
        let quiet = async {
            self.processes[process].whole_pool().await?;
            // A connection of its own: on SQLite the question changes its timeout.
            let world = self.world.as_ref().context("it is there until the end")?;
            let mut other = world.observe().await;
            let pools = self.processes.iter().map(|process| process.pool.size());
            let sessions = pools.sum::<u32>() + OBSERVERS;
            while is_busy::<D>(&mut other, sessions).await {
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        timeout(TIMEOUT, quiet).await.context("a session is left")?
    }

    /// Compares the rows of an identity, after a move of an attempt with this ride.
    async fn compare(&mut self, whose: Whose, moved: &Ride) -> Result<()> {
        let identity = asking(whose, 0).identity();
        let observer = self.observer.as_mut().context("it is open")?;
        let known = &self.known[&whose];
        let current = known.rides.last().context("there is one")?;
        let rows = Rows::read::<D>(observer, &identity, &current.label).await?;
        known.expected.check(&rows)?;
        current.check(&rows)?;
        if moved.label != current.label {
            let rows = Rows::read::<D>(observer, &identity, &moved.label).await?;
            let legs = rows
                .legs
                .iter()
                .map(|((step, _), attempt)| (step.clone(), *attempt));
            let legs: BTreeMap<_, _> = legs.collect();
            let life = known
                .rides
                .iter()
                .position(|ride| ride.label == moved.label);
            let over = life.and_then(|life| known.legs.get(life + 1));
            ensure!(
                over == Some(&legs),
                "T10: {legs:?} after the end of {over:?}"
            );
            moved.check(&rows)?;
        }
        Ok(())
    }

    async fn expire(&mut self) -> Result<()> {
        let observer = self.observer.as_mut().context("it is open")?;
        let (records, now, second) = (D::RECORDS, D::NOW, D::SECOND);
        let age = format!("expires_at - {now} + {second}");
        let runs = records.replace("records", "runs");
        for expire in [
            format!("UPDATE {runs} SET leased_until = 1, expires_at = 1"),
            format!(
                "UPDATE {records} SET settled_at = settled_at - ({age}), expires_at = {now} - {second}"
            ),
        ] {
            observer.run(&expire).await?;
        }
        for known in self.known.values_mut() {
            known.expected.is_leased = false;
            known.expected.is_expired = true;
        }
        Ok(())
    }

    async fn purge(&mut self) -> Result<()> {
        let mut expired = 0;
        for known in self.known.values_mut() {
            let expected = &mut known.expected;
            let is_there = expected.is_settled || expected.epoch.is_some();
            if is_there && !expected.binds() {
                expired += 1;
                expected.forget_rows();
            }
        }
        let purged = self.processes[0].engine.purge_expired().await?;
        ensure!(
            purged == expired,
            "E3, T9: {purged} are purged, expected {expired}"
        );
        self.compare_all().await
    }

    async fn erase(&mut self, tenant: u8) -> Result<()> {
        let mut there = 0;
        for (_, known) in self.known.iter_mut().filter(|(whose, _)| whose.0 == tenant) {
            let expected = &mut known.expected;
            there += u64::from(expected.is_settled || expected.epoch.is_some());
            expected.forget_rows();
        }
        let scope = format!("tenant-{tenant}");
        let erased = self.processes[1].engine.erase(Some(&scope)).await?;
        ensure!(
            erased == there,
            "E4, T10: {erased} are erased, expected {there}"
        );
        self.compare_all().await
    }

    async fn compare_all(&mut self) -> Result<()> {
        let all = self.known.iter();
        let all = all.filter_map(|(whose, known)| Some((*whose, Rc::clone(known.rides.last()?))));
        let all: Vec<_> = all.collect();
        for (whose, ride) in all {
            self.compare(whose, &ride).await?;
        }
        Ok(())
    }

    /// Ends all, and checks each ride that has succeeded.
    async fn settle(&mut self) -> Result<()> {
        while !self.paused.is_empty() {
            self.step(Step::Wake(0, None)).await?;
        }
        self.step(Step::EndLeases).await?;
        let all: Vec<Whose> = self.known.keys().copied().collect();
        for whose in all {
            let expected = &self.known[&whose].expected;
            let body = if expected.binds() { expected.body } else { 0 };
            for _ in 0..2 {
                self.begin(Ask {
                    process: 0,
                    whose,
                    body,
                    ending: Ending::Success,
                    pause: None,
                    dropped: None,
                })
                .await?;
            }
            let known = &self.known[&whose];
            ensure!(known.expected.is_settled, "{known:?} is not settled");
            let Some(answer) = known.answer.clone() else {
                continue;
            };
            let ride = known.rides.last().context("there is one")?;
            let observer = self.observer.as_mut().context("it is open")?;
            let identity = asking(whose, 0).identity();
            let rows = Rows::read::<D>(observer, &identity, &ride.label).await?;
            ride.check_success(&rows, &answer)?;
        }
        for process in 0..2 {
            self.rest(process).await?;
        }
        for process in &self.processes {
            process.pool.close().await;
        }
        Ok(())
    }
}

fn asking((tenant, key): Whose, body: u8) -> Asking {
    Asking {
        tenant: format!("tenant-{tenant}"),
        key: format!("key-{key}"),
        body: format!("body-{body}"),
        label: String::new(),
    }
}

/// A key is always used for the same kind of ride.
fn middle((_, key): Whose) -> Middle {
    match key {
        0 => Middle::Call,
        _ => Middle::CallOnce(Service::Knows),
    }
}
