//! The engine compared with a model of it. Requests overlap, futures are dropped, stores fail
//! between any two steps, processes crash, and time passes, in sequences that shrink.
//!
//! `PROPTEST_CASES` sets the number of sequences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::try_join_all;
use idem_core::adapter::Policy;
use idem_core::{Config, Engine, ReplayCache};
use idem_faults::{
    Asking, Blow, Caller, EFFECTS, Ending, Explained, Facts, Harmed, Point, Request, Trigger, check,
};
use idem_tests::{
    Answer, Axum, Choices, Database, Driver, Framework, Mysql, Postgres, RecordInCommit, Sqlite,
    Wires, World,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sqlx::Pool;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use self::cases::cases;

mod cases;

prop_state_machine! {
    #![proptest_config(cases(96))]
    #[test]
    fn x3_model_on_sqlite(sequential 1..32 => System<Axum, Sqlite>);
}

prop_state_machine! {
    #![proptest_config(cases(12))]
    #[test]
    fn x3_model_on_postgres(sequential 1..32 => System<Axum, Postgres>);
    #[test]
    fn x3_model_on_record_in_commit(sequential 1..32 => System<Axum, RecordInCommit>);
    #[test]
    fn x3_model_on_mysql(sequential 1..32 => System<Axum, Mysql>);
}

/// No request may reach a time limit.
static POLICY: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::from_secs(20))
    .with_deadline(Duration::from_secs(20));

/// The time for a pool to be complete once everything is quiet.
const WHOLE: Duration = Duration::from_secs(5);

/// The number of requests that can be open at once.
const OPEN: usize = 4;

#[derive(Clone, Copy)]
enum Step {
    /// A request begins. It ends before the next step, unless others are open.
    Begin(Ask),
    /// One of the open requests is dropped.
    Drop(usize),
    /// All handlers continue, and all requests end.
    Release,
    /// Both processes crash with all open requests, and start again.
    Crash,
    /// All records expire.
    Expire,
    /// Expired records are deleted.
    Purge,
    /// A tenant's records are deleted.
    Erase(u8),
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    process: usize,
    tenant: u8,
    key: u8,
    intent: u8,
    ending: Ending,
    /// Its handler waits until it is released. The request and all later ones wait with it.
    held: bool,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Lives,
    /// The future is dropped at this poll.
    Dropped(usize),
    /// The store harms it at this point. If the store hangs, the request is dropped.
    Struck(Point, Blow),
}

/// One line for each step, also in the pretty form.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(ask) => write!(f, "{ask:?}"),
            Self::Drop(at) => write!(f, "Drop({at})"),
            Self::Release => f.write_str("Release"),
            Self::Crash => f.write_str("Crash"),
            Self::Expire => f.write_str("Expire"),
            Self::Purge => f.write_str("Purge"),
            Self::Erase(tenant) => write!(f, "Erase({tenant})"),
        }
    }
}

/// Generates the steps. The state is the greatest possible number of open requests.
struct Sequence;

impl ReferenceStateMachine for Sequence {
    type State = usize;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<usize> {
        Just(0).boxed()
    }

    fn transitions(open: &usize) -> BoxedStrategy<Step> {
        let begin = ask().prop_map(Step::Begin).boxed();
        let crash = Just(Step::Crash).boxed();
        Union::new_weighted(match *open {
            0 => vec![
                (16, begin),
                (1, crash),
                (1, Just(Step::Expire).boxed()),
                (1, Just(Step::Purge).boxed()),
                (1, (0..2_u8).prop_map(Step::Erase).boxed()),
            ],
            open => vec![
                (8, begin),
                (1, crash),
                (3, Just(Step::Release).boxed()),
                (2, (0..open).prop_map(Step::Drop).boxed()),
            ],
        })
        .boxed()
    }

    fn apply(open: usize, step: &Step) -> usize {
        match step {
            Step::Begin(ask) if open > 0 || ask.held => open + 1,
            Step::Begin(_) => open,
            Step::Drop(_) => open - 1,
            Step::Release | Step::Crash | Step::Expire | Step::Purge | Step::Erase(_) => 0,
        }
    }

    fn preconditions(open: &usize, step: &Step) -> bool {
        match step {
            Step::Begin(_) => *open < OPEN,
            Step::Drop(at) => at < open,
            Step::Release => *open > 0,
            Step::Crash => true,
            Step::Expire | Step::Purge | Step::Erase(_) => *open == 0,
        }
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    let ending = prop_oneof![
        4 => Just(Ending::Success),
        2 => Just(Ending::RetriableFailure),
        1 => Just(Ending::FinalFailure),
        1 => Just(Ending::Panic),
    ];
    let fate = prop_oneof![
        6 => Just(Fate::Lives),
        1 => (1..16_usize).prop_map(Fate::Dropped),
        1 => (select(&Point::ALL[..]), select(&Blow::ALL[..]))
            .prop_map(|(point, blow)| Fate::Struck(point, blow)),
    ];
    let mostly = |other: u32| prop_oneof![3 => Just(0_u8), other => Just(1)];
    let whose = (0..2_usize, mostly(1), mostly(1), mostly(1));
    (whose, ending, prop::bool::weighted(0.3), fate).prop_map(
        |((process, tenant, key, intent), ending, held, fate)| Ask {
            process,
            tenant,
            key,
            intent,
            ending,
            held,
            fate,
        },
    )
}

impl Ask {
    fn asking(self, label: &str) -> Asking {
        let Self {
            tenant,
            key,
            intent,
            ..
        } = self;
        Asking {
            tenant: format!("tenant-{tenant}"),
            key: format!("key-{key}"),
            body: format!("intent-{intent}"),
            label: label.to_owned(),
        }
    }

    /// A request that settles the identity in any state, provided that one is sent for each intent.
    fn probe((tenant, key): Whose, intent: u8) -> Self {
        Self {
            process: 0,
            tenant,
            key,
            intent,
            ending: Ending::Success,
            held: false,
            fate: Fate::Lives,
        }
    }
}

/// Tenant and key. They are an identity, as there is only one operation.
type Whose = (u8, u8);

/// The engine in two processes, and the model's knowledge.
struct System<F: Framework<D>, D: Database> {
    runtime: Rc<Runtime>,
    world: Option<World<F, D>>,
    processes: Vec<Process<D>>,
    open: Vec<Open>,
    explained: BTreeMap<Whose, Explained>,
    /// The identities with an expired record.
    expired: BTreeSet<Whose>,
    /// The number of requests so far.
    requests: usize,
}

struct Process<D: Database> {
    pool: Pool<Driver<D>>,
    engine: Engine<Harmed<D::Store>>,
    trigger: Trigger,
}

/// A request that may still run.
struct Open {
    whose: Whose,
    number: usize,
    /// Dropping it lets the handler continue.
    gate: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Option<Answer>>>,
}

impl<F: Framework<D>, D: Database> StateMachineTest for System<F, D> {
    type SystemUnderTest = Self;
    type Reference = Sequence;

    fn init_test(_: &usize) -> Self {
        // One thread, so that a harm strikes only the request that is meant.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let world = runtime.block_on(World::create());
        let mut this = Self {
            runtime: Rc::new(runtime),
            world: Some(world),
            processes: Vec::new(),
            open: Vec::new(),
            explained: BTreeMap::new(),
            expired: BTreeSet::new(),
            requests: 0,
        };
        this.run(Self::start);
        this
    }

    fn apply(mut this: Self, _: &usize, step: Step) -> Self {
        this.run(async |this| {
            match step {
                Step::Begin(ask) => this.begin(ask).await,
                Step::Drop(at) => {
                    let mut open = this.open.remove(at);
                    if let Some(task) = &open.task {
                        task.abort();
                    }
                    this.end(&mut open).await;
                }
                Step::Release => this.release().await,
                Step::Crash => this.crash().await,
                Step::Expire => this.expire().await,
                Step::Purge => this.purge().await,
                Step::Erase(tenant) => this.erase(tenant).await,
            }
            this.compare().await;
        });
        this
    }

    fn teardown(mut this: Self, _: usize) {
        this.run(async |this| {
            this.release().await;
            this.settle().await;
            for process in &this.processes {
                let connections = process.pool.options().get_max_connections();
                let all = try_join_all((0..connections).map(|_| process.pool.acquire()));
                let all = timeout(WHOLE, all).await.expect("I6: the pool is whole");
                drop(all.expect("connections"));
                process.pool.close().await;
            }
        });
    }
}

impl<F: Framework<D>, D: Database> Drop for System<F, D> {
    fn drop(&mut self) {
        if let Some(world) = self.world.take() {
            self.open.clear();
            self.processes.clear();
            self.runtime.block_on(world.end(!std::thread::panicking()));
        }
    }
}

impl<F: Framework<D>, D: Database> System<F, D> {
    fn run(&mut self, step: impl AsyncFnOnce(&mut Self)) {
        let runtime = Rc::clone(&self.runtime);
        runtime.block_on(step(self));
    }

    fn world(&self) -> &World<F, D> {
        self.world.as_ref().expect("it is there until the end")
    }

    /// Starts the processes. One of them has a replay cache.
    async fn start(&mut self) {
        let cache = ReplayCache::new(1 << 20, Duration::from_mins(1));
        for config in [Config::new(), Config::new().with_replay_cache(cache)] {
            let pool = self.world().database.connect(Wires::default()).await;
            let store = D::store(pool.clone(), Choices::default()).await;
            let (store, trigger) = Harmed::new(store.expect("migrates"));
            self.processes.push(Process {
                pool,
                engine: Engine::with_config(store, config),
                trigger,
            });
        }
    }

    async fn begin(&mut self, ask: Ask) {
        self.requests += 1;
        let (whose, number) = ((ask.tenant, ask.key), self.requests);
        let explained = self
            .explained
            .entry(whose)
            .or_insert_with(|| Explained::new(format!("effect-{number}")));
        let is_harmed = !matches!(ask.fate, Fate::Lives);
        let request = Request::new(number, ask.intent, ask.ending, is_harmed);
        explained.begin(request.clone());
        let process = &self.processes[ask.process];
        let caller = Caller::with_policy(process.engine.clone(), &POLICY);
        let asking = ask.asking(&explained.label);
        let label = explained.label.clone();
        let (gate, opened) = oneshot::channel::<()>();
        let (entered, has_entered) = oneshot::channel();
        let end = async move |attempt| {
            let _ = entered.send(());
            let _ = opened.await;
            let status = match ask.ending {
                Ending::Success => 201,
                Ending::FinalFailure => 422,
                Ending::RetriableFailure => 500,
                Ending::Panic => panic!("a handler's"),
            };
            (status, request.body(&label, attempt))
        };
        let asked = caller.ask(asking, end);
        let task = tokio::spawn(fated(asked, ask.fate, process.trigger.clone()));
        let mut open = Open {
            whose,
            number,
            gate: ask.held.then_some(gate),
            task: Some(task),
        };
        if !self.open.is_empty() {
            // The request runs as far as it can alone; then it waits in the single flight or at the
            // store.
            yield_now().await;
        } else if ask.held {
            // This also ends if the handler is not entered, as its sender is dropped.
            let _ = has_entered.await;
        } else {
            return self.end(&mut open).await;
        }
        self.open.push(open);
    }

    /// Waits for a request to end.
    async fn end(&mut self, open: &mut Open) {
        open.gate = None;
        let Some(task) = open.task.take() else {
            return;
        };
        let explained = self.explained.get_mut(&open.whose).expect("it has begun");
        match task.await {
            Ok(Some(answer)) => explained.answer(open.number, answer),
            Ok(None) | Err(_) => explained.lose(open.number),
        }
    }

    async fn release(&mut self) {
        let mut all = std::mem::take(&mut self.open);
        for open in &mut all {
            open.gate = None;
        }
        for open in &mut all {
            self.end(open).await;
        }
    }

    async fn crash(&mut self) {
        let mut all = std::mem::take(&mut self.open);
        for task in all.iter().filter_map(|open| open.task.as_ref()) {
            task.abort();
        }
        for open in &mut all {
            self.end(open).await;
        }
        self.processes.clear();
        self.start().await;
    }

    async fn expire(&mut self) {
        self.settle().await;
        self.expired.extend(self.explained.keys());
        self.explained.clear();
        if !self.expired.is_empty() {
            self.world().expire().await;
        }
        // The clocks of a replay cache do not follow the changed rows.
        self.crash().await;
    }

    async fn purge(&mut self) {
        self.settle().await;
        let expired = std::mem::take(&mut self.expired).into_iter();
        let rows = expired.filter(|whose| !self.explained.contains_key(whose));
        let purged = self.processes[0].engine.purge_expired().await;
        assert_eq!(purged.expect("purges"), rows.count() as u64, "E3");
    }

    async fn erase(&mut self, tenant: u8) {
        self.settle().await;
        let mut rows = self.expired.clone();
        rows.extend(self.explained.keys());
        let rows = rows.into_iter().filter(|whose| whose.0 == tenant).count();
        self.expired.retain(|whose| whose.0 != tenant);
        self.explained.retain(|whose, _| whose.0 != tenant);
        let scope = format!("tenant-{tenant}");
        for (process, rows) in self.processes.iter().zip([rows, 0]) {
            let erased = process.engine.erase(Some(&scope)).await;
            assert_eq!(erased.expect("erases"), rows as u64, "E4");
        }
    }

    /// Resolves every unknown state, and checks that there is a record for every known one.
    async fn settle(&mut self) {
        let unknown = self.explained.iter().filter(|(_, explained)| {
            let expected = explained.expected();
            expected.is_none_or(|(record, _)| record.is_none())
        });
        let unknown: Vec<Whose> = unknown.map(|(whose, _)| *whose).collect();
        for whose in unknown {
            for intent in 0..2 {
                self.begin(Ask::probe(whose, intent)).await;
            }
            let explained = self.explained.get_mut(&whose).expect("it was there");
            explained.rest();
        }
        self.compare().await;
    }

    /// Compares the database with the model.
    async fn compare(&self) {
        let mut connection = self.world().observe().await;
        let facts = Facts::read::<D>(&mut connection, EFFECTS).await;
        for (&(tenant, key), explained) in &self.explained {
            // Without a record in the model, the database may have an expired one.
            let Some((record @ Some(_), effects)) = explained.expected() else {
                continue;
            };
            let label = explained.label.clone();
            let identity = Ask::probe((tenant, key), 0).asking(&label).identity();
            let answered = explained.answered.clone();
            let evidence = facts.evidence(&identity, label, answered, false);
            assert_eq!((evidence.record, evidence.effects), (record, effects));
            assert_eq!(check(&evidence), [], "{evidence:?}");
        }
    }
}

/// The output of a future, if it is not dropped.
async fn fated<T>(future: impl Future<Output = T>, fate: Fate, trigger: Trigger) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    let mut harm = match fate {
        Fate::Struck(point, blow) => Some((point, blow)),
        Fate::Lives | Fate::Dropped(_) => None,
    };
    poll_fn(move |context| {
        if matches!(fate, Fate::Dropped(at) if at == polls) {
            return Poll::Ready(None);
        }
        polls += 1;
        if let Some((point, blow)) = harm {
            trigger.set(point, blow);
        }
        let polled = future.as_mut().poll(context).map(Some);
        if let Some((_, blow)) = harm
            && trigger.has_struck()
        {
            harm = None;
            if blow == Blow::Hangs {
                return Poll::Ready(None);
            }
        }
        polled
    })
    .await
}
