//! X32: an attempt is frozen past its lease, at each of its scripts, of its stops and of its polls. Another process takes
//! over. Then the attempt wakes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use idem_core::adapter::Policy;
use tokio::time::{Instant, sleep};

use crate::place;
use crate::proxy::{Fault, Proxy};
use crate::ride::{Asking, Ending, Gate, Process, Reached, Ride, Sender, Stop, UNTIMED};
use crate::rows::Rows;
use crate::server::until;
use crate::service::Answer;

/// A lease of one second.
static POLICY: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::ZERO)
    .with_lease(Duration::from_secs(1))
    .with_deadline(Duration::from_mins(1));

/// How often each point is frozen.
const TIMES: usize = 4;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The problems that tell a client to ask again.
const PROBLEMS: [&str; 3] = ["in-flight", "try-again", "outcome-unknown"];

/// Where the older attempt is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Its command with this number has not arrived, and arrives after the other attempt's.
    Script(usize),
    Stop(Stop),
    /// It is polled so many times.
    Poll(usize),
}

/// Where the newer attempt is when the older one wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newer {
    Running,
    Settled,
}

const POINTS: [Point; 18] = [
    Point::Script(0),
    Point::Script(1),
    Point::Script(2),
    Point::Script(3),
    Point::Script(4),
    Point::Stop(Stop::Claimed),
    Point::Stop(Stop::Charged),
    Point::Stop(Stop::Between),
    Point::Stop(Stop::Calling),
    Point::Stop(Stop::Sent),
    Point::Stop(Stop::End),
    Point::Poll(1),
    Point::Poll(2),
    Point::Poll(3),
    Point::Poll(4),
    Point::Poll(5),
    Point::Poll(6),
    Point::Poll(7),
];

/// Freezes one attempt. Returns its answer, unless it was answered before.
async fn freeze(point: Point, newer: Newer) -> Option<Answer> {
    let (prefix, proxy) = (place::prefix(), Proxy::to(&place::url()).await);
    let old = Process::of(&proxy.url(), &prefix);
    let new = Process::of(&place::url(), &prefix);
    let (mut rows, ride) = (Rows::of(&prefix).await, Ride::new(Sender::Knows));
    let asking = &Asking::of("k");
    let gate = Gate::new(|_| true);
    old.connect().await;
    let mut late = old.ask(asking, &POLICY, &ride, &gate, Ending::Success);
    match point {
        Point::Script(script) => {
            proxy.set(Fault::HoldFrom(script));
            let sent = until("it is sent", async || proxy.scripts() > script);
            let goes = async { while let Reached::Stop(_) = late.go().await {} };
            tokio::select! {
                () = sent => {}
                () = goes => panic!("{script} is not sent"),
            }
        }
        Point::Stop(stop) => loop {
            match late.go().await {
                Reached::Stop(at) if at == stop => break,
                Reached::Stop(_) => {}
                Reached::Answer(answer) => panic!("{stop:?} is not reached: {answer:?}"),
            }
        },
        Point::Poll(polls) => {
            for _ in 0..polls {
                if let Some(Reached::Answer(_)) = late.go_for(&mut 1).await {
                    return None;
                }
                // The answers of the server arrive.
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    let start = Instant::now();
    let (mut winner, mut answer) = loop {
        assert!(start.elapsed() < TIMEOUT, "nobody takes over");
        let gate = Gate::new(|stop| stop == Stop::Between);
        let mut next = new.ask(asking, &UNTIMED, &ride, &gate, Ending::Success);
        match next.go().await {
            Reached::Stop(_) => break (Some(next), None),
            Reached::Answer(answer) if answer.status == 201 => break (None, Some(answer)),
            Reached::Answer(answer) => assert!(answer.is_problem("in-flight"), "{answer:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    if let (Newer::Settled, Some(next)) = (newer, &mut winner) {
        next.gate.open();
        answer = Some((&mut next.future).await);
        winner = None;
    }

    let before = rows.read(&asking.identity()).await;
    proxy.set(Fault::None);
    let woken = loop {
        match late.go().await {
            Reached::Stop(_) => {}
            Reached::Answer(answer) => break answer,
        }
    };
    let after = rows.read(&asking.identity()).await;
    assert_eq!(before, after, "{point:?}, {newer:?}: a late write");
    if let Some(next) = winner {
        next.gate.open();
        answer = Some(next.future.await);
    }
    let answer = answer.expect("the newer attempt is answered");
    assert_eq!(answer.status, 201, "{point:?}, {newer:?}: {answer:?}");
    ride.check_success(&answer);
    let is_problem = PROBLEMS.iter().any(|name| woken.is_problem(name));
    let is_same = woken.status == 201 && woken.is_replayed && woken.body == answer.body;
    assert!(
        is_problem || is_same,
        "{point:?}, {newer:?}: {woken:?}, and {answer:?}"
    );
    let replay = new.answer(asking, &UNTIMED, &ride).await;
    assert!(
        replay.is_replayed && replay.body == answer.body,
        "{replay:?}"
    );
    Some(woken)
}

#[tokio::test]
async fn x32_t5_attempts_frozen_past_their_lease_write_nothing() {
    let freezes = POINTS.iter().flat_map(|point| {
        let both = [Newer::Running, Newer::Settled];
        both.into_iter()
            .flat_map(move |newer| std::iter::repeat_n((*point, newer), TIMES))
    });
    let freezes = freezes.map(async |(point, newer)| freeze(point, newer).await);
    let mut answers = BTreeMap::<_, usize>::new();
    let woken: Vec<_> = stream::iter(freezes).buffer_unordered(48).collect().await;
    for answer in woken.iter().flatten() {
        let problem = PROBLEMS.iter().find(|name| answer.is_problem(name));
        *answers.entry(problem.unwrap_or(&"replay")).or_default() += 1;
    }
    let frozen = woken.iter().flatten().count();
    println!("{frozen} attempts were frozen, and answered {answers:?}");
    assert!(frozen >= 100, "{frozen}");
}

/// What has become of an attempt before its commands arrive once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Settled,
    TakenOver,
    TakenOverAndSettled,
    /// Its run was erased, and there is another one.
    Erased,
}

/// The network may deliver a command twice, the second time after anything.
#[tokio::test]
async fn x32_t5_commands_that_arrive_again_later_change_nothing() {
    for since in [
        Since::Settled,
        Since::TakenOver,
        Since::TakenOverAndSettled,
        Since::Erased,
    ] {
        let (prefix, proxy) = (place::prefix(), Proxy::to(&place::url()).await);
        let old = Process::of(&proxy.url(), &prefix);
        let new = Process::of(&place::url(), &prefix);
        let (mut rows, ride) = (Rows::of(&prefix).await, Ride::new(Sender::Knows));
        let (asking, gate) = (&Asking::of("k"), Gate::new(|stop| stop == Stop::End));
        old.connect().await;
        proxy.set(Fault::Keep);
        let mut late = old.ask(asking, &UNTIMED, &ride, &gate, Ending::Success);
        assert!(matches!(late.go().await, Reached::Stop(Stop::End)));
        match since {
            Since::Settled => {}
            Since::TakenOver | Since::TakenOverAndSettled => {
                rows.end_lease(&asking.identity()).await;
            }
            Since::Erased => {
                let erased = new.engine.erase(Some(&asking.scope)).await;
                assert_eq!(erased.expect("erases"), 1);
            }
        }
        let gate = Gate::new(|stop| stop == Stop::Between);
        let ride = Ride::new(Sender::Knows);
        let mut next = new.ask(asking, &UNTIMED, &ride, &gate, Ending::Success);
        if since != Since::Settled {
            assert!(matches!(next.go().await, Reached::Stop(Stop::Between)));
        }
        if since == Since::TakenOverAndSettled {
            assert!(matches!(next.go().await, Reached::Answer(answer) if answer.status == 201));
        }
        assert!(matches!(late.go().await, Reached::Answer(_)));
        let before = rows.read(&asking.identity()).await;
        let sent = proxy.send_again().await;
        assert!(sent >= 5, "{sent}");
        let after = rows.read(&asking.identity()).await;
        assert_eq!(before, after, "{since:?}");
    }
}

/// A claim that has seen a run without a lease finds a record in its place.
#[tokio::test]
async fn x32_t5_a_takeover_looks_again_in_its_script() {
    let (prefix, proxy) = (place::prefix(), Proxy::to(&place::url()).await);
    let old = Process::of(&place::url(), &prefix);
    let new = Process::of(&proxy.url(), &prefix);
    let (mut rows, ride) = (Rows::of(&prefix).await, Ride::new(Sender::Knows));
    let (asking, gate) = (&Asking::of("k"), Gate::new(|stop| stop == Stop::End));
    let mut late = old.ask(asking, &UNTIMED, &ride, &gate, Ending::Success);
    assert!(matches!(late.go().await, Reached::Stop(Stop::End)));
    rows.end_lease(&asking.identity()).await;

    // The first claim shows the run, and the second one is to take it over.
    proxy.set(Fault::HoldFrom(1));
    let gate = Gate::new(|stop| stop == Stop::Claimed);
    let mut next = new.ask(asking, &UNTIMED, &ride, &gate, Ending::Success);
    let settled = async {
        until("it is sent", async || proxy.scripts() == 2).await;
        let settled = late.go().await;
        proxy.set(Fault::None);
        settled
    };
    let (settled, reached) = tokio::join!(settled, next.go());
    match (settled, reached) {
        (Reached::Answer(first), Reached::Answer(answer)) => {
            assert_eq!((first.status, first.is_replayed), (201, false), "{first:?}");
            let is_same = answer.is_replayed && answer.body == first.body;
            assert!(is_same, "{first:?}, then {answer:?}");
        }
        other => panic!("{other:?}"),
    }
}
