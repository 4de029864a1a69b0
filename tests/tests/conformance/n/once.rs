//! `Engine::once`: the rules that don't speak of HTTP.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};
use futures_util::poll;
use idem_core::once::{Error, Failure, Key, Once, Policy};
use idem_core::{
    Attempt, Config, Forgotten, IdempotencyKey, Problem, ReplayCache, Seal, Shared, State,
    StepError, Steps,
};
use idem_tests::{
    Act, App, Body, Database, Domain as _, Framework, Instance, Reply, Scene, StepEngine, World,
    conformance, max_in_flight,
};
use serde::{Deserialize, Serialize};

conformance![
    by Axum:
    r1_r2_r6_value_is_made_once_and_replayed_everywhere,
    r8_cached_value_needs_no_connection,
    r12_sealed_value_is_replayed_and_not_in_the_database,
    m1_other_payload_is_a_mismatch,
    m3_other_payload_in_flight_is_a_mismatch_at_once,
    c1_duplicates_at_once_have_one_effect,
    c2_duplicate_is_in_flight_when_the_wait_is_over,
    c3_waiting_duplicate_is_the_next_attempt,
    c4_call_without_room_is_unavailable,
    n2_failure_is_final_or_runs_again,
    o8_refused_commit_runs_again,
    o11_drain_waits_for_the_attempt_and_refuses_the_next,
    o12_panic_is_undone_and_runs_again,
    o13_deadline_undoes,
    o14_own_commit_never_runs_again,
    o14_swallowed_sql_error_is_never_a_value,
    o18_handle_in_use_at_the_end_undoes_the_attempt,
    e1_e3_expired_value_is_made_again_and_purged,
    e4_e6_e7_operator_finds_counts_forgets_and_erases,
    l1_value_above_the_limit_keeps_nothing,
    h1_attempt_has_key_scope_number_and_after_commit,
    n4_request_and_call_never_answer_for_each_other,
    n6_call_that_is_dropped_is_undone,
    n6_call_that_is_dropped_at_any_poll_has_one_effect,
    t7_retry_resumes_after_the_last_step,
];

const HOUR: Duration = Duration::from_hours(1);
pub(crate) const OPERATION: &str = "work";

pub(crate) static WORK: Policy = Policy::new(OPERATION, HOUR).with_wait(Duration::from_secs(10));
static HASTY: Policy = Policy::new(OPERATION, HOUR).with_wait(Duration::ZERO);
static BOUNDED: Policy = Policy::new(OPERATION, HOUR).with_deadline(Duration::from_millis(300));
static CAPPED: Policy = Policy::new(OPERATION, HOUR).with_response_limit(20);
/// The operation of the endpoint `/named/{id}`.
static NAMED: Policy = Policy::new("named_effect", HOUR);
static LEASED: Policy = Policy::new(OPERATION, HOUR).with_lease(Duration::from_secs(2));

/// The value of an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    label: String,
    attempt: u32,
    entry: u32,
}

pub(crate) type Answer = Result<Once<Done>, Error<u16, u16>>;

/// The status of a scene's reply says how the closure ends.
fn end(reply: &Reply) -> Result<Done, Failure<u16, u16>> {
    match (reply.status, &reply.body) {
        (..400, Body::Bytes(json)) => {
            Ok(serde_json::from_slice(json).expect("the value of an effect"))
        }
        (422, _) => Err(Failure::Final(422)),
        (status, _) => Err(Failure::Again(status)),
    }
}

fn app<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    instance: &Instance<D>,
) -> App<D::Connection> {
    App {
        engine: instance.engine.clone(),
        steps: StepEngine(instance.steps.clone()),
        pool: instance.pool.clone(),
        control: world.control.clone(),
    }
}

/// One call of the tenant `acme`. Its closure plays the next scene.
pub(crate) async fn call<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    instance: &Instance<D>,
    policy: &'static Policy,
    label: &str,
) -> Answer {
    let app = app(world, instance);
    let work = async |tx: &mut D::Connection, attempt: &Attempt| {
        end(&app.play(tx, attempt, "acme", label).await)
    };
    let key = Key::new("acme", "k");
    app.engine.once(policy, key, label, work).await
}

#[track_caller]
fn fresh(answer: &Answer) -> &Done {
    match answer {
        Ok(Once::Fresh(done)) => done,
        other => panic!("not fresh: {other:?}"),
    }
}

#[track_caller]
fn assert_replays(answer: &Answer, done: &Done) {
    assert_eq!(*answer, Ok(Once::Replayed(done.clone())));
}

#[track_caller]
fn assert_interrupted(answer: &Answer, problem: Problem) {
    assert_eq!(*answer, Err(Error::Interrupted(problem)));
}

async fn r1_r2_r6_value_is_made_once_and_replayed_everywhere<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let first = call(world, &one, &WORK, "a").await;
    for instance in [&one, &other, &one] {
        assert_replays(&call(world, instance, &WORK, "a").await, fresh(&first));
    }
    assert_eq!(world.control.entries(), 1);
    assert_eq!((world.effects("acme").await, world.records().await), (1, 1));
}

async fn r8_cached_value_needs_no_connection<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let cache = ReplayCache::new(10_000, HOUR);
    let instance = world
        .configured(Config::new().with_replay_cache(cache))
        .await;
    let first = call(world, &instance, &WORK, "a").await;
    let _all = instance.whole_pool().await;
    assert_replays(&call(world, &instance, &WORK, "a").await, fresh(&first));
    let other = call(world, &instance, &WORK, "b").await;
    assert_eq!(other, Err(Error::KeyReused));
}

async fn r12_sealed_value_is_replayed_and_not_in_the_database<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let seal = Seal::try_new(1, b"a pepper that is long enough to be one");
    let config = Config::new().with_seal(seal.expect("the pepper is long enough"));
    let sealing = world.configured(config).await;
    let first = call(world, &sealing, &WORK, "secret").await;
    assert_replays(&call(world, &sealing, &WORK, "secret").await, fresh(&first));
    assert_eq!(world.responses_with("secret").await, 0);
    let plain = world.instance().await;
    let refused = call(world, &plain, &WORK, "secret").await;
    assert_eq!(refused, Err(Error::Refused(Problem::RecordUnreadable)));
    world.expire().await;
    fresh(&call(world, &plain, &WORK, "secret").await);
    assert_eq!(world.responses_with("secret").await, 1);
}

async fn m1_other_payload_is_a_mismatch<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let first = call(world, &instance, &WORK, "a").await;
    let other = call(world, &instance, &WORK, "b").await;
    assert_eq!(other, Err(Error::KeyReused));
    assert_replays(&call(world, &instance, &WORK, "a").await, fresh(&first));
    assert_eq!(world.control.entries(), 1);
}

async fn m3_other_payload_in_flight_is_a_mismatch_at_once<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    world.control.play([Scene::gated()]);
    let second = async {
        world.control.at_gate(1).await;
        let other = call(world, &instance, &HASTY, "b").await;
        world.control.open(1);
        other
    };
    let (first, other) = join(call(world, &instance, &WORK, "a"), second).await;
    fresh(&first);
    assert_eq!(other, Err(Error::KeyReused));
}

async fn c1_duplicates_at_once_have_one_effect<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    world.control.play([Scene::gated()]);
    let calls = [&one, &other].repeat(16);
    let calls = calls
        .into_iter()
        .map(|instance| call(world, instance, &WORK, "a"));
    let open = async {
        world.control.at_gate(1).await;
        world.control.open(1);
    };
    let (answers, ()) = join(join_all(calls), open).await;
    let is_fresh = |answer: &&Answer| matches!(answer, Ok(Once::Fresh(_)));
    assert_eq!(answers.iter().filter(is_fresh).count(), 1, "{answers:?}");
    let done = fresh(answers.iter().find(is_fresh).expect("one is fresh"));
    for answer in answers.iter().filter(|answer| !is_fresh(answer)) {
        assert_replays(answer, done);
    }
    assert_eq!(world.control.entries(), 1);
    assert_eq!((world.effects("acme").await, world.records().await), (1, 1));
}

async fn c2_duplicate_is_in_flight_when_the_wait_is_over<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    world.control.play([Scene::gated()]);
    let duplicates = async {
        world.control.at_gate(1).await;
        let here = call(world, &one, &HASTY, "a").await;
        // Another process on SQLite only sees that there is a writer.
        let elsewhere = if D::ONE_WRITER {
            here.clone()
        } else {
            call(world, &other, &HASTY, "a").await
        };
        world.control.open(1);
        [here, elsewhere]
    };
    let (first, duplicates) = join(call(world, &one, &WORK, "a"), duplicates).await;
    for duplicate in duplicates {
        let error = duplicate.expect_err("the first attempt runs");
        let retry_after = Duration::from_secs(1);
        assert_eq!(error, Error::InFlight { retry_after });
        assert!(error.is_retryable());
        assert_eq!(error.retry_after(), Some(retry_after));
    }
    assert_replays(&call(world, &other, &HASTY, "a").await, fresh(&first));
}

async fn c3_waiting_duplicate_is_the_next_attempt<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let fails = Scene::gated().answer(Reply::new(500));
    world.control.play([fails]);
    let second = async {
        world.control.at_gate(1).await;
        let mut waiting = pin!(call(world, &instance, &WORK, "a"));
        while instance.engine.waiting() == 0 {
            assert!(poll!(&mut waiting).is_pending());
        }
        world.control.open(1);
        waiting.await
    };
    let (first, second) = join(call(world, &instance, &WORK, "a"), second).await;
    assert_eq!(first, Err(Error::Again(500)));
    assert_eq!(fresh(&second).attempt, 2);
    assert_eq!(world.effects("acme").await, 1);
}

async fn c4_call_without_room_is_unavailable<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.configured(max_in_flight(1)).await;
    world.control.play([Scene::gated()]);
    let second = async {
        world.control.at_gate(1).await;
        let key = Key::new("acme", "other");
        let work = async |_: &mut D::Connection, _: &Attempt| Ok::<_, Failure<u16>>(());
        let refused = instance.engine.once(&WORK, key, "a", work).await;
        world.control.open(1);
        refused
    };
    let (first, second) = join(call(world, &instance, &WORK, "a"), second).await;
    fresh(&first);
    assert_eq!(second, Err(Error::Unavailable));
}

async fn n2_failure_is_final_or_runs_again<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance().await, world.instance().await);
    world
        .control
        .play([500, 422].map(|status| Scene::answering(Reply::new(status))));
    let again = call(world, &one, &WORK, "a").await;
    assert_eq!(again, Err(Error::Again(500)));
    let mismatch = call(world, &other, &WORK, "b").await;
    assert_eq!(mismatch, Err(Error::KeyReused), "it binds the key (M4)");
    for instance in [&one, &other, &one] {
        let dead = call(world, instance, &WORK, "a").await;
        assert_eq!(dead, Err(Error::Final(422)));
    }
    assert_eq!(world.control.entries(), 2);
    assert_eq!((world.effects("acme").await, world.records().await), (0, 1));
}

async fn o8_refused_commit_runs_again<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    world.control.play([Scene::effect().then(D::doom())]);
    let refused = call(world, &instance, &WORK, "a").await;
    assert_interrupted(&refused, Problem::TryAgain);
    assert_eq!((world.effects("acme").await, world.records().await), (0, 0));
    fresh(&call(world, &instance, &WORK, "a").await);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o11_drain_waits_for_the_attempt_and_refuses_the_next<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    world.control.play([Scene::gated()]);
    let drained = async {
        world.control.at_gate(1).await;
        let mut drain = pin!(instance.engine.drain());
        assert!(poll!(&mut drain).is_pending());
        world.control.open(1);
        drain.await;
    };
    let (first, ()) = join(call(world, &instance, &WORK, "a"), drained).await;
    fresh(&first);
    let refused = call(world, &instance, &WORK, "a").await;
    assert_eq!(refused, Err(Error::Unavailable));
}

async fn o12_panic_is_undone_and_runs_again<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    world.control.play([Scene::effect().then(Act::Panic)]);
    let panicked = call(world, &instance, &WORK, "a").await;
    assert_interrupted(&panicked, Problem::HandlerPanicked);
    assert_eq!(world.effects("acme").await, 0);
    assert_eq!(fresh(&call(world, &instance, &WORK, "a").await).attempt, 2);
}

async fn o13_deadline_undoes<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    world.control.play([Scene::effect().then(Act::Hang)]);
    let late = call(world, &instance, &BOUNDED, "a").await;
    assert_interrupted(&late, Problem::TryAgain);
    assert_eq!(world.effects("acme").await, 0);
    fresh(&call(world, &instance, &BOUNDED, "a").await);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o14_own_commit_never_runs_again<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let commits = Scene::effect().then(Act::run("COMMIT"));
    world.control.play([commits]);
    for instance in [&one, &one, &other] {
        let ended = call(world, instance, &WORK, "a").await;
        let error = ended.expect_err("its effect may stand");
        assert_eq!(error, Error::Refused(Problem::TransactionEnded));
        assert!(!error.is_retryable());
    }
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o14_swallowed_sql_error_is_never_a_value<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let swallows = Act::swallow("INSERT INTO no_such_table VALUES (1)");
    world.control.play([Scene::effect().then(swallows)]);
    let first = call(world, &instance, &WORK, "a").await;
    if D::ERRORS_ABORT {
        assert_interrupted(&first, Problem::TransactionAborted);
        assert_eq!(world.effects("acme").await, 0);
        fresh(&call(world, &instance, &WORK, "a").await);
    } else {
        assert_replays(&call(world, &instance, &WORK, "a").await, fresh(&first));
    }
    assert_eq!(world.effects("acme").await, 1);
}

async fn o18_handle_in_use_at_the_end_undoes_the_attempt<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let held = Mutex::new(None);
    let insert = async |tx: Shared<D::Connection>| {
        let mut locked = tx.lock().await.expect("the closure runs");
        locked.as_mut().insert("acme", "a").await.expect("a row");
        locked
    };
    let leaks = async |tx: Shared<D::Connection>, _: &Attempt| {
        let locked = insert(tx).await;
        *held.lock().expect("a lock") = Some(locked);
        Ok::<_, Failure<u16>>(())
    };
    let key = || Key::new("acme", "k");
    let leaked = instance.engine.once_shared(&WORK, key(), "a", leaks).await;
    assert_eq!(leaked, Err(Error::Interrupted(Problem::TryAgain)));
    drop(held);
    let writes = async |tx: Shared<D::Connection>, _: &Attempt| {
        insert(tx).await;
        Ok::<_, Failure<u16>>(())
    };
    let written = instance.engine.once_shared(&WORK, key(), "a", writes).await;
    assert_eq!(written, Ok(Once::Fresh(())));
    assert_eq!(world.effects("acme").await, 1);
}

async fn e1_e3_expired_value_is_made_again_and_purged<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let first = call(world, &instance, &WORK, "a").await;
    world.expire().await;
    let second = call(world, &instance, &WORK, "b").await;
    assert_ne!(fresh(&first), fresh(&second));
    assert_eq!(fresh(&second).attempt, 1);
    world.expire().await;
    assert_eq!(instance.engine.purge_expired().await.expect("purged"), 1);
    assert_eq!(world.records().await, 0);
}

async fn e4_e6_e7_operator_finds_counts_forgets_and_erases<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let engine = &instance.engine;
    let (operation, key) = (WORK.operation(), IdempotencyKey::parse(b"k"));
    let key = key.expect("a key");
    let scope = Some("acme");
    fresh(&call(world, &instance, &WORK, "a").await);

    let found = engine.find(scope, &operation, &key).await;
    let record = found.expect("the database answers").expect("a record");
    let record = record.record;
    assert_eq!((record.state, record.attempts), (State::Succeeded, 1));
    let json = &record.response().expect("a response").body;
    let done: Done = serde_json::from_slice(json).expect("the value");
    assert_eq!(done.label, "a");

    let stats = engine.stats_of(scope).await.expect("stats");
    let [tally] = &stats.tallies[..] else {
        panic!("one operation: {stats:?}");
    };
    assert_eq!(tally.operation, operation);
    assert_eq!(tally.state, Some(State::Succeeded));

    let forgotten = engine.forget(scope, &operation, &key).await;
    assert_eq!(forgotten.expect("the database answers"), Forgotten::Deleted);
    fresh(&call(world, &instance, &WORK, "a").await);
    assert_eq!(engine.erase(scope).await.expect("erased"), 1);
    fresh(&call(world, &instance, &WORK, "a").await);
    assert_eq!(world.effects("acme").await, 3);
}

async fn l1_value_above_the_limit_keeps_nothing<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let large = call(world, &instance, &CAPPED, "a").await;
    assert_eq!(large, Err(Error::Refused(Problem::ResponseTooLarge)));
    assert_eq!(world.effects("acme").await, 0);
    fresh(&call(world, &instance, &WORK, "a").await);
}

async fn h1_attempt_has_key_scope_number_and_after_commit<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let acts = [Act::AfterCommit, Act::Insert];
    let fails = Scene::new(acts.clone()).answer(Reply::new(500));
    world.control.play([fails, Scene::new(acts)]);
    for _ in 0..3 {
        drop(call(world, &instance, &WORK, "a").await);
    }
    world.control.committed(1).await;
    instance.engine.drain().await;
    assert_eq!(world.control.commits(), 1);
    let visits = world.control.visits();
    assert_eq!(visits.len(), 2);
    for (visit, number) in visits.iter().zip(1..) {
        assert_eq!(visit.key.as_deref(), Some("k"));
        assert_eq!(visit.scope.as_deref(), Some("acme"));
        assert_eq!(visit.number, number);
        assert_eq!(visit.downstream, visits[0].downstream);
        assert!(visit.downstream[0].is_some());
    }
}

async fn n4_request_and_call_never_answer_for_each_other<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/named/7").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let called = call(world, &instance, &NAMED, "a").await;
    assert_eq!(called, Err(Error::KeyReused));
    request.send().await.assert_replays(&first);
    assert_eq!(
        instance.engine.erase(Some("acme")).await.expect("erased"),
        1
    );

    let called = call(world, &instance, &NAMED, "a").await;
    request.send().await.assert_problem("key-reused");
    assert_replays(&call(world, &instance, &NAMED, "a").await, fresh(&called));
    assert_eq!((world.records().await, world.effects("acme").await), (1, 2));
}

async fn n6_call_that_is_dropped_is_undone<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance().await, world.instance().await);
    world.control.play([Scene::effect().then(Act::Wait)]);
    {
        let mut dropped = pin!(call(world, &one, &WORK, "a"));
        let at_gate = pin!(world.control.at_gate(1));
        let first = select(&mut dropped, at_gate).await;
        assert!(matches!(first, Either::Right(_)));
    }
    one.engine.drain().await;
    let next = call(world, &other, &WORK, "a").await;
    assert_eq!(fresh(&next).attempt, 1);
    assert_eq!((world.records().await, world.effects("acme").await), (1, 1));
}

async fn n6_call_that_is_dropped_at_any_poll_has_one_effect<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    for most in 0_u32.. {
        let tenant = format!("tenant-{most}");
        let once = || async {
            let insert = async |tx: &mut D::Connection, attempt: &Attempt| {
                let inserted = tx.insert(&tenant, "a").await;
                let number = inserted.map(|()| attempt.number());
                number.map_err(Failure::<_>::Again)
            };
            let key = Key::new(&tenant, "k");
            instance.engine.once(&WORK, key, "a", insert).await
        };
        let mut polls = 0;
        let mut first = Box::pin(once());
        let ended = poll_fn(|context| {
            polls += 1;
            if polls > most {
                return Poll::Ready(None);
            }
            first.as_mut().poll(context).map(Some)
        });
        let ended = ended.await;
        drop(first);
        let second = once().await.expect("nothing is in the way for long");
        if ended.is_none() || matches!(second, Once::Replayed(_)) {
            assert_eq!(world.effects(&tenant).await, 1, "after {most} polls");
        } else {
            panic!("a value that was confirmed is made again after {most} polls");
        }
        if let Some(first) = ended {
            assert!(matches!(first, Ok(Once::Fresh(1))));
            assert!(most > 1, "it waits for the server at least once");
            return;
        }
    }
}

async fn t7_retry_resumes_after_the_last_step<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.with_steps().await;
    let engine = &instance.steps;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let key = Key::new("acme", "k");
        let work = async |steps: &mut Steps<D::Connection>, attempt: &Attempt| {
            let number = attempt.number();
            let insert = steps.commit("insert", async |tx| {
                tx.insert("acme", "a").await.expect("a row");
                Ok::<_, StepError>(number)
            });
            let first: u32 = insert.await?;
            if number == 1 {
                return Err(Failure::<StepError>::Again(StepError::Broken));
            }
            Ok((first, number))
        };
        answers.push(engine.once(&LEASED, key, "a", work).await);
    }
    assert!(matches!(answers[0], Err(Error::Again(StepError::Broken))));
    assert!(matches!(answers[1], Ok(Once::Fresh((1, 2)))));
    assert!(matches!(answers[2], Ok(Once::Replayed((1, 2)))));
    assert_eq!(world.effects("acme").await, 1);
}
