//! A request in three steps, without HTTP: its handler, the service that it calls, and the facts that both
//! have seen.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, try_join_all};
use idem_core::adapter::Policy;
use idem_core::store::{BoxError, Identity};
use idem_core::{Engine, Recovered, StepKey, StepStore, Steps};
use idem_tests::{Answer, Choices, Database, Domain, Driver, Framework, Wires, World};
use sqlx::Pool;
use tokio::sync::{Semaphore, watch};

use crate::caller::{Asking, Caller};
use crate::model::Ending;

/// The steps in their order.
pub const STEPS: [&str; 3] = ["ride", "charge", "paid"];

/// The policy of attempts in steps that nothing ends by time: a lease ends where the test says so.
pub static UNTIMED: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::ZERO)
    .with_lease(Duration::from_hours(1))
    .with_deadline(Duration::from_hours(2));

const LEGS: [&str; 2] = [
    "CREATE TABLE legs (label VARCHAR(64) NOT NULL, step VARCHAR(16) NOT NULL, \
     attempt BIGINT NOT NULL, number BIGINT NOT NULL)",
    "CREATE INDEX legs_of ON legs (label)",
];

/// The step between the two commit steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Middle {
    /// A `call`.
    Call,
    /// A `call_once`.
    CallOnce(Service),
}

/// A service that takes no key, when it is asked about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// It knows, and refuses every call of an attempt before the one that it has answered `Absent`.
    Knows,
    /// It can't tell.
    Forgets,
}

/// A place in the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stop {
    /// Before the first step.
    Claimed,
    /// In the transaction of the first step, after its statement.
    InRide,
    /// Between the first step and the second.
    Ridden,
    /// A `call_once` is entered, and nothing is sent.
    Calling,
    /// The service has done its work, and its answer has not arrived.
    Sent,
    /// Between the second step and the third.
    Charged,
    /// In the transaction of the third step, after its statement.
    InPaid,
    /// After the last step.
    Paid,
}

impl Stop {
    /// Whether a transaction is open here.
    pub fn is_inside(self) -> bool {
        matches!(self, Self::InRide | Self::InPaid)
    }
}

/// Where the handler of an attempt waits until it may go on.
#[derive(Debug)]
pub struct Gate {
    stops: fn(Stop) -> bool,
    at: watch::Sender<Option<Stop>>,
    permits: Semaphore,
}

impl Gate {
    /// A gate that stops the handler at these points.
    pub fn new(stops: fn(Stop) -> bool) -> Self {
        Self {
            stops,
            at: watch::Sender::new(None),
            permits: Semaphore::new(0),
        }
    }

    /// Where the handler waits.
    pub fn at(&self) -> Option<Stop> {
        *self.at.borrow()
    }

    /// Waits until the handler waits.
    pub async fn reached(&self) {
        let mut at = self.at.subscribe();
        drop(at.wait_for(Option::is_some).await);
    }

    /// Lets the handler go on from the point where it waits.
    pub fn open(&self) {
        self.at.send_replace(None);
        self.permits.add_permits(1);
    }

    async fn pass(&self, point: Stop) {
        if (self.stops)(point) {
            self.at.send_replace(Some(point));
            if let Ok(permit) = self.permits.acquire().await {
                permit.forget();
            }
        }
    }
}

/// A handler that does wrong, so that the checks have something to find.
#[derive(Debug)]
pub enum Flaw<C: Domain> {
    /// It does right.
    None,
    /// It writes the first step's row by a connection of its own, in place of the step's transaction.
    WritesOutside(Pool<C::Database>),
    /// It sends another key in each attempt.
    Rekeys,
    /// It makes a `call` to a service that takes no key.
    Repeats,
}

/// How the handler of one attempt goes.
#[derive(Debug)]
pub struct Play<C: Domain> {
    /// Where it waits.
    pub gate: Rc<Gate>,
    /// Its end.
    pub ending: Ending,
    /// What it does wrong.
    pub flaw: Rc<Flaw<C>>,
}

impl<C: Domain> Play<C> {
    /// A handler that does right, and succeeds.
    pub fn right(gate: &Rc<Gate>) -> Self {
        Self {
            gate: Rc::clone(gate),
            ending: Ending::Success,
            flaw: Rc::new(Flaw::None),
        }
    }
}

/// All that the handlers of one identity have done, and the service that they call.
#[derive(Debug)]
pub struct Ride {
    /// The key, and the label of the rows.
    pub label: String,
    middle: Middle,
    /// The last number: each execution of a step has another one as its result.
    numbers: Cell<u64>,
    /// How many times the call was entered.
    entered: Cell<usize>,
    /// The calls that the service has executed.
    sent: RefCell<Vec<Sent>>,
    /// How many times the service has answered `Absent`.
    absences: Cell<usize>,
    /// The attempt before which the service refuses calls.
    refused_before: Cell<u64>,
    /// What the attempts got as the results of their steps.
    got: RefCell<BTreeMap<&'static str, Vec<(u32, u64)>>>,
}

/// A call that the service has executed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    key: String,
    epoch: u64,
    number: u64,
}

impl Ride {
    /// A ride of which nothing has happened.
    pub fn new(label: String, middle: Middle) -> Self {
        Self {
            label,
            middle,
            numbers: Cell::default(),
            entered: Cell::default(),
            sent: RefCell::default(),
            absences: Cell::default(),
            refused_before: Cell::default(),
            got: RefCell::default(),
        }
    }

    /// How many calls the service has executed.
    pub fn charges(&self) -> usize {
        self.sent.borrow().len()
    }

    /// The handler.
    ///
    /// # Errors
    ///
    /// That of a step. The engine answers with its problem.
    ///
    /// # Panics
    ///
    /// If the ending says so.
    pub async fn play<C: Domain>(
        &self,
        steps: &mut Steps<C>,
        attempt: u32,
        play: &Play<C>,
    ) -> Result<(u16, String), BoxError> {
        let gate = &play.gate;
        gate.pass(Stop::Claimed).await;
        let ride = match &*play.flaw {
            Flaw::WritesOutside(pool) => {
                let work = async |_| {
                    let mut outside = pool.acquire().await?;
                    self.write(&mut *outside, "ride", attempt).await
                };
                steps.call("ride", work).await?
            }
            _ => self.leg(steps, "ride", Stop::InRide, attempt, play).await?,
        };
        self.note(attempt, "ride", ride);
        gate.pass(Stop::Ridden).await;
        let send = async |key| self.send(&key, play).await;
        let charge = match (self.middle, &*play.flaw) {
            (Middle::Call, _) | (_, Flaw::Repeats) => steps.call("charge", send).await?,
            (Middle::CallOnce(service), _) => {
                let ask = async |key: StepKey| Ok(self.ask(&key, service));
                steps.call_once("charge", send, ask).await?
            }
        };
        self.note(attempt, "charge", charge);
        gate.pass(Stop::Charged).await;
        let paid = self.leg(steps, "paid", Stop::InPaid, attempt, play).await?;
        self.note(attempt, "paid", paid);
        gate.pass(Stop::Paid).await;
        let status = match play.ending {
            Ending::Success => 201,
            Ending::FinalFailure => 422,
            Ending::RetriableFailure => 500,
            Ending::Panic => panic!("a handler's"),
        };
        Ok((status, body(ride, charge, paid)))
    }

    async fn leg<C: Domain>(
        &self,
        steps: &mut Steps<C>,
        step: &'static str,
        inside: Stop,
        attempt: u32,
        play: &Play<C>,
    ) -> Result<u64, BoxError> {
        let work = async |tx: &mut C| {
            let number = self.write(tx, step, attempt).await?;
            play.gate.pass(inside).await;
            Ok(number)
        };
        steps.commit(step, work).await
    }

    async fn write<C: Domain>(
        &self,
        connection: &mut C,
        step: &str,
        attempt: u32,
    ) -> Result<u64, BoxError> {
        let (label, number) = (&self.label, self.next());
        let insert = format!("INSERT INTO legs VALUES ('{label}', '{step}', {attempt}, {number})");
        connection.run(&insert).await?;
        Ok(number)
    }

    async fn send<C: Domain>(&self, key: &StepKey, play: &Play<C>) -> Result<u64, BoxError> {
        self.entered.set(self.entered.get() + 1);
        if self.middle != Middle::Call && !matches!(*play.flaw, Flaw::Repeats) {
            play.gate.pass(Stop::Calling).await;
        }
        let epoch = key.epoch();
        if epoch < self.refused_before.get() {
            return Err("the service has answered that this call is absent".into());
        }
        let number = self.next();
        let key = match &*play.flaw {
            Flaw::Rekeys => format!("{key}-{epoch}"),
            _ => key.to_string(),
        };
        self.sent.borrow_mut().push(Sent { key, epoch, number });
        play.gate.pass(Stop::Sent).await;
        Ok(number)
    }

    fn ask(&self, key: &StepKey, service: Service) -> Recovered<u64> {
        match (service, self.sent.borrow().last()) {
            (Service::Forgets, _) => Recovered::Unknown,
            (Service::Knows, Some(sent)) => Recovered::Found(sent.number),
            (Service::Knows, None) => {
                self.absences.set(self.absences.get() + 1);
                let before = self.refused_before.get().max(key.epoch());
                self.refused_before.set(before);
                Recovered::Absent
            }
        }
    }

    fn next(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    fn note(&self, attempt: u32, step: &'static str, number: u64) {
        let mut got = self.got.borrow_mut();
        got.entry(step).or_default().push((attempt, number));
    }

    /// What an operator finds out about the call, when no attempt is left.
    pub fn find_out(&self) -> Option<u64> {
        let sent = self.sent.borrow().last().map(|sent| sent.number);
        if sent.is_none() {
            self.absences.set(self.absences.get() + 1);
        }
        sent
    }

    /// Whether the service refuses a call of this attempt.
    pub fn refuses(&self, epoch: i64) -> bool {
        epoch.unsigned_abs() < self.refused_before.get()
    }

    /// Checks the ride in any state: what holds without a record, too.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn check(&self, rows: &Rows) -> Result<()> {
        let sent = self.sent.borrow();
        for step in STEPS {
            let written: Vec<_> = rows.legs.keys().filter(|(name, _)| name == step).collect();
            ensure!(written.len() <= 1, "T2: {step} has the rows {written:?}");
            let got = self.got.borrow();
            let got: &[(u32, u64)] = got.get(step).map_or(&[], Vec::as_slice);
            let first = got.first();
            ensure!(
                got.iter()
                    .all(|(_, number)| first.is_some_and(|(_, first)| first == number)),
                "T7: attempts got {got:?} as the result of {step}"
            );
        }
        let keys: Vec<_> = sent.iter().map(|sent| &sent.key).collect();
        ensure!(
            keys.windows(2).all(|pair| pair[0] == pair[1]),
            "T3: the keys {keys:?}"
        );
        if self.middle != Middle::Call {
            let (entered, absences) = (self.entered.get(), self.absences.get());
            ensure!(
                entered <= 1 + absences,
                "T4: entered {entered} times, absent {absences} times"
            );
            ensure!(sent.len() <= 1, "T4: executed {} times", sent.len());
        }
        Ok(())
    }

    /// Checks the ride and its answer after its record of a success.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn check_success(&self, rows: &Rows, answer: &Answer) -> Result<()> {
        self.check(rows)?;
        ensure!(rows.records == 1, "there are {} records", rows.records);
        ensure!(
            rows.epoch.is_none() && rows.steps.is_empty(),
            "a settled ride has left a run or steps: {rows:?}"
        );
        let number = |step: &str| -> Result<u64> {
            let mut legs = rows.legs.keys().filter(|(name, _)| name == step);
            let (_, number) = legs
                .next()
                .with_context(|| format!("T2: {step} has no row"))?;
            Ok(*number)
        };
        let (ride, paid) = (number("ride")?, number("paid")?);
        let sent = self.sent.borrow();
        let mut recorded = sent
            .iter()
            .map(|sent| body(ride, sent.number, paid))
            .filter(|body| *body == answer.text());
        if recorded.next().is_none() {
            bail!(
                "{} is not the answer after {ride}, {sent:?}, {paid}",
                answer.text()
            );
        }
        Ok(())
    }
}

fn body(ride: u64, charge: u64, paid: u64) -> String {
    format!(r#"{{"ride":{ride},"charge":{charge},"paid":{paid}}}"#)
}

/// An engine of handlers with steps, with its own pool.
#[derive(Debug)]
pub struct Process<D: Database> {
    /// Its connections.
    pub pool: Pool<Driver<D>>,
    /// Its store.
    pub store: StepStore<D::Connection>,
    /// Its engine.
    pub engine: Engine<StepStore<D::Connection>>,
}

impl<D: Database> Process<D> {
    /// Starts a process.
    pub async fn start<F: Framework<D>>(world: &World<F, D>, wires: Wires) -> Self {
        let pool = world.database.connect(wires).await;
        let store = D::store(pool.clone(), Choices::default()).await;
        let store = StepStore::<D::Connection>::new(store.expect("migrates"));
        store.migrate().await.expect("migrates");
        Self {
            pool,
            engine: Engine::new(store.clone()),
            store,
        }
    }

    /// All connections of the pool at once: none of them is in use.
    ///
    /// # Errors
    ///
    /// If one is lost.
    pub async fn whole_pool(&self) -> Result<()> {
        let connections = self.pool.options().get_max_connections();
        let all = try_join_all((0..connections).map(|_| self.pool.acquire()));
        drop(all.await.context("I6: the pool is not whole")?);
        Ok(())
    }

    /// Sends a request for a ride.
    pub fn ask(
        &self,
        asking: Asking,
        policy: &'static Policy,
        ride: Rc<Ride>,
        play: Play<D::Connection>,
    ) -> LocalBoxFuture<'static, Answer> {
        let caller = Caller::with_policy(self.engine.clone(), policy);
        let handle = async move |steps: &mut Steps<D::Connection>, attempt: u32| {
            ride.play(steps, attempt, &play).await
        };
        caller.run(asking, handle).boxed_local()
    }
}

/// All rows of one identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The number of the run's holder.
    pub epoch: Option<i64>,
    /// Whether the lease is not over.
    pub is_leased: bool,
    /// The epoch of each recorded step.
    pub steps: BTreeMap<String, i64>,
    /// The epoch of a `call_once` without a result.
    pub intent: Option<i64>,
    /// How many records there are.
    pub records: i64,
    /// The attempt of each row that a step has written, under its step and number.
    pub legs: BTreeMap<(String, u64), i64>,
}

impl Rows {
    /// Reads the rows.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn read<D: Database>(
        connection: &mut D::Connection,
        identity: &Identity,
        label: &str,
    ) -> Result<Self> {
        let of = of::<D>(identity);
        let [runs, steps] = tables::<D>();
        let (records, now) = (D::RECORDS, micros());
        let select = format!(
            "SELECT 'epoch', epoch FROM {runs} {of} \
             UNION ALL SELECT 'leased', count(*) FROM {runs} {of} AND leased_until > {now} \
             UNION ALL SELECT CONCAT('step ', name), epoch FROM {steps} {of} \
             UNION ALL SELECT 'intent', epoch FROM {steps} {of} AND result IS NULL \
             UNION ALL SELECT 'records', count(*) FROM {records} {of} \
             UNION ALL SELECT CONCAT('leg ', step, ' ', number), attempt FROM legs WHERE label = '{label}'"
        );
        let mut this = Self::default();
        for (row, number) in connection.numbers(&select).await? {
            match *row.split(' ').collect::<Vec<_>>() {
                ["epoch"] => this.epoch = Some(number),
                ["leased"] => this.is_leased = number > 0,
                ["step", name] => drop(this.steps.insert(name.to_owned(), number)),
                ["intent"] => this.intent = Some(number),
                ["records"] => this.records = number,
                ["leg", step, of_step] => {
                    let place = (step.to_owned(), of_step.parse()?);
                    this.legs.insert(place, number);
                }
                _ => bail!("the row {row}"),
            }
        }
        Ok(this)
    }
}

/// Makes the table of the rows that the commit steps write.
///
/// # Errors
///
/// That of the database.
pub async fn create_legs<C: Domain>(connection: &mut C) -> sqlx::Result<()> {
    for statement in LEGS {
        connection.run(statement).await?;
    }
    Ok(())
}

/// Ends the lease of an identity's run. Returns whether there is one.
///
/// # Errors
///
/// That of the database.
pub async fn end_lease<D: Database>(
    connection: &mut D::Connection,
    identity: &Identity,
) -> sqlx::Result<bool> {
    let [runs, _] = tables::<D>();
    let of = of::<D>(identity);
    let end = format!("UPDATE {runs} SET leased_until = 1 {of}");
    Ok(connection.run(&end).await? > 0)
}

/// The tables of runs and of steps.
fn tables<D: Database>() -> [String; 2] {
    ["runs", "steps"].map(|table| D::RECORDS.replace("records", table))
}

fn of<D: Database>(identity: &Identity) -> String {
    format!("WHERE identity = {}", D::bytes(&format!("{identity:?}")))
}

/// The time in microseconds since 1970.
pub(crate) fn micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("a clock after 1970").as_micros();
    now.try_into().expect("a time in this millennium")
}
