//! Duplicates of a request in one process, and what a handler or idem itself can do to them.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::adapter::{Policy, Prepared};
use crate::drain_all;

/// Sends requests at once, whose handler would answer 201.
fn send(
    engine: &Engine<Script>,
    requests: impl IntoIterator<Item = Prepared>,
) -> JoinSet<Response> {
    requests
        .into_iter()
        .map(|request| {
            let engine = engine.clone();
            async move { ask_for(&engine, request, 201).await }
        })
        .collect()
}

fn duplicates(policy: &'static Policy, count: usize) -> impl Iterator<Item = Prepared> {
    (0..count).map(move |_| request(Some("k"), policy))
}

#[tokio::test(start_paused = true)]
async fn r2_a_settled_key_is_replayed_to_any_number_of_duplicates_by_one_read() {
    for policy in [&POLICY, &IMPATIENT] {
        let config = Config::new().with_waiters(1, 1);
        let script = Script::default().changed(record(State::Succeeded)).slowly();
        let engine = Engine::with_config(script, config);
        for answer in send(&engine, duplicates(policy, 1_000)).join_all().await {
            is_replay_of_theirs(&answer);
        }
        assert_eq!(asked(&engine).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn m3_duplicates_of_a_read_with_another_body_are_mismatches() {
    let engine = Engine::new(Script::default().changed(record(State::Succeeded)).slowly());
    let other = request_with(b"other", Some("k"), &POLICY);
    let requests = [other.clone(), request(Some("k"), &POLICY), other];
    let answers = send(&engine, requests).join_all().await;
    let replays = answers
        .iter()
        .filter(|answer| answer.status() == 202)
        .count();
    let mismatches = answers
        .iter()
        .filter(|answer| answer.status() == 422)
        .count();
    assert_eq!((replays, mismatches), (1, 2));
    assert_eq!(asked(&engine).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn o11_a_read_without_a_connection_is_unavailable_for_all_who_wait_for_it() {
    let engine = Engine::new(Script::default().claims(Err(unavailable())).slowly());
    for answer in send(&engine, duplicates(&IMPATIENT, 20)).join_all().await {
        is(&answer, Problem::Unavailable);
    }
    assert_eq!(asked(&engine).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn v1_a_waiter_knows_the_age_of_the_original() {
    // The record is a minute old when it is read.
    let engine = Engine::new(Script::default().changed(record(State::Succeeded)).slowly());
    let ages = Ages::default();
    let _default = tracing::subscriber::set_default(ages.clone());
    // A test on another thread can be registering the span at this moment, without this subscriber.
    ask(&Engine::new(Script::default().wins()), &POLICY, 201).await;
    tracing::callsite::rebuild_interest_cache();
    send(&engine, duplicates(&POLICY, 2)).join_all().await;
    let ages = ages.0.lock().unwrap();
    assert_eq!(
        *ages,
        [60.0, 60.5],
        "by the clock of the read, and half a second later"
    );
}

#[tokio::test(start_paused = true)]
async fn l1_duplicates_of_a_response_too_large_get_the_same_answer() {
    let engine = Engine::new(Script::default().wins().wins());
    let runs = Arc::new(AtomicUsize::new(0));
    let mut answers = JoinSet::new();
    for _ in 0..40 {
        let (engine, runs) = (engine.clone(), Arc::clone(&runs));
        answers.spawn(async move {
            run(&engine, request(Some("k"), &POLICY), async |_attempt| {
                runs.fetch_add(1, Ordering::Relaxed);
                sleep(MILLISECOND).await;
                HandlerOutcome::TooLarge
            })
            .await
        });
    }
    for answer in answers.join_all().await {
        is(&answer, Problem::ResponseTooLarge);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    // A later request runs again.
    is_own(&ask(&engine, &POLICY, 201).await, 201, "attempt 1");
}

#[tokio::test(start_paused = true)]
async fn p5_duplicates_of_a_record_that_is_always_refused_get_the_same_answer() {
    let refused = SettleError::Misconfigured("permission denied".into());
    let engine = Engine::new(Script::default().wins().settles_unwritten(refused));
    let runs = Arc::new(AtomicUsize::new(0));
    let mut answers = JoinSet::new();
    for _ in 0..10 {
        let (engine, runs) = (engine.clone(), Arc::clone(&runs));
        answers.spawn(async move {
            run(&engine, request(Some("k"), &POLICY), async |attempt| {
                runs.fetch_add(1, Ordering::Relaxed);
                sleep(MILLISECOND).await;
                answered(201, &attempt)
            })
            .await
        });
    }
    for answer in answers.join_all().await {
        is(&answer, Problem::Misconfigured);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn o11_room_counts_attempts_and_neither_replays_nor_after_commit() {
    let cache = ReplayCache::new(100_000, HOUR);
    let config = Config::new().with_max_in_flight(1).with_replay_cache(cache);
    let script = Script::default().wins().wins().wins();
    let engine = Engine::with_config(script, config);
    let mail = Arc::new(Notify::new());
    let sending = Arc::clone(&mail);
    let answer = run(&engine, request(Some("k"), &POLICY), |attempt| {
        attempt.after_commit(async move { sending.notified().await });
        ready(answered(201, &attempt))
    })
    .await;
    is_own(&answer, 201, "attempt 1");

    // The mail is still being sent.
    let second = request(Some("second"), &POLICY);
    is_own(&ask_for(&engine, second, 201).await, 201, "attempt 1");

    let busy = admit(&engine, request(Some("third"), &POLICY))
        .await
        .unwrap();
    let fourth = request(Some("fourth"), &POLICY);
    is(
        &ask_for(&engine, fourth.clone(), 201).await,
        Problem::Unavailable,
    );
    let replay = ask(&engine, &POLICY, 201).await;
    assert_eq!(replay.headers()[REPLAYED], "true");
    drop(busy);
    is_own(&ask_for(&engine, fourth, 201).await, 201, "attempt 1");
    mail.notify_one();
    engine.drain().await;
}

#[tokio::test(start_paused = true)]
async fn h1_after_commit_has_as_long_as_an_attempt() {
    let engine = Engine::new(Script::default().wins());
    run(&engine, request(Some("k"), &POLICY), |attempt| {
        attempt.after_commit(pending());
        ready(answered(201, &attempt))
    })
    .await;
    let start = Instant::now();
    engine.drain().await;
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn h1_after_commit_beyond_its_limit_waits_and_a_drain_in_time_counts_it() {
    let config = Config::new().with_max_after_commit(1);
    let engine = Engine::with_config(Script::default().wins().wins(), config);
    let mail = Arc::new(Notify::new());
    let sent = Arc::new(AtomicUsize::new(0));
    for key in ["k", "other"] {
        run(&engine, request(Some(key), &POLICY), |attempt| {
            let (mail, sent) = (Arc::clone(&mail), Arc::clone(&sent));
            attempt.after_commit(async move {
                sent.fetch_add(1, Ordering::Relaxed);
                mail.notified().await;
            });
            ready(answered(201, &attempt))
        })
        .await;
    }
    let busy = admit(&engine, request(Some("third"), &POLICY)).await;
    let left = engine.drain_for(Duration::from_millis(10)).await;
    let left = left.expect_err("an attempt and two futures are left");
    assert_eq!((left.attempts, left.after_commit), (1, 2));
    assert_eq!(sent.load(Ordering::Relaxed), 1, "the second one waits");
    drop(busy);
    mail.notify_one();
    tokio::task::yield_now().await;
    mail.notify_one();
    assert_eq!(engine.drain_for(SECOND).await, Ok(()));
    assert_eq!(sent.load(Ordering::Relaxed), 2);
    is(&ask(&engine, &POLICY, 201).await, Problem::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn o11_engines_of_any_stores_drain_together() {
    let engines = [(); 2].map(|()| Engine::new(Script::default()));
    let mut busy = Vec::new();
    for engine in &engines {
        busy.push(admit(engine, request(Some("k"), &POLICY)).await);
    }
    let [one, other] = &engines;
    let mut drained = pin!(drain_all(&[one, other]));
    assert!(drained.as_mut().now_or_never().is_none());
    busy.pop();
    assert!(drained.as_mut().now_or_never().is_none());
    busy.pop();
    assert!(drained.as_mut().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn c2_a_record_that_changes_again_and_again_ends_in_time() {
    let mut script = Script::default();
    for attempts in 1..1_000 {
        script = script.changed(Record {
            attempts,
            ..record(State::FailedRetriable)
        });
    }
    let engine = Engine::new(script);
    let start = Instant::now();
    is(&ask(&engine, &POLICY, 201).await, Problem::TryAgain);
    assert!(start.elapsed() <= POLICY.wait);
    assert!(asked(&engine).len() < 50);
}

#[tokio::test(start_paused = true)]
async fn r2_a_record_that_is_settled_after_many_changes_is_replayed() {
    for (policy, changes) in [(&POLICY, 4), (&IMPATIENT, 3)] {
        let script = (1..=changes).fold(Script::default(), |script, attempts| {
            script.changed(Record {
                attempts,
                ..record(State::FailedRetriable)
            })
        });
        let engine = Engine::new(script.changed(record(State::Succeeded)));
        is_replay_of_theirs(&ask(&engine, policy, 201).await);
    }
}

#[tokio::test]
async fn o13_a_handler_that_is_ready_after_its_deadline_is_undone() {
    static BRIEF: Policy = Policy::new(HOUR).with_deadline(Duration::from_millis(20));
    let engine = Engine::new(Script::default().wins());
    let answer = run(&engine, request(Some("k"), &BRIEF), |attempt| {
        // As a process that is frozen, and goes on.
        std::thread::sleep(Duration::from_millis(40));
        ready(answered(201, &attempt))
    })
    .await;
    is(&answer, Problem::TryAgain);
    assert_eq!(settled(&engine), [UNDONE]);
}

#[tokio::test(start_paused = true)]
async fn o2_an_interim_status_is_the_handlers_error() {
    for status in [100, 101, 103] {
        let engine = Engine::new(Script::default().wins());
        let answer = ask(&engine, &POLICY, status).await;
        is_own(&answer, 500, "attempt 1");
        assert_eq!(settled(&engine), [UNDONE]);
    }
}

#[tokio::test(start_paused = true)]
async fn o9_a_panic_of_the_store_is_answered_and_the_slot_passed_on() {
    let engine = Engine::new(Script::default().claim_panics().wins());
    let mut answers = send(&engine, duplicates(&POLICY, 2));
    let first = answers.join_next().await.unwrap().unwrap();
    is(&first, Problem::OutcomeUnknown);
    let second = answers.join_next().await.unwrap().unwrap();
    is_own(&second, 201, "attempt 1");
}

/// The values of `idem.replay.age`, in the order in which spans got them.
#[derive(Debug, Clone, Default)]
struct Ages(Arc<Mutex<Vec<f64>>>);

impl tracing::field::Visit for Ages {
    fn record_f64(&mut self, field: &tracing::field::Field, value: f64) {
        if field.name() == "idem.replay.age" {
            self.0.lock().unwrap().push(value);
        }
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}

impl tracing::Subscriber for Ages {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
