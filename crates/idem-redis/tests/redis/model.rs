//! X33: attempts in steps compared with their rules, in random sequences that shrink. Two processes work for two scopes
//! with two keys, one of them through a proxy that sends each command twice. Attempts are paused, wake, and are dropped at any poll; leases and times to live end, processes crash,
//! and an operator resolves, forgets and erases.
//!
//! `PROPTEST_CASES` sets the number of sequences.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use idem_core::store::RunStore as _;
use idem_core::{Engine, Forgotten, Resolution, Resolved};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest::test_runner::Config as Cases;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::place;
use crate::proxy::{Fault, Proxy};
use crate::ride::{
    Asking, Ending, Gate, Live, Process, Reached, Ride, Sender, Stop, UNTIMED, body,
};
use crate::rows::{Fields, Rows};
use crate::service::Answer;

prop_state_machine! {
    #![proptest_config(cases())]
    #[test]
    fn x33_t1_t3_t4_t5_t7_t8_t9_t10_model(sequential 1..32 => System);
}

fn cases() -> Cases {
    let set = std::env::var("PROPTEST_CASES").ok();
    Cases {
        cases: set.map_or(64, |set| set.parse().expect("a number of cases")),
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Cases::default()
    }
}

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The number of attempts that can be paused at once.
const PAUSED: usize = 3;

const PAUSES: [Stop; 6] = [
    Stop::Claimed,
    Stop::Charged,
    Stop::Between,
    Stop::Calling,
    Stop::Sent,
    Stop::End,
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
    EndLeases,
    /// All runs and records pass their time to live.
    Expire,
    /// The server removes what has expired.
    Remove,
    Erase(u8),
    Forget(Whose),
    /// An operator resolves the `call_once`, after the end of all leases or at once.
    Resolve(Whose, bool),
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

/// Scope and key.
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
            Self::Remove => f.write_str("Remove"),
            Self::Erase(scope) => write!(f, "Erase({scope})"),
            Self::Forget(whose) => write!(f, "Forget({whose:?})"),
            Self::Resolve(whose, waits) => write!(f, "Resolve({whose:?}, {waits})"),
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
        let polls = prop::option::weighted(0.3, 1..12_usize);
        let wake = (paused.clone(), polls).prop_map(|(at, polls)| Step::Wake(at, polls));
        let resolve = (whose(), prop::bool::weighted(0.8));
        let resolve = resolve.prop_map(|(whose, waits)| Step::Resolve(whose, waits));
        Union::new_weighted(vec![
            (12, ask().prop_map(Step::Begin).boxed()),
            (6, wake.boxed()),
            (2, paused.prop_map(Step::Drop).boxed()),
            (1, (0..2_usize).prop_map(Step::Crash).boxed()),
            (6, Just(Step::EndLeases).boxed()),
            (1, Just(Step::Expire).boxed()),
            (1, Just(Step::Remove).boxed()),
            (1, mostly(1).prop_map(Step::Erase).boxed()),
            (1, whose().prop_map(Step::Forget).boxed()),
            (4, resolve.boxed()),
        ])
        .boxed()
    }

    fn apply((): (), _: &Step) {}
}

/// 0, and so many times in five the other.
fn mostly(others: u32) -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0), others => Just(1)]
}

fn whose() -> impl Strategy<Value = Whose> {
    (mostly(1), mostly(3))
}

fn ask() -> impl Strategy<Value = Ask> {
    let ending = prop_oneof![
        4 => Just(Ending::Success),
        2 => Just(Ending::RetriableFailure),
        1 => Just(Ending::FinalFailure),
        1 => Just(Ending::Panic),
    ];
    (
        (0..2_usize, whose(), mostly(1)),
        ending,
        prop::option::weighted(0.6, select(&PAUSES[..])),
        prop::option::weighted(0.3, 1..16_usize),
    )
        .prop_map(|((process, whose, body), ending, pause, dropped)| Ask {
            process,
            whose,
            body,
            ending,
            pause,
            dropped,
        })
}

/// What the server has to have of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Content {
    #[default]
    Nothing,
    Run(Run),
    Record(Settled),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    epoch: u64,
    /// The number of the attempt, which the server does not have.
    holder: usize,
    body: u8,
    is_leased: bool,
    is_expired: bool,
    charge: Option<u64>,
    receipt: Receipt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Settled {
    status: u16,
    text: String,
    body: u8,
    is_expired: bool,
}

/// The step of the `call_once`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receipt {
    No,
    Intended,
    Is(u64),
}

/// What an attempt knows.
#[derive(Debug)]
struct View {
    number: usize,
    body: u8,
    ending: Ending,
    /// Where it waits; nowhere before its first poll.
    at: Option<Stop>,
    epoch: u64,
    /// The results that it got.
    charge: Option<u64>,
    receipt: Receipt,
}

/// What the next move of an attempt leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    At(Stop),
    /// Its own answer.
    Own(u16, String),
    Replayed(u16, String),
    Problem(&'static str),
}

impl Next {
    fn is(&self, reached: &Reached) -> bool {
        match (self, reached) {
            (Self::At(expected), Reached::Stop(stop)) => expected == stop,
            (Self::Own(status, text), Reached::Answer(answer)) => {
                !answer.is_replayed && (*status, text) == (answer.status, &answer.body)
            }
            (Self::Replayed(status, text), Reached::Answer(answer)) => {
                answer.is_replayed && (*status, text) == (answer.status, &answer.body)
            }
            (Self::Problem(name), Reached::Answer(answer)) => answer.is_problem(name),
            (Self::At(_), Reached::Answer(_)) | (_, Reached::Stop(_)) => false,
        }
    }
}

const IN_FLIGHT: Next = Next::Problem("in-flight");
const TRY_AGAIN: Next = Next::Problem("try-again");
const REUSED: Next = Next::Problem("key-reused");

impl Content {
    /// Whether another attempt has to have the same body.
    fn binds(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Run(run) => run.is_leased || !run.is_expired,
            Self::Record(record) => !record.is_expired,
        }
    }

    fn body(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Run(run) => run.body,
            Self::Record(record) => record.body,
        }
    }

    /// The run, if the attempt holds it.
    fn held(&mut self, view: &View) -> Option<&mut Run> {
        match self {
            Self::Run(run) if (run.holder, run.epoch) == (view.number, view.epoch) => Some(run),
            _ => None,
        }
    }

    fn claim(&mut self, view: &mut View) -> Next {
        let epoch = match self {
            current if current.binds() && current.body() != view.body => return REUSED,
            Self::Record(record) if !record.is_expired => return record.replay(),
            Self::Run(run) if run.is_leased => return IN_FLIGHT,
            Self::Run(run) if !run.is_expired => run.epoch + 1,
            _ => {
                *self = Self::Nothing;
                1
            }
        };
        let (charge, receipt) = match self {
            Self::Run(run) => (run.charge, run.receipt),
            _ => (None, Receipt::No),
        };
        (view.epoch, view.charge, view.receipt) = (epoch, charge, receipt);
        *self = Self::Run(Run {
            epoch,
            holder: view.number,
            body: view.body,
            is_leased: true,
            is_expired: false,
            charge,
            receipt,
        });
        Next::At(Stop::Claimed)
    }

    /// What an attempt is answered that holds nothing any more.
    fn late(&self, view: &View, own: Next) -> Next {
        match self {
            Self::Record(record) if record.is_expired => own,
            Self::Record(record) if record.body == view.body => record.replay(),
            Self::Record(_) => REUSED,
            _ => own,
        }
    }

    /// What an attempt is answered whose response is not recorded.
    fn failed(&mut self, view: &View, own: Next) -> Next {
        let Some(run) = self.held(view) else {
            return self.late(view, own);
        };
        run.is_leased = false;
        own
    }

    /// Makes the next move of an attempt.
    fn go(&mut self, view: &mut View, ride: &Ride, sender: Sender) -> Next {
        let next = ride.last() + 1;
        let Some(at) = view.at else {
            return self.claim(view);
        };
        match at {
            Stop::Claimed if view.charge.is_some() => Next::At(Stop::Between),
            Stop::Claimed => {
                view.charge = Some(next);
                Next::At(Stop::Charged)
            }
            Stop::Between => match (view.receipt, sender) {
                (Receipt::Is(_), _) => Next::At(Stop::End),
                (Receipt::Intended, Sender::Forgets) => {
                    self.failed(view, Next::Problem("step-uncertain"))
                }
                (Receipt::Intended, Sender::Knows) if ride.receipt().is_some() => {
                    view.receipt = ride.receipt().map_or(Receipt::No, Receipt::Is);
                    self.write(view, Stop::End)
                }
                (Receipt::No | Receipt::Intended, _) => {
                    view.receipt = Receipt::Intended;
                    self.write(view, Stop::Calling)
                }
            },
            Stop::Calling if ride.refuses(view.epoch) => self.failed(view, TRY_AGAIN),
            Stop::Calling => {
                view.receipt = Receipt::Is(next);
                Next::At(Stop::Sent)
            }
            Stop::Charged => self.write(view, Stop::Between),
            Stop::Sent => self.write(view, Stop::End),
            Stop::End => self.end(view),
        }
    }

    /// Records the results that an attempt has.
    fn write(&mut self, view: &View, to: Stop) -> Next {
        let Some(run) = self.held(view) else {
            return self.late(view, IN_FLIGHT);
        };
        (run.charge, run.receipt) = (view.charge, view.receipt);
        run.is_leased = true;
        Next::At(to)
    }

    fn end(&mut self, view: &View) -> Next {
        let text = match (view.charge, view.receipt) {
            (Some(charge), Receipt::Is(receipt)) => body(charge, receipt),
            results => panic!("the results {results:?} at the end"),
        };
        let status = match view.ending {
            Ending::Success => 201,
            Ending::FinalFailure => 422,
            Ending::RetriableFailure => return self.failed(view, Next::Own(500, text)),
            Ending::Panic => return self.failed(view, Next::Problem("handler-panicked")),
        };
        if self.held(view).is_none() {
            return self.late(view, TRY_AGAIN);
        }
        *self = Self::Record(Settled {
            status,
            text: text.clone(),
            body: view.body,
            is_expired: false,
        });
        Next::Own(status, text)
    }

    /// Whether the server has this.
    fn is(&self, fields: &Fields) -> bool {
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let now = UNIX_EPOCH.elapsed().expect("a time").as_micros();
        let is_over = |name: &str| field(name).parse::<u128>().is_ok_and(|time| time <= now);
        let result = |name: &str| {
            let step = field(name).splitn(3, ' ').nth(2)?;
            step.strip_prefix('1')?.parse().ok()
        };
        match self {
            Self::Nothing => fields.is_empty(),
            Self::Record(record) => {
                field("state") != "run"
                    && field("status") == record.status.to_string()
                    && is_over("expires_at") == record.is_expired
            }
            Self::Run(run) => {
                let receipt = match result("s:receipt") {
                    Some(number) => Receipt::Is(number),
                    None if fields.contains_key("s:receipt") => Receipt::Intended,
                    None => Receipt::No,
                };
                field("state") == "run"
                    && field("epoch") == run.epoch.to_string()
                    && is_over("leased_until") != run.is_leased
                    && is_over("expires_at") == run.is_expired
                    && (result("s:charge"), receipt) == (run.charge, run.receipt)
            }
        }
    }
}

impl Settled {
    fn replay(&self) -> Next {
        Next::Replayed(self.status, self.text.clone())
    }
}

/// What is known of an identity.
#[derive(Debug)]
struct Known {
    content: Content,
    /// The ride of each life.
    rides: Vec<Rc<Ride>>,
}

/// An attempt that waits.
struct Paused {
    process: usize,
    whose: Whose,
    ride: Rc<Ride>,
    live: Live,
    view: View,
}

/// The engine in two processes, and the rules' knowledge.
struct System {
    runtime: Rc<Runtime>,
    rows: Rows,
    processes: Vec<Process>,
    _proxy: Proxy,
    paused: Vec<Paused>,
    known: BTreeMap<Whose, Known>,
    attempts: usize,
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Sequence;

    fn init_test((): &()) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let (runtime, prefix) = (runtime.expect("a runtime"), place::prefix());
        let proxy = runtime.block_on(Proxy::to(&place::url()));
        proxy.set(Fault::SecondOfTwo);
        let processes = [place::url(), proxy.url()];
        let processes = processes.iter().map(|url| Process::of(url, &prefix));
        Self {
            processes: processes.collect(),
            _proxy: proxy,
            rows: runtime.block_on(Rows::of(&prefix)),
            runtime: Rc::new(runtime),
            paused: Vec::new(),
            known: BTreeMap::new(),
            attempts: 0,
        }
    }

    fn apply(mut this: Self, (): &(), step: Step) -> Self {
        let runtime = Rc::clone(&this.runtime);
        runtime.block_on(async {
            this.step(step).await;
            this.compare().await;
        });
        this
    }

    fn teardown(mut this: Self, (): ()) {
        let runtime = Rc::clone(&this.runtime);
        runtime.block_on(this.settle());
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.paused.clear();
        self.processes.clear();
    }
}

impl System {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin(ask) if self.paused.len() < PAUSED => self.begin(ask).await,
            Step::Wake(at, polls) if at < self.paused.len() => {
                let paused = self.paused.remove(at);
                self.go(paused, None, polls.unwrap_or(usize::MAX)).await;
            }
            Step::Drop(at) if at < self.paused.len() => drop(self.paused.remove(at)),
            Step::Crash(process) => {
                self.paused.retain(|paused| paused.process != process);
                let process = &mut self.processes[process];
                process.engine = Engine::new(process.store.steps());
            }
            Step::EndLeases => self.end_leases().await,
            Step::Expire => {
                self.end_leases().await;
                for (whose, known) in &mut self.known {
                    match &mut known.content {
                        Content::Nothing => {}
                        Content::Run(run) => run.is_expired = true,
                        Content::Record(record) => record.is_expired = true,
                    }
                    self.rows.expire(&asking(*whose, 0).identity()).await;
                }
            }
            Step::Remove => {
                for (whose, known) in &mut self.known {
                    if !known.content.binds() {
                        known.content = Content::Nothing;
                        self.rows.remove(&asking(*whose, 0).identity()).await;
                    }
                }
            }
            Step::Erase(scope) => {
                let mut there = 0;
                for (_, known) in self.known.iter_mut().filter(|(whose, _)| whose.0 == scope) {
                    there += u64::from(known.content != Content::Nothing);
                    known.content = Content::Nothing;
                }
                let erased = self.processes[0].engine.erase(Some(&scope_of(scope))).await;
                assert_eq!(erased.expect("erases"), there, "E4, T10");
            }
            Step::Forget(whose) => self.forget(whose).await,
            Step::Resolve(whose, waits) => {
                if waits {
                    self.end_leases().await;
                }
                self.resolve(whose).await;
            }
            Step::Begin(_) | Step::Wake(..) | Step::Drop(_) => {}
        }
    }

    async fn end_leases(&mut self) {
        for (whose, known) in &mut self.known {
            if let Content::Run(run) = &mut known.content {
                run.is_leased = false;
            }
            self.rows.end_lease(&asking(*whose, 0).identity()).await;
        }
    }

    async fn begin(&mut self, ask: Ask) {
        let Ask { process, whose, .. } = ask;
        let is_holder = |paused: &&Paused| (paused.process, paused.whose) == (process, whose);
        let holder = self.paused.iter().find(is_holder);
        let holder = holder.map(|holder| holder.view.body);
        let known = self.known.entry(whose).or_insert_with(|| Known {
            content: Content::Nothing,
            rides: Vec::new(),
        });
        // A new life has a ride of its own.
        let is_new = known.rides.is_empty() || !known.content.binds();
        if is_new && holder.is_none() {
            known.rides.push(Ride::new(sender(whose)));
        }
        let ride = Rc::clone(known.rides.last().expect("there is one"));
        let gate = Gate::new(|_| true);
        let request = asking(whose, ask.body);
        let mut live = self.processes[process].ask(&request, &UNTIMED, &ride, &gate, ask.ending);
        // In one process, the first request answers for the others.
        if let Some(body) = holder {
            let expected = if body == ask.body { IN_FLIGHT } else { REUSED };
            let reached = timeout(TIMEOUT, live.go()).await.expect("it hangs");
            assert!(expected.is(&reached), "{reached:?}, expected {expected:?}");
            return;
        }
        self.attempts += 1;
        let view = View {
            number: self.attempts,
            body: ask.body,
            ending: ask.ending,
            at: None,
            epoch: 0,
            charge: None,
            receipt: Receipt::No,
        };
        let this = Paused {
            process,
            whose,
            ride,
            live,
            view,
        };
        self.go(this, ask.pause, ask.dropped.unwrap_or(usize::MAX))
            .await;
    }

    /// Moves an attempt on to a stop, to its end, or to a poll at which it is dropped.
    async fn go(&mut self, mut this: Paused, pause: Option<Stop>, mut polls: usize) {
        loop {
            let known = self.known.get_mut(&this.whose).expect("it has begun");
            let before = known.content.clone();
            let sender = sender(this.whose);
            let next = known.content.go(&mut this.view, &this.ride, sender);
            let reached = timeout(TIMEOUT, this.live.go_for(&mut polls)).await;
            let Some(reached) = reached.expect("it hangs") else {
                return self.dropped(this, before).await;
            };
            assert!(
                next.is(&reached),
                "it came to {reached:?}, expected {next:?}"
            );
            self.compare().await;
            this.ride.check();
            match reached {
                Reached::Answer(_) => return,
                Reached::Stop(stop) => {
                    this.view.at = Some(stop);
                    if Some(stop) == pause {
                        self.paused.push(this);
                        return;
                    }
                }
            }
        }
    }

    /// Drops an attempt on its way. Its last write may have happened.
    async fn dropped(&mut self, this: Paused, before: Content) {
        drop(this.live);
        let known = self.known.get_mut(&this.whose).expect("it has begun");
        let identity = asking(this.whose, 0).identity();
        // The commands of a connection are executed in their order.
        let read = self.processes[this.process].store.find(&identity).await;
        drop(read.expect("reads"));
        if !known.content.is(&self.rows.read(&identity).await) {
            // There is no new life.
            if this.view.at.is_none() && !before.binds() {
                known.rides.pop();
            }
            known.content = before;
        }
        this.ride.check();
    }

    async fn forget(&mut self, whose: Whose) {
        let Some(known) = self.known.get_mut(&whose) else {
            return;
        };
        let expected = match &known.content {
            Content::Run(run) if run.is_leased => Forgotten::InFlight,
            Content::Run(run) if run.is_expired => Forgotten::Missing,
            Content::Nothing => Forgotten::Missing,
            Content::Run(_) | Content::Record(_) => Forgotten::Deleted,
        };
        if expected != Forgotten::InFlight {
            known.content = Content::Nothing;
        }
        let (asking, engine) = (asking(whose, 0), &self.processes[0].engine);
        let (scope, operation, key) = asking.parts();
        let forgotten = engine.forget(scope, &operation, &key).await;
        assert_eq!(forgotten.expect("forgets"), expected);
    }

    async fn resolve(&mut self, whose: Whose) {
        let Some(known) = self.known.get_mut(&whose) else {
            return;
        };
        let mut found = None;
        let expected = match &mut known.content {
            Content::Run(run) if run.is_leased => Resolved::InFlight,
            Content::Run(run) if !run.is_expired && run.receipt == Receipt::Intended => {
                run.epoch += 1;
                let ride = known.rides.last().expect("there is one");
                found = ride.find_out(run.epoch);
                run.receipt = found.map_or(Receipt::No, Receipt::Is);
                Resolved::Done
            }
            _ => Resolved::Missing,
        };
        let resolution = found.as_ref().map_or(Resolution::Absent, Resolution::Found);
        let (asking, engine) = (asking(whose, 0), &self.processes[0].engine);
        let (scope, operation, key) = asking.parts();
        let resolved = engine.resolve_step(scope, &operation, &key, "receipt", resolution);
        assert_eq!(resolved.await.expect("resolves"), expected);
    }

    async fn compare(&mut self) {
        for (whose, known) in &self.known {
            let fields = self.rows.read(&asking(*whose, 0).identity()).await;
            assert!(
                known.content.is(&fields),
                "{fields:?}, expected {:?}",
                known.content
            );
        }
    }

    /// Ends all, and checks each ride that has succeeded.
    async fn settle(&mut self) {
        while !self.paused.is_empty() {
            self.step(Step::Wake(0, None)).await;
        }
        self.end_leases().await;
        let all: Vec<Whose> = self.known.keys().copied().collect();
        for whose in all {
            self.resolve(whose).await;
            for _ in 0..2 {
                let content = &self.known[&whose].content;
                let body = if content.binds() { content.body() } else { 0 };
                self.begin(Ask {
                    process: 0,
                    whose,
                    body,
                    ending: Ending::Success,
                    pause: None,
                    dropped: None,
                })
                .await;
            }
            let known = &self.known[&whose];
            let Content::Record(record) = &known.content else {
                panic!("{known:?} is not settled");
            };
            if record.status == 201 {
                let ride = known.rides.last().expect("there is one");
                ride.check_success(&Answer {
                    status: record.status,
                    body: record.text.clone(),
                    is_replayed: true,
                });
            }
        }
    }
}

fn scope_of(scope: u8) -> String {
    format!("scope-{scope}")
}

/// A key is always used for the same kind of sender.
fn sender((_, key): Whose) -> Sender {
    match key {
        0 => Sender::Knows,
        _ => Sender::Forgets,
    }
}

fn asking((scope, key): Whose, body: u8) -> Asking {
    Asking {
        scope: scope_of(scope),
        key: format!("key-{key}"),
        body: format!("body-{body}"),
    }
}
