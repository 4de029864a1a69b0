//! Many requests at once: attempts that are aborted anywhere, and duplicates of one key.

use std::convert::identity;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt as _, stream};
use idem_core::adapter::{
    self, Fingerprint, HandlerOutcome, Policy, Prepared, RequestParts, Response,
};
use idem_core::store::Claim as _;
use idem_core::{Content, IdempotencyKey, Operation};
use idem_core::{Engine, PostgresStore, Settle, Store};
use idem_tests::{Database, Domain, Framework, Settings, World, conformance};
use tokio::sync::{Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

conformance![
    on [Postgres Mysql]:
    i6_stress_of_aborts_leaves_nothing_behind,
    c1_512_duplicates_in_one_instance_are_executed_once,
    c1_512_duplicates_over_two_instances_are_executed_once,
    c4_512_waiting_duplicates_hold_no_connection,
    c2_512_duplicates_that_do_not_wait_are_answered_at_once,
];

const DAY: Duration = Duration::from_hours(24);
static PATIENT: Policy = Policy::new(DAY).with_wait(Duration::from_secs(20));
static HASTY: Policy = Policy::new(DAY).with_wait(Duration::ZERO);

/// One request without HTTP, so that the test can abort it: an effect, and a wait at the gate.
struct Caller<S: Store> {
    engine: Engine<S>,
    gate: Arc<Semaphore>,
    entered: watch::Sender<usize>,
}

impl<S: Store> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            gate: Arc::clone(&self.gate),
            entered: self.entered.clone(),
        }
    }
}

impl<S: Store<Connection: Domain>> Caller<S> {
    fn of(engine: &Engine<S>) -> Self {
        Self {
            engine: engine.clone(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            entered: watch::Sender::new(0),
        }
    }

    async fn call(self, policy: &'static Policy, label: String) -> Response {
        let asked = RequestParts {
            method: "POST",
            path: "/stress",
            query: None,
            raw: Some(label.as_bytes()),
        };
        let request = Prepared::new(
            policy,
            Some("acme".to_owned()),
            Operation::named("stress"),
            IdempotencyKey::parse(label.as_bytes()).ok(),
            Fingerprint::new(asked, &Content::Raw, None),
        );
        let turn = match adapter::admit(&self.engine, request).await {
            Ok(turn) => turn,
            Err(answer) => return answer,
        };
        turn.run(|mut claim, _| async move {
            self.entered.send_modify(|entered| *entered += 1);
            let inserted = claim.connection().insert("acme", &label).await;
            let _ = self.gate.acquire().await;
            match inserted {
                Ok(()) => HandlerOutcome::Answered {
                    response: Response::new(label.into()),
                    settle: Ok(Settle::Commit),
                    closed: Ok(()),
                },
                Err(error) => HandlerOutcome::Broken(error.into()),
            }
        })
        .await
    }

    async fn is_entered(&self) {
        let mut entered = self.entered.subscribe();
        let first = entered.wait_for(|entered| *entered > 0);
        let first = timeout(Duration::from_secs(10), first).await;
        drop(first.expect("one is entered").expect("open"));
    }
}

/// Well-distributed numbers, the same in every run.
fn random(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

const ABORTS: usize = 10_000;
/// Every second one is aborted, unless it is answered before.
const MOST_REQUESTS: u64 = 100_000;
const KEYS: u64 = 64;
/// How many requests a key gets, before others take its place.
const TRIES: u64 = 5;
const CONNECTIONS: u32 = 8;

/// Over two instances; of PostgreSQL's one sends records in COMMIT's message.
async fn i6_stress_of_aborts_leaves_nothing_behind<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let stores = [identity as fn(_) -> _, PostgresStore::with_record_in_commit];
    let instances = stores.map(async |postgres| {
        let mut settings = Settings::of_store(postgres);
        settings.wires.connections = CONNECTIONS;
        world.instance_with(settings).await
    });
    let instances = join_all(instances).await;
    let callers: Vec<_> = instances.iter().map(|i| Caller::of(&i.engine)).collect();
    let aborted = AtomicUsize::new(0);
    let label = |number: u64| {
        let generation = number / (KEYS * TRIES);
        format!("{generation}-{}", number % KEYS)
    };
    let one = async |number: u64| {
        let caller = &callers[usize::from(random(number / 2).is_multiple_of(2))];
        let task = tokio::spawn(caller.clone().call(&HASTY, label(number)));
        // An abort closes a connection, and those that are let be give new ones to the pool.
        if number.is_multiple_of(2) {
            let answer = task.await.expect("answered");
            assert!([200, 409].contains(&answer.status().as_u16()), "{answer:?}");
            return;
        }
        sleep(Duration::from_millis(random(number) % 4)).await;
        for _ in 0..random(!number) % 64 {
            yield_now().await;
        }
        task.abort();
        if task.await.is_err_and(|error| error.is_cancelled()) {
            aborted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let start = Instant::now();
    let requests = AtomicU64::new(0);
    let more = |number: &u64| {
        requests.store(*number, Ordering::Relaxed);
        ready(aborted.load(Ordering::Relaxed) < ABORTS)
    };
    let numbers = stream::iter(0..MOST_REQUESTS).take_while(more);
    numbers.for_each_concurrent(8, one).await;
    let (aborted, requests) = (aborted.load(Ordering::Relaxed), requests.into_inner());
    let took = start.elapsed();

    // The server may still be busy with abandoned connections.
    for instance in &instances {
        let all = (0..CONNECTIONS).map(|_| instance.pool.acquire());
        let all = timeout(Duration::from_secs(10), try_join_all(all)).await;
        drop(all.expect("no connection is lost").expect("connections"));
    }
    let ledger = format!("SELECT count(*) FROM {} WHERE state = 1", D::RECORDS);
    let (effects, successes) = (world.effects("acme").await, world.number(&ledger).await);
    println!("{aborted} of {requests} aborted, {successes} succeeded, in {took:?}");
    assert!(aborted >= ABORTS, "too few were aborted");
    assert!(successes >= 1000, "hardly any succeeded");
    assert_eq!(effects, successes);
    let twice = "SELECT count(*) - count(DISTINCT label) FROM effects";
    assert_eq!(world.number(twice).await, 0);

    let last = (0..KEYS).map(|key| callers[0].clone().call(&PATIENT, label(requests - 1 - key)));
    let answers = timeout(Duration::from_secs(5), join_all(last)).await;
    for answer in answers.expect("every key is answerable again") {
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(world.effects("acme").await, world.number(&ledger).await);
    assert_eq!(world.number(twice).await, 0);
}

const DUPLICATES: usize = 512;

/// Callers on instances with two connections each, whose gate is closed.
async fn callers<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    instances: usize,
) -> Vec<Caller<D::Store>> {
    let (gate, entered) = (Arc::new(Semaphore::new(0)), watch::Sender::new(0));
    let mut callers = Vec::new();
    for _ in 0..instances {
        let instance = world.instance_of(2).await;
        callers.push(Caller {
            gate: Arc::clone(&gate),
            entered: entered.clone(),
            ..Caller::of(&instance.engine)
        });
    }
    callers
}

async fn are_executed_once<F: Framework<D>, D: Database>(world: &World<F, D>, instances: usize) {
    let callers = callers(world, instances).await;
    let calls: Vec<_> = callers
        .iter()
        .cycle()
        .take(DUPLICATES)
        .map(|caller| tokio::spawn(caller.clone().call(&PATIENT, "k".to_owned())))
        .collect();
    callers[0].is_entered().await;
    callers[0].gate.add_permits(DUPLICATES);
    let answers = try_join_all(calls).await.expect("all are answered");
    let count = |status: u16| answers.iter().filter(|a| a.status() == status).count();
    println!(
        "{} replayed or executed, {} in flight",
        count(200),
        count(409)
    );
    assert_eq!(count(200) + count(409), DUPLICATES);
    let replays = |answer: &&Response| answer.headers().contains_key("idempotency-replayed");
    assert_eq!(answers.iter().filter(replays).count() + 1, count(200));
    assert_eq!(*callers[0].entered.borrow(), 1);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.records().await, 1);
}

async fn c1_512_duplicates_in_one_instance_are_executed_once<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    are_executed_once(world, 1).await;
}

async fn c1_512_duplicates_over_two_instances_are_executed_once<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    are_executed_once(world, 2).await;
}

/// The owner has one of the two connections, and requests with other keys run on the other.
async fn c4_512_waiting_duplicates_hold_no_connection<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let caller = callers(world, 1).await.remove(0);
    let calls: Vec<_> = (0..DUPLICATES)
        .map(|_| tokio::spawn(caller.clone().call(&PATIENT, "k".to_owned())))
        .collect();
    caller.is_entered().await;
    let others = Caller::of(&caller.engine);
    for number in 0..8 {
        let other = others.clone().call(&HASTY, format!("other-{number}"));
        let other = timeout(Duration::from_secs(1), other).await;
        assert_eq!(other.expect("a connection is free").status(), 200);
    }
    caller.gate.add_permits(DUPLICATES);
    for answer in try_join_all(calls).await.expect("all are answered") {
        assert!([200, 409].contains(&answer.status().as_u16()));
    }
    assert_eq!(world.effects("acme").await, 9);
}

async fn c2_512_duplicates_that_do_not_wait_are_answered_at_once<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let caller = callers(world, 1).await.remove(0);
    let owner = tokio::spawn(caller.clone().call(&HASTY, "k".to_owned()));
    caller.is_entered().await;
    let start = Instant::now();
    let calls = (0..DUPLICATES).map(|_| {
        let call = caller.clone().call(&HASTY, "k".to_owned());
        tokio::spawn(async {
            let start = Instant::now();
            (call.await, start.elapsed())
        })
    });
    let answers = try_join_all(calls).await.expect("all are answered");
    let took = start.elapsed();
    for (answer, _) in &answers {
        assert_eq!(answer.status(), 409);
    }
    let mut each: Vec<Duration> = answers.iter().map(|(_, took)| *took).collect();
    each.sort_unstable();
    let (middle, late) = (each[DUPLICATES / 2], each[DUPLICATES * 99 / 100]);
    println!("{DUPLICATES} are answered in {took:?}, each in {middle:?} (p50), {late:?} (p99)");
    assert!(took < Duration::from_secs(1), "{took:?}");
    caller.gate.add_permits(1);
    assert_eq!(owner.await.expect("answered").status(), 200);
    assert_eq!(world.effects("acme").await, 1);
}
