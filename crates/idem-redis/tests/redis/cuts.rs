//! X31: the connection to the server is cut after every byte of an attempt, in both directions. The client repeats the
//! request until it is answered for good. Either the process lives, or it dies with its connection.

use std::collections::BTreeMap;
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use idem_core::adapter::Policy;
use tokio::time::timeout;

use crate::place;
use crate::proxy::{Direction, Fault, Proxy};
use crate::ride::{Asking, Ending, Gate, Process, Ride, Sender, Stop, UNTIMED};
use crate::rows::Rows;
use crate::server::until;
use crate::service::Answer;

/// A call that waits for its lease's renewal need not wait long.
static RENEWING: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::ZERO)
    .with_lease(Duration::from_millis(60))
    .with_deadline(Duration::from_secs(10));

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of requests with faults in parallel.
const LANES: usize = 16;

/// `FAULTS_LONG=1` has a cut after every byte, and `FAULTS_LONG=3` after every third.
fn step() -> usize {
    let long = std::env::var("FAULTS_LONG").ok();
    long.map_or(13, |long| long.parse().expect("a number of bytes"))
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A claim, a call, an intent with its completion, and a record.
    First,
    /// The same, and the lease is renewed during the call.
    Renewed,
    /// The next attempt after a recorded call.
    Resumed,
    /// The next attempt after an intent without a result.
    Recovered,
    /// The record is there.
    Replayed,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::First,
        Self::Renewed,
        Self::Resumed,
        Self::Recovered,
        Self::Replayed,
    ];

    /// Where the process of an earlier attempt has died.
    fn earlier(self) -> Option<fn(Stop) -> bool> {
        match self {
            Self::Resumed => Some(|stop| stop == Stop::Between),
            Self::Recovered => Some(|stop| stop == Stop::Sent),
            Self::First | Self::Renewed | Self::Replayed => None,
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    cuts: usize,
    requests: usize,
    /// The calls that were made again.
    repeated: usize,
    /// How the requests were answered whose connection was cut.
    answers: BTreeMap<String, usize>,
}

/// Two processes on one server, one of them behind a proxy.
struct Lane {
    proxy: Proxy,
    faulty: Process,
    clean: Process,
    rows: Rows,
    name: usize,
    requests: usize,
    seen: Seen,
}

impl Lane {
    async fn open(name: usize) -> Self {
        let (proxy, prefix) = (Proxy::to(&place::url()).await, place::prefix());
        Self {
            faulty: Process::of(&proxy.url(), &prefix),
            clean: Process::of(&place::url(), &prefix),
            proxy,
            rows: Rows::of(&prefix).await,
            name,
            requests: 0,
            seen: Seen::default(),
        }
    }

    /// A request with a new key.
    fn asking(&mut self) -> Asking {
        self.requests += 1;
        Asking::of(format!("{:03}-{:06}", self.name, self.requests))
    }

    /// The bytes of a request without a fault, on a server that knows its scripts.
    async fn traffic(&mut self, kind: Kind) -> [usize; 2] {
        self.pass(kind).await;
        self.pass(kind).await;
        [Direction::Commands, Direction::Answers].map(|direction| self.proxy.bytes(direction))
    }

    /// A request without a fault.
    async fn pass(&mut self, kind: Kind) {
        let (asking, ride) = (&self.asking(), Ride::new(Sender::Knows));
        self.prepare(kind, asking, &ride).await;
        self.proxy.set(Fault::None);
        let answer = self.first(kind, asking, &ride, false).await;
        assert!(answer.is_some_and(|answer| answer.status == 201));
    }

    /// Sends the earlier request, and connects.
    async fn prepare(&mut self, kind: Kind, asking: &Asking, ride: &Rc<Ride>) {
        if let Some(stops) = kind.earlier() {
            let gate = Gate::new(stops);
            let ask = self
                .clean
                .ask(asking, &UNTIMED, ride, &gate, Ending::Success);
            tokio::select! {
                () = gate.reached() => {}
                answer = ask.future => panic!("{answer:?}"),
            }
            self.rows.end_lease(&asking.identity()).await;
        }
        if kind == Kind::Replayed {
            self.clean.answer(asking, &UNTIMED, ride).await;
        }
        let other = Asking::of("warm");
        self.faulty
            .answer(&other, &UNTIMED, &Ride::new(Sender::Knows))
            .await;
    }

    /// Sends the request whose connection is cut. There is no answer if its process dies then.
    async fn first(
        &mut self,
        kind: Kind,
        asking: &Asking,
        ride: &Rc<Ride>,
        dies: bool,
    ) -> Option<Answer> {
        let stops: fn(Stop) -> bool = match kind {
            Kind::Renewed => |stop| stop == Stop::Charged,
            _ => |_| false,
        };
        let policy = match kind {
            Kind::Renewed => &RENEWING,
            _ => &UNTIMED,
        };
        let gate = Gate::new(stops);
        let ask = self
            .faulty
            .ask(asking, policy, ride, &gate, Ending::Success);
        let renewed = async {
            gate.reached().await;
            // The claim is the first script.
            until("a renewal or a cut", async || {
                self.proxy.scripts() >= 2 || self.proxy.cuts() > 0
            })
            .await;
            gate.open();
            pending::<()>().await;
        };
        let end = async {
            if !dies {
                pending::<()>().await;
            }
            until("a cut", async || self.proxy.cuts() > 0).await;
        };
        let answer = async {
            tokio::select! {
                answer = ask.future => Some(answer),
                () = renewed => None,
                () = end => None,
            }
        };
        timeout(TIMEOUT, answer).await.expect("it hangs")
    }

    /// Sends a request whose connection is cut, and repeats it until it is answered for good.
    async fn suffer(&mut self, kind: Kind, fault: Fault, dies: bool) {
        let (asking, ride) = (&self.asking(), Ride::new(Sender::Knows));
        self.prepare(kind, asking, &ride).await;
        self.proxy.set(fault);
        let first = self.first(kind, asking, &ride, dies).await;
        self.seen.requests += 1;
        if self.proxy.cuts() > 0 {
            self.seen.cuts += 1;
            let answer = first.as_ref().map_or_else(|| "died".to_owned(), summary);
            *self.seen.answers.entry(answer).or_default() += 1;
        }
        self.proxy.set(Fault::None);
        let start = Instant::now();
        let last = loop {
            self.rows.end_lease(&asking.identity()).await;
            let answer = self.clean.answer(asking, &UNTIMED, &ride).await;
            self.seen.requests += 1;
            if answer.status == 201 {
                break answer;
            }
            assert!(
                matches!(answer.status, 409 | 503) && start.elapsed() < TIMEOUT,
                "{kind:?}, {fault:?}: {answer:?}"
            );
        };
        // A process that lives sends its command again.
        if let Some(first) = first {
            let is_first = (first.status, first.is_replayed) == (201, kind == Kind::Replayed);
            assert!(is_first, "{kind:?}, {fault:?}: {first:?}");
            let is_same = last.is_replayed && first.body == last.body;
            assert!(is_same, "{kind:?}, {fault:?}: {first:?}, then {last:?}");
        }
        let replay = self.clean.answer(asking, &UNTIMED, &ride).await;
        let is_same = replay.is_replayed && replay.body == last.body;
        assert!(is_same, "{kind:?}, {fault:?}: {replay:?} after {last:?}");
        ride.check_success(&last);
        self.seen.repeated += ride.repeated();
    }
}

/// Status and problem.
fn summary(answer: &Answer) -> String {
    let problem = answer.body.split_once('#');
    let problem = problem.and_then(|(_, kind)| kind.split('"').next());
    let replayed = if answer.is_replayed { "replay " } else { "" };
    format!(
        "{replayed}{} {}",
        answer.status,
        problem.unwrap_or_default()
    )
}

#[tokio::test]
async fn x31_t3_t4_connection_cut_after_every_byte() {
    let start = Instant::now();
    let mut lanes = join_all((0..LANES).map(Lane::open)).await;
    let mut faults = Vec::new();
    for kind in Kind::ALL {
        let [commands, answers] = lanes[0].traffic(kind).await;
        for (direction, bytes) in [
            (Direction::Commands, commands),
            (Direction::Answers, answers),
        ] {
            let cuts = (0..bytes).step_by(step());
            let cuts = cuts.map(|after| Fault::CutAt(direction, after));
            faults.extend(cuts.flat_map(|cut| [(kind, cut, false), (kind, cut, true)]));
        }
    }
    let faults = &faults;
    let lanes = lanes.into_iter().enumerate();
    let lanes = lanes.map(async |(number, mut lane)| {
        for (kind, fault, dies) in faults.iter().skip(number).step_by(LANES) {
            lane.suffer(*kind, *fault, *dies).await;
        }
        lane.seen
    });
    let mut seen = Seen::default();
    for lane in join_all(lanes).await {
        seen.cuts += lane.cuts;
        seen.requests += lane.requests;
        seen.repeated += lane.repeated;
        for (answer, count) in lane.answers {
            *seen.answers.entry(answer).or_default() += count;
        }
    }
    println!("{seen:?} in {:.1?}", start.elapsed());
    // The length of a number varies.
    assert!(
        seen.cuts * 100 > faults.len() * 98,
        "{} of {}",
        seen.cuts,
        faults.len()
    );
}

#[tokio::test]
async fn x31_t3_t4_each_command_executed_twice() {
    let mut lane = Lane::open(0).await;
    for kind in Kind::ALL {
        for fault in [Fault::FirstOfTwo, Fault::SecondOfTwo] {
            lane.suffer(kind, fault, false).await;
        }
    }
    assert_eq!(lane.seen.repeated, 0, "{:?}", lane.seen);
}
