//! Attempts in steps without HTTP, and the two services that their handler calls. A test can stop an attempt between
//! two steps and in a call, leave it there as if it was frozen, and drop it at any poll.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use idem_core::adapter::{
    self, ClaimGuard, Fingerprint, HandlerOutcome, Policy, Prepared, REPLAYED, RequestParts,
    Response, Returned,
};
use idem_core::store::{BoxError, Claim as _, Identity, RunStore as _};
use idem_core::{
    Attempt, Content, Engine, IdempotencyKey, Operation, Recovered, StepKey, StepStore, Steps,
};
use idem_redis::{Redis, RedisStore};
use tokio::sync::{Semaphore, watch};

use crate::place;
use crate::service::Answer;

/// The time of a lease that ends where the test says so.
pub(crate) const LONG: Duration = Duration::from_hours(1);

/// Nothing ends by time.
pub(crate) static UNTIMED: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::ZERO)
    .with_lease(LONG)
    .with_deadline(Duration::from_hours(2));

/// A place in the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Before the first step.
    Claimed,
    /// The call is made, and its answer has not arrived.
    Charged,
    /// Between the two steps.
    Between,
    /// The `call_once` is entered, and nothing is sent.
    Calling,
    /// The receipt is sent, and the answer has not arrived.
    Sent,
    /// After the last step.
    End,
}

/// Where the handler of an attempt waits until it may go on.
#[derive(Debug)]
pub(crate) struct Gate {
    stops: fn(Stop) -> bool,
    at: watch::Sender<Option<Stop>>,
    permits: Semaphore,
}

impl Gate {
    /// A gate that stops the handler at these places.
    pub(crate) fn new(stops: fn(Stop) -> bool) -> Rc<Self> {
        Rc::new(Self {
            stops,
            at: watch::Sender::new(None),
            permits: Semaphore::new(0),
        })
    }

    pub(crate) fn at(&self) -> Option<Stop> {
        *self.at.borrow()
    }

    /// Waits until the handler waits.
    pub(crate) async fn reached(&self) {
        let mut at = self.at.subscribe();
        drop(at.wait_for(Option::is_some).await);
    }

    pub(crate) fn open(&self) {
        self.at.send_replace(None);
        self.permits.add_permits(1);
    }

    async fn pass(&self, place: Stop) {
        if (self.stops)(place) {
            self.at.send_replace(Some(place));
            self.permits.acquire().await.expect("open").forget();
        }
    }
}

/// The end of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Success,
    FinalFailure,
    RetriableFailure,
    Panic,
}

/// How a service without keys answers when it is asked about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// It knows, and refuses the calls of all attempts before the one that it has answered `Absent`.
    Knows,
    /// It can't tell.
    Forgets,
}

/// All that the handlers of one identity have done, and the services that they call.
#[derive(Debug)]
pub(crate) struct Ride {
    sender: Sender,
    /// The last number. Each answer of a service has another one.
    numbers: Cell<u64>,
    /// The requests for a charge, by their keys.
    charges: RefCell<BTreeMap<String, Vec<u64>>>,
    /// The receipts.
    sent: RefCell<Vec<u64>>,
    /// How often the sender was called, and how often it has answered `Absent`.
    called: Cell<usize>,
    absences: Cell<usize>,
    refused_before: Cell<u64>,
    /// The results that the handlers got from each of their steps.
    got: RefCell<[Vec<u64>; 2]>,
}

impl Ride {
    pub(crate) fn new(sender: Sender) -> Rc<Self> {
        Rc::new(Self {
            sender,
            numbers: Cell::default(),
            charges: RefCell::default(),
            sent: RefCell::default(),
            called: Cell::default(),
            absences: Cell::default(),
            refused_before: Cell::default(),
            got: RefCell::default(),
        })
    }

    async fn play(
        &self,
        steps: &mut Steps<Redis>,
        gate: &Gate,
        ending: Ending,
    ) -> Result<(u16, String), BoxError> {
        gate.pass(Stop::Claimed).await;
        let charge = async |key| self.charge(&key, gate).await;
        let charge = steps.call("charge", charge).await?;
        self.got.borrow_mut()[0].push(charge);
        gate.pass(Stop::Between).await;
        let send = async |key| self.send(&key, gate).await;
        let ask = async |key| Ok::<_, BoxError>(self.ask(&key));
        let receipt = steps.call_once("receipt", send, ask).await?;
        self.got.borrow_mut()[1].push(receipt);
        gate.pass(Stop::End).await;
        let status = match ending {
            Ending::Success => 201,
            Ending::FinalFailure => 422,
            Ending::RetriableFailure => 500,
            Ending::Panic => panic!("a handler's"),
        };
        Ok((status, body(charge, receipt)))
    }

    /// The provider keeps keys, so it charges once for each. Its answers differ all the same.
    async fn charge(&self, key: &StepKey, gate: &Gate) -> Result<u64, BoxError> {
        let number = self.next();
        self.charges
            .borrow_mut()
            .entry(key.to_string())
            .or_default()
            .push(number);
        gate.pass(Stop::Charged).await;
        Ok(number)
    }

    async fn send(&self, key: &StepKey, gate: &Gate) -> Result<u64, BoxError> {
        self.called.set(self.called.get() + 1);
        gate.pass(Stop::Calling).await;
        if self.refuses(key.epoch()) {
            return Err("the sender has answered that this call is absent".into());
        }
        let number = self.next();
        self.sent.borrow_mut().push(number);
        gate.pass(Stop::Sent).await;
        Ok(number)
    }

    fn ask(&self, key: &StepKey) -> Recovered<u64> {
        match (self.sender, self.find_out(key.epoch())) {
            (Sender::Forgets, _) => Recovered::Unknown,
            (Sender::Knows, Some(number)) => Recovered::Found(number),
            (Sender::Knows, None) => Recovered::Absent,
        }
    }

    /// The receipt. If there is none, the sender refuses all attempts before this one.
    pub(crate) fn find_out(&self, epoch: u64) -> Option<u64> {
        let sent = self.receipt();
        if sent.is_none() {
            self.absences.set(self.absences.get() + 1);
            self.refused_before
                .set(self.refused_before.get().max(epoch));
        }
        sent
    }

    pub(crate) fn refuses(&self, epoch: u64) -> bool {
        epoch < self.refused_before.get()
    }

    /// The last answer of a service.
    pub(crate) fn last(&self) -> u64 {
        self.numbers.get()
    }

    pub(crate) fn receipt(&self) -> Option<u64> {
        self.sent.borrow().last().copied()
    }

    /// How many requests for a charge were not the first one.
    pub(crate) fn repeated(&self) -> usize {
        let charges = self.charges.borrow();
        charges.values().map(|all| all.len() - 1).sum()
    }

    fn next(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// What holds at any time.
    pub(crate) fn check(&self) {
        let charges = self.charges.borrow();
        assert!(charges.len() <= 1, "T3: two charges: {self:?}");
        let is_one = |got: &Vec<u64>| got.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(self.got.borrow().iter().all(is_one), "T7: {self:?}");
        assert!(self.sent.borrow().len() <= 1, "T4: two receipts: {self:?}");
        let calls = 1 + self.absences.get();
        assert!(self.called.get() <= calls, "T4: {self:?}");
    }

    /// What holds of an answer with a success.
    pub(crate) fn check_success(&self, answer: &Answer) {
        self.check();
        let (charges, sent) = (self.charges.borrow(), self.sent.borrow());
        let numbers = charges.values().flatten();
        let mut bodies = numbers.flat_map(|charge| sent.iter().map(|sent| body(*charge, *sent)));
        assert!(
            answer.status == 201 && bodies.any(|body| body == answer.body),
            "{answer:?} after {self:?}"
        );
    }
}

pub(crate) fn body(charge: u64, receipt: u64) -> String {
    format!(r#"{{"charge":{charge},"receipt":{receipt}}}"#)
}

/// The content of a request.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) scope: String,
    pub(crate) key: String,
    pub(crate) body: String,
}

impl Asking {
    pub(crate) fn of(key: impl Into<String>) -> Self {
        Self {
            scope: "acme".to_owned(),
            key: key.into(),
            body: "body".to_owned(),
        }
    }

    /// Scope, operation and key.
    pub(crate) fn parts(&self) -> (Option<&str>, Operation, IdempotencyKey) {
        let key = IdempotencyKey::parse(self.key.as_bytes()).expect("a key");
        (Some(&self.scope), Operation::named("ride"), key)
    }

    pub(crate) fn identity(&self) -> Identity {
        let (scope, operation, key) = self.parts();
        Identity::new(scope, &operation, &key)
    }

    fn request(&self, policy: &'static Policy) -> Prepared {
        let parts = RequestParts {
            method: "POST",
            path: "/ride",
            query: None,
            raw: Some(self.body.as_bytes()),
        };
        let (_, operation, key) = self.parts();
        let fingerprint = Fingerprint::new(parts, &Content::Raw, None);
        let scope = Some(self.scope.clone());
        Prepared::new(policy, scope, operation, Some(key), fingerprint)
    }
}

/// One attempt.
pub(crate) struct Live {
    pub(crate) future: LocalBoxFuture<'static, Answer>,
    pub(crate) gate: Rc<Gate>,
}

/// Where an attempt has come.
#[derive(Debug)]
pub(crate) enum Reached {
    Stop(Stop),
    Answer(Answer),
}

impl Live {
    /// Polls the attempt until it reaches a stop or its end.
    pub(crate) async fn go(&mut self) -> Reached {
        let reached = self.go_for(&mut usize::MAX.clone()).await;
        reached.expect("it has polls")
    }

    /// The same, with at most so many polls.
    pub(crate) async fn go_for(&mut self, polls: &mut usize) -> Option<Reached> {
        if self.gate.at().is_some() {
            self.gate.open();
        }
        poll_fn(|context| {
            if *polls == 0 {
                return Poll::Ready(None);
            }
            *polls -= 1;
            if let Poll::Ready(answer) = self.future.as_mut().poll(context) {
                return Poll::Ready(Some(Reached::Answer(answer)));
            }
            match self.gate.at() {
                Some(stop) => Poll::Ready(Some(Reached::Stop(stop))),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// A process with an engine of its own.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) store: RedisStore,
    pub(crate) engine: Engine<StepStore<Redis>>,
}

impl Process {
    pub(crate) fn of(url: &str, prefix: &str) -> Self {
        let store = place::patient_store(url, prefix);
        Self {
            engine: Engine::new(store.steps()),
            store,
        }
    }

    pub(crate) async fn connect(&self) {
        let read = self.store.find(&Asking::of("none").identity()).await;
        assert!(read.expect("reads").is_none());
    }

    /// Sends a request.
    pub(crate) fn ask(
        &self,
        asking: &Asking,
        policy: &'static Policy,
        ride: &Rc<Ride>,
        gate: &Rc<Gate>,
        ending: Ending,
    ) -> Live {
        let (engine, request) = (self.engine.clone(), asking.request(policy));
        let (ride, waits) = (Rc::clone(ride), Rc::clone(gate));
        let future = async move {
            let turn = match adapter::admit(&engine, request).await {
                Ok(turn) => turn,
                Err(answer) => return answered(answer),
            };
            let work = async move |mut claim: ClaimGuard<_>, _: Attempt| {
                let played = ride.play(claim.connection(), &waits, ending).await;
                let (status, body) = match played {
                    Ok(answer) => answer,
                    Err(error) => return HandlerOutcome::Broken(error),
                };
                let mut response = Response::new(Bytes::from(body));
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                HandlerOutcome::Answered {
                    settle: policy.classify(response.status(), None, Returned::Value),
                    response,
                    closed: Ok(()),
                }
            };
            answered(turn.run(work).await)
        };
        Live {
            future: future.boxed_local(),
            gate: Rc::clone(gate),
        }
    }

    /// Sends a request that nothing stops, and that succeeds.
    pub(crate) async fn answer(
        &self,
        asking: &Asking,
        policy: &'static Policy,
        ride: &Rc<Ride>,
    ) -> Answer {
        let gate = Gate::new(|_| false);
        let live = self.ask(asking, policy, ride, &gate, Ending::Success);
        live.future.await
    }
}

fn answered(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status.as_u16(),
        is_replayed: parts.headers.contains_key(REPLAYED),
        body: String::from_utf8(body.to_vec()).expect("text"),
    }
}
