//! X28: every schedule of two attempts in steps, on two processes with one database. The attempts are
//! paused between any two of their steps, dropped at any poll, and restarted; their leases end.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use idem_core::store::Identity;
use idem_core::{Engine, Resolution, Resolved};
use idem_faults::{
    Asking, Ending, Expected, Flaw, Gate, Live, Middle, Play, Process, Reached, Ride, Rows,
    Service, Stop, UNTIMED, View, create_legs, end_lease,
};
use idem_tests::{
    Answer, Axum, Database, Driver, Framework, Mysql, Postgres, RecordInCommit, Sqlite, Threads,
    Wires, World,
};
use sqlx::pool::PoolConnection;
use tokio::time::timeout;

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(20);

const FORGETS: Middle = Middle::CallOnce(Service::Forgets);

/// More polls than any attempt needs from one point to the next.
const POLLS: usize = 48;

/// What a schedule may have.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    starts: usize,
    expiries: usize,
    deaths: usize,
    /// Whether futures are dropped at every poll, and not only where they wait.
    polls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// A request begins.
    Start(usize),
    /// The attempt of a process goes on to its next point, or to its end.
    Go(usize),
    /// The attempt of a process is dropped.
    Drop(usize),
    /// A process crashes at a point, and starts again.
    Restart(usize),
    /// The lease ends.
    Expire,
    End,
}

/// Chooses among the moves: one path after the other through the tree of all choices, or at random.
enum Chooser {
    /// The choices of this path, with the number of options at each, and the depth in it.
    Every(Vec<(usize, usize)>, usize),
    Random(Rng, usize),
}

impl Chooser {
    fn every() -> Self {
        Self::Every(Vec::new(), 0)
    }

    fn choose(&mut self, options: usize) -> usize {
        match self {
            Self::Every(path, depth) => {
                // A commit whose future is dropped happens or not, so a path may lead elsewhere.
                if let Some(known) = path.get_mut(*depth)
                    && known.1 != options
                {
                    *known = (known.0.min(options - 1), options);
                    path.truncate(*depth + 1);
                }
                if *depth == path.len() {
                    path.push((0, options));
                }
                *depth += 1;
                path[*depth - 1].0
            }
            Self::Random(rng, _) => rng.usize(..options),
        }
    }

    /// The last choice has no further options.
    fn prune(&mut self) {
        if let Self::Every(path, depth) = self {
            path.truncate(*depth);
            if let Some((choice, options)) = path.last_mut() {
                *options = *choice + 1;
            }
        }
    }

    /// Goes to the next path, if there is one.
    fn next(&mut self) -> bool {
        match self {
            Self::Every(path, depth) => {
                *depth = 0;
                while path
                    .pop_if(|(choice, options)| *choice + 1 == *options)
                    .is_some()
                {}
                let Some((choice, _)) = path.last_mut() else {
                    return false;
                };
                *choice += 1;
                true
            }
            Self::Random(_, left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
        }
    }
}

/// The schedules of one kind of ride.
struct Walk<D: Database> {
    middle: Middle,
    /// The middle step that the handler is held to be.
    promised: Middle,
    stops: fn(Stop) -> bool,
    flaw: Rc<Flaw<D::Connection>>,
    bounds: Bounds,
    processes: [Process<D>; 2],
    /// Ends what the two have left.
    third: Process<D>,
    observer: PoolConnection<Driver<D>>,
    /// How often a schedule had each move.
    seen: BTreeMap<&'static str, usize>,
}

/// One schedule.
struct Schedule {
    ride: Rc<Ride>,
    asking: Asking,
    identity: Identity,
    live: [Option<Live>; 2],
    expected: Expected,
    /// The answer that is recorded.
    answer: Option<Answer>,
    bounds: Bounds,
    /// How many processes have had an attempt.
    used: usize,
    trace: Vec<String>,
}

impl<D: Database> Walk<D> {
    async fn new<F: Framework<D>>(world: &World<F, D>, middle: Middle, bounds: Bounds) -> Self {
        let mut observer = world.observe().await;
        create_legs(&mut *observer).await.expect("a table");
        let wires = Wires {
            connections: 1,
            ..Wires::default()
        };
        let process = async || Process::start(world, wires).await;
        Self {
            middle,
            promised: middle,
            // With one writer, a transaction that is open blocks all others.
            stops: if D::ONE_WRITER {
                |stop| !stop.is_inside()
            } else {
                |_| true
            },
            flaw: Rc::new(Flaw::None),
            bounds,
            // One connection is enough for an attempt (T12).
            processes: [process().await, process().await],
            third: process().await,
            observer,
            seen: BTreeMap::new(),
        }
    }

    /// Runs the schedules. Returns their number, and the violations with their schedules.
    async fn run(&mut self, mut chooser: Chooser) -> (usize, Vec<String>) {
        let (start, mut schedules, mut violations) = (Instant::now(), 0, Vec::new());
        for number in 0.. {
            let ride = Ride::new(format!("ride-{number}"), self.promised);
            let asking = Asking::of(ride.label.clone());
            let mut schedule = Schedule {
                identity: asking.identity(),
                ride: Rc::new(ride),
                asking,
                live: [None, None],
                expected: Expected::default(),
                answer: None,
                bounds: self.bounds,
                used: 0,
                trace: Vec::new(),
            };
            match self.schedule(&mut schedule, &mut chooser).await {
                Ok(is_whole) => schedules += usize::from(is_whole),
                Err(violation) => {
                    schedules += 1;
                    violations.push(format!("{violation:#}\n  {schedule}"));
                }
            }
            if !chooser.next() {
                break;
            }
        }
        let test = std::thread::current();
        println!(
            "{}: {schedules} schedules in {:.1?}, {} violations; moves: {:?}",
            test.name().unwrap_or_default(),
            start.elapsed(),
            violations.len(),
            self.seen
        );
        (schedules, violations)
    }

    /// Runs one schedule. Returns `false` for one that is another's copy.
    async fn schedule(&mut self, this: &mut Schedule, chooser: &mut Chooser) -> Result<bool> {
        loop {
            let moves = this.moves();
            let next = moves[chooser.choose(moves.len())];
            this.trace.push(format!("{next:?}"));
            *self.seen.entry(next.name()).or_default() += 1;
            match next {
                Move::Start(process) => {
                    this.bounds.starts -= 1;
                    this.used = this.used.max(process + 1);
                    let live = self.attempt(&self.processes[process], this, self.stops);
                    this.live[process] = Some(live);
                    continue;
                }
                Move::Go(process) => self.go(this, process).await?,
                Move::Drop(process) => {
                    this.bounds.deaths -= 1;
                    let polls = if this.bounds.polls { POLLS } else { 1 };
                    let polls = chooser.choose(polls);
                    this.trace.push(format!("at poll {polls}"));
                    if !self.drop(this, process, polls).await? {
                        chooser.prune();
                        self.rest(process).await?;
                        return Ok(false);
                    }
                }
                Move::Restart(process) => {
                    this.bounds.deaths -= 1;
                    self.drop(this, process, 0).await?;
                    let process = &mut self.processes[process];
                    process.engine = Engine::new(process.store.clone());
                }
                Move::Expire => {
                    this.bounds.expiries -= 1;
                    this.expected.is_leased = false;
                    self.expire(this).await?;
                }
                Move::End => {
                    self.end(this).await?;
                    return Ok(true);
                }
            }
            let rows = self.rows(this).await?;
            this.expected.check(&rows)?;
        }
    }

    fn attempt(&self, process: &Process<D>, this: &Schedule, stops: fn(Stop) -> bool) -> Live {
        let gate = Rc::new(Gate::new(stops));
        let play = Play {
            flaw: Rc::clone(&self.flaw),
            ..Play::right(&gate)
        };
        Live {
            future: process.ask(this.asking.clone(), &UNTIMED, Rc::clone(&this.ride), play),
            gate,
            view: View::new(0, Ending::Success),
        }
    }

    async fn go(&mut self, this: &mut Schedule, process: usize) -> Result<()> {
        let mut live = this.live[process].take().context("it lives")?;
        let expected = this
            .expected
            .go(&mut live.view, &this.ride, self.middle, self.stops);
        let mut polls = usize::MAX;
        let reached = timeout(TIMEOUT, live.go(&mut polls)).await;
        let reached = reached.context("it hangs")?.context("it has polls")?;
        let holds = expected.is(&reached, this.answer.as_ref());
        if !holds {
            let rows = self.rows(this).await?;
            this.expected.check(&rows)?;
            bail!("it came to {reached:?}, expected {expected:?}");
        }
        match reached {
            Reached::Stop(stop) => {
                live.view.at = Some(stop);
                this.live[process] = Some(live);
            }
            Reached::Answer(answer) if answer.status == 201 => this.answer = Some(answer),
            Reached::Answer(_) => {}
        }
        Ok(())
    }

    /// Drops an attempt at a poll on its way to the next point. Returns `false` if it is there before.
    async fn drop(&mut self, this: &mut Schedule, process: usize, polls: usize) -> Result<bool> {
        let mut live = this.live[process].take().context("it lives")?;
        let mut moved = this.expected.clone();
        if polls > 0 {
            moved.go(&mut live.view.clone(), &this.ride, self.middle, self.stops);
            let mut left = polls;
            let reached = timeout(TIMEOUT, live.go(&mut left)).await;
            if reached.context("it hangs")?.is_some() {
                return Ok(false);
            }
        }
        if live.view.at.is_some_and(Stop::is_inside) {
            this.expected.is_locked = false;
        }
        drop(live);
        self.rest(process).await?;
        // Its last commit may have happened.
        let rows = self.rows(this).await?;
        if polls > 0 && moved.check(&rows).is_ok() {
            this.expected = moved;
        }
        Ok(true)
    }

    /// Waits until a process has ended all transactions of dropped attempts.
    async fn rest(&mut self, process: usize) -> Result<()> {
        let whole = timeout(TIMEOUT, self.processes[process].whole_pool()).await;
        whole.context("the pool is not whole")?
    }

    async fn expire(&mut self, this: &Schedule) -> Result<()> {
        end_lease::<D>(&mut self.observer, &this.identity).await?;
        Ok(())
    }

    async fn rows(&mut self, this: &Schedule) -> Result<Rows> {
        Rows::read::<D>(&mut self.observer, &this.identity, &this.ride.label).await
    }

    /// Sends the request until it is answered for good, and checks all.
    async fn end(&mut self, this: &mut Schedule) -> Result<()> {
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            ensure!(tries < 4, "it is not answered: {:?}", this.trace);
            self.expire(this).await?;
            let live = self.attempt(&self.third, this, |_| false);
            let answer = timeout(TIMEOUT, live.future).await.context("it hangs")?;
            if answer.status == 201 {
                break answer;
            }
            ensure!(
                self.middle == FORGETS && answer.text().contains("#step-uncertain\""),
                "the last attempt is answered {answer:?}"
            );
            let found = this.ride.find_out();
            let resolution = found.as_ref().map_or(Resolution::Absent, Resolution::Found);
            let (tenant, operation, key) = this.asking.parts();
            let engine = &self.third.engine;
            let resolved =
                engine.resolve_step(Some(tenant), &operation, &key, "charge", resolution);
            ensure!(resolved.await? == Resolved::Done, "the operator resolves");
        };
        let first = this.answer.get_or_insert(answer).clone();
        let live = self.attempt(&self.processes[0], this, |_| false);
        let replay = timeout(TIMEOUT, live.future).await.context("it hangs")?;
        ensure!(
            replay.is_replay() && replay.status == 201 && replay.body == first.body,
            "R2: {replay:?} is not the replay of {first:?}"
        );
        let rows = self.rows(this).await?;
        this.ride.check_success(&rows, &first)
    }
}

impl Move {
    fn name(self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Go(_) => "go on",
            Self::Drop(_) => "drop",
            Self::Restart(_) => "restart",
            Self::Expire => "expire",
            Self::End => "end",
        }
    }
}

impl Schedule {
    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        // Until its first poll a request is nowhere.
        let is_new = |live: &Option<Live>| live.as_ref().is_some_and(|live| live.view.at.is_none());
        if let Some(process) = self.live.iter().position(is_new) {
            moves.push(Move::Go(process));
            if self.bounds.deaths > 0 && self.bounds.polls {
                moves.push(Move::Drop(process));
            }
            return moves;
        }
        // Nobody else goes on while an attempt holds the run's row: a late step waits for it.
        let is_inside = |live: &Live| live.view.at.is_some_and(Stop::is_inside);
        for (process, live) in self.live.iter().enumerate() {
            let can_start = self.bounds.starts > 0 && process <= self.used;
            match live {
                // Two processes are the same until they have had an attempt.
                None if can_start => moves.push(Move::Start(process)),
                None => {}
                Some(live) => {
                    if !self.expected.is_locked || is_inside(live) {
                        moves.push(Move::Go(process));
                    }
                    if self.bounds.deaths > 0 {
                        moves.push(Move::Drop(process));
                        moves.push(Move::Restart(process));
                    }
                }
            }
        }
        let Expected {
            is_leased,
            is_locked,
            ..
        } = self.expected;
        if is_leased && !is_locked && self.bounds.expiries > 0 {
            moves.push(Move::Expire);
        }
        if self.live.iter().all(Option::is_none) && self.used > 0 {
            moves.push(Move::End);
        }
        moves
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.ride.label, self.trace.join(", "))
    }
}

/// Pauses, one end of a lease, and one crash between two steps.
const BETWEEN: Bounds = Bounds {
    starts: 2,
    expiries: 1,
    deaths: 1,
    polls: false,
};

/// One more end of a lease, and crashes at every poll, too. `FAULTS_LONG=1` has all of these schedules.
const AT_POLLS: Bounds = Bounds {
    expiries: 2,
    polls: true,
    ..BETWEEN
};

/// How many schedules are drawn where all of them would take too long.
const SAMPLE: usize = 200;

fn walk<F: Framework<D>, D: Database>(middle: Middle, bounds: Bounds, chooser: Chooser) {
    idem_tests::run(Threads::Many, async |world: &World<F, D>| {
        let mut walk = Walk::new(world, middle, bounds).await;
        let (schedules, violations) = walk.run(chooser).await;
        let first = violations.first().map_or("", String::as_str);
        assert!(
            violations.is_empty(),
            "{} of {schedules}: {first}",
            violations.len()
        );
    });
}

fn sample(schedules: usize) -> Chooser {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    Chooser::Random(Rng::with_seed(seed), schedules)
}

macro_rules! schedules {
    ($($middle:ident $kind:expr;)*) => {
        $(mod $middle {
            use super::*;

            #[test]
            fn x28_t2_t5_t7_every_schedule() {
                walk::<Axum, Sqlite>($kind, BETWEEN, Chooser::every());
            }

            #[test]
            fn x28_t2_t5_t7_dropped_at_any_poll() {
                let all = std::env::var_os("FAULTS_LONG").is_some();
                let chooser = if all { Chooser::every() } else { sample(10 * SAMPLE) };
                walk::<Axum, Sqlite>($kind, AT_POLLS, chooser);
            }

            #[test]
            fn x28_t2_t5_t7_schedules_on_postgres() {
                walk::<Axum, Postgres>($kind, BETWEEN, sample(SAMPLE));
            }

            #[test]
            fn x28_t2_t5_t7_schedules_on_record_in_commit() {
                walk::<Axum, RecordInCommit>($kind, BETWEEN, sample(SAMPLE));
            }

            #[test]
            fn x28_t2_t5_t7_schedules_on_mysql() {
                // Each of its commits waits for the disk.
                walk::<Axum, Mysql>($kind, BETWEEN, sample(SAMPLE / 5));
            }
        })*
    };
}

schedules! {
    call Middle::Call;
    call_once Middle::CallOnce(Service::Knows);
    call_once_in_doubt FORGETS;
}

/// Handlers that do wrong: the walk has to find each.
mod control {
    use super::*;

    async fn found<D: Database>(mut walk: Walk<D>, flaw: Flaw<D::Connection>, rule: &str) {
        walk.flaw = Rc::new(flaw);
        let (_, violations) = walk.run(Chooser::every()).await;
        let of_rule = violations.iter().filter(|found| found.starts_with(rule));
        println!("{} schedules break {rule}", of_rule.clone().count());
        assert!(of_rule.count() > 0, "{violations:?}");
    }

    #[test]
    fn x28_t5_write_outside_of_the_step_is_found() {
        idem_tests::run(Threads::Many, async |world: &World<Axum, Sqlite>| {
            let walk = Walk::new(world, Middle::Call, BETWEEN).await;
            let outside = walk.third.pool.clone();
            found(walk, Flaw::WritesOutside(outside), "T5").await;
        });
    }

    #[test]
    fn x28_t3_key_of_each_attempt_is_found() {
        idem_tests::run(Threads::Many, async |world: &World<Axum, Sqlite>| {
            let walk = Walk::new(world, Middle::Call, BETWEEN).await;
            found(walk, Flaw::Rekeys, "T3").await;
        });
    }

    #[test]
    fn x28_t4_call_in_place_of_a_call_once_is_found() {
        idem_tests::run(Threads::Many, async |world: &World<Axum, Sqlite>| {
            let mut walk = Walk::new(world, Middle::Call, BETWEEN).await;
            walk.promised = Middle::CallOnce(Service::Knows);
            found(walk, Flaw::Repeats, "T4").await;
        });
    }
}
