//! The engine with a scripted store, on a clock that a test moves: steps and times that no database
//! can be made to take at will.

use std::future::{pending, ready};
use std::mem;
use std::time::Duration;

use http::header::ETAG;
use tokio::time::Instant;

use self::script::*;
use super::{Engine, admit};
use crate::ReplayCache;
use crate::adapter::HandlerOutcome;
use crate::config::Config;
use crate::policy::{Isolation, Settle};
use crate::problem::Problem;
use crate::record::{Record, State};
use crate::response::{EXPIRES, REPLAYED, Response};
use crate::store::{Claimed, SettleError};

mod duplicates;
mod early;
#[cfg(feature = "metrics")]
mod metered;
mod script;

#[tokio::test(start_paused = true)]
async fn c2_identity_elsewhere_is_claimed_again_until_the_wait_is_over() {
    for (policy, tries) in [(&IMPATIENT, 1), (&SHORT, 2), (&PATIENT, 106)] {
        let engine = Engine::new(Script::default());
        let start = Instant::now();
        is(&ask(&engine, policy, 201).await, Problem::InFlight);
        assert!(start.elapsed() <= policy.wait);
        let asked = asked(&engine);
        assert_eq!(asked.len(), tries);
        let pauses = asked.windows(2).map(|pair| pair[1].at - pair[0].at);
        // The clock has a resolution of a millisecond.
        assert!(pauses.clone().is_sorted_by(|a, b| *a <= *b + MILLISECOND));
        assert!(pauses.clone().all(|pause| pause <= 101 * MILLISECOND));
        assert!(pauses.take(1).all(|pause| pause == 5 * MILLISECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn c2_identity_that_is_released_is_claimed_at_the_next_try() {
    let script = Script::default()
        .claims(Ok(Claimed::InFlight))
        .claims(Err(conflict()))
        .wins();
    let engine = Engine::new(script);
    is_own(&ask(&engine, &POLICY, 201).await, 201, "attempt 1");
    assert_eq!(likely(&engine), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn r2_likely_retries_are_marked_for_the_store() {
    let engine = Engine::new(Script::default().wins().wins().wins());
    ask(&engine, &POLICY, 201).await;
    ask(&engine, &POLICY, 201).await;
    let retry = request(Some("other"), &POLICY).with_likely_retry(true);
    ask_for(&engine, retry, 201).await;
    assert_eq!(likely(&engine), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn c2_conflict_or_silence_at_the_claim_ends_in_time() {
    let engine = Engine::new(Script::default().claims(Err(conflict())));
    is(&ask(&engine, &IMPATIENT, 201).await, Problem::TryAgain);

    let engine = Engine::new(Script::default().claim_hangs());
    let start = Instant::now();
    is(&ask(&engine, &PATIENT, 201).await, Problem::Unavailable);
    assert_eq!(start.elapsed(), POLICY.deadline);
    assert_eq!(asked(&engine).len(), 1);

    for (error, problem) in [
        (unavailable(), Problem::Unavailable),
        (misconfigured(), Problem::Misconfigured),
    ] {
        let engine = Engine::new(Script::default().claims(Err(error)));
        is(&ask(&engine, &PATIENT, 201).await, problem);
        assert_eq!(asked(&engine).len(), 1);
    }
}

/// A request moves its attempt's future several times.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn cost_of_a_move_of_an_attempt_is_small() {
    let store = crate::SqliteStore::in_memory().await.unwrap();
    let turn = admit(&Engine::new(store), request(Some("k"), &POLICY)).await;
    let attempt = turn
        .unwrap()
        .run(|_, attempt| ready(answered(201, &attempt)));
    assert!(size_of_val(&attempt) < 8_000, "{}", size_of_val(&attempt));
}

#[tokio::test(start_paused = true)]
async fn o6_retriable_record_is_replaced_by_the_next_attempt() {
    let failed = Record {
        attempts: 3,
        ..record(State::FailedRetriable)
    };
    let version = failed.version();
    let script = Script::default()
        .claims(Ok(Claimed::InFlight))
        .changed(failed)
        .wins();
    let engine = Engine::new(script);
    is_own(&ask(&engine, &POLICY, 201).await, 201, "attempt 4");
    let [_, first, second] = asked(&engine)[..] else {
        panic!("three tries");
    };
    assert_eq!((first.attempt, first.seen), (1, None));
    assert_eq!((second.attempt, second.seen), (4, Some(version)));
    assert!(
        !second.likely_taken,
        "the record that was just seen is free"
    );
    let expected = Settling {
        keeps: true,
        state: State::Succeeded,
        attempts: 4,
        replaces: Some(version),
        has_response: true,
    };
    assert_eq!(settled(&engine), [expected]);
}

#[tokio::test(start_paused = true)]
async fn o8_loser_of_a_race_gets_the_winners_answer() {
    fn overtaken() -> Script {
        Script::default().wins().settles(SettleError::Superseded)
    }

    let theirs = record(State::Succeeded);
    let engine = Engine::new(overtaken().finds(Ok(Some(found(theirs)))));
    is_replay_of_theirs(&ask(&engine, &POLICY, 201).await);

    let engine = Engine::new(overtaken());
    is(&ask(&engine, &POLICY, 201).await, Problem::TryAgain);

    let engine = Engine::new(overtaken());
    is_own(&ask(&engine, &POLICY, 503).await, 503, "attempt 1");

    let failed = record(State::FailedRetriable);
    let engine = Engine::new(overtaken().finds(Ok(Some(found(failed)))));
    is(&ask(&engine, &POLICY, 201).await, Problem::TryAgain);

    // A winner that can't be read hides nothing of the loser's own answer.
    for lost in [
        || overtaken().finds(Err(unavailable())),
        || overtaken().find_hangs(),
    ] {
        let start = Instant::now();
        is(
            &ask(&Engine::new(lost()), &POLICY, 201).await,
            Problem::TryAgain,
        );
        is_own(
            &ask(&Engine::new(lost()), &POLICY, 503).await,
            503,
            "attempt 1",
        );
        assert!(start.elapsed() <= 10 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn o8_refused_commit_may_be_tried_again() {
    let engine = Engine::new(Script::default().wins().settles(refused()));
    is(&ask(&engine, &POLICY, 201).await, Problem::TryAgain);
    assert_eq!(asked(&engine).len(), 1, "there is nothing to find out");
}

#[tokio::test(start_paused = true)]
async fn o5_failure_that_can_not_be_recorded_is_still_answered() {
    for error in [refused(), unknown()] {
        let engine = Engine::new(Script::default().wins().settles(error));
        let answer = ask(&engine, &POLICY, 503).await;
        is_own(&answer, 503, "attempt 1");
        assert_eq!(expiry(&answer), None);
        assert_eq!(
            asked(&engine).len(),
            1,
            "nothing of it stands, whatever happened"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn o9_lost_commit_that_happened_is_the_attempts_own() {
    // Whatever is in the way at first.
    for delay in [Ok(Claimed::InFlight), Err(unavailable()), Err(conflict())] {
        let script = Script::default()
            .wins()
            .settles(unknown())
            .claims(delay)
            .changed(ours());
        let engine = Engine::new(script);
        let answer = ask(&engine, &POLICY, 201).await;
        is_own(&answer, 201, "attempt 1");
        assert_eq!(expiry(&answer), Some("@4600"));
        let [_, resolving, _] = asked(&engine)[..] else {
            panic!("a claim and two more");
        };
        assert!(resolving.likely_taken);
        assert_eq!(resolving.opening.isolation, Some(Isolation::ReadCommitted));
        assert_eq!(resolving.opening.deadline, 5 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn o16_commit_that_keeps_a_failures_writes_is_as_sure_as_any() {
    let keeps = async |engine: &Engine<Script>| {
        // Also if an argument could not be extracted: what is kept is counted.
        let request = request(Some("k"), &POLICY).with_rejected(true);
        run(engine, request, |attempt| {
            let mut outcome = answered(401, &attempt);
            if let HandlerOutcome::Answered { settle, .. } = &mut outcome {
                *settle = Ok(Settle::KeepAndRetry);
            }
            ready(outcome)
        })
        .await
    };
    let engine = Engine::new(Script::default().wins());
    is_own(&keeps(&engine).await, 401, "attempt 1");
    let kept = Settling {
        keeps: true,
        ..UNDONE
    };
    assert_eq!(settled(&engine), [kept]);

    let engine = Engine::new(Script::default().wins().settles(refused()));
    is(&keeps(&engine).await, Problem::TryAgain);

    // Its own record is found.
    let failed = Record {
        state: State::FailedRetriable,
        ..ours()
    };
    let lost = || Script::default().wins().settles(unknown());
    let engine = Engine::new(lost().changed(failed));
    is_own(&keeps(&engine).await, 401, "attempt 1");

    // A record of a later attempt does not say whether this one was kept.
    let engine = Engine::new(lost().changed(record(State::FailedRetriable)));
    is(&keeps(&engine).await, Problem::OutcomeUnknown);
    let engine = Engine::new(lost().wins());
    is(&keeps(&engine).await, Problem::TryAgain);
}

#[tokio::test(start_paused = true)]
async fn o9_lost_commit_is_a_replay_where_its_times_are_not_known() {
    let script = Script::default()
        .wins()
        .settles_unwritten(unknown())
        .changed(record(State::Succeeded));
    is_replay_of_theirs(&ask(&Engine::new(script), &POLICY, 201).await);
}

#[tokio::test(start_paused = true)]
async fn o9_lost_commit_that_was_overtaken_is_answered_by_the_record() {
    let lost = |found| {
        let script = Script::default().wins().settles(unknown());
        Engine::new(script.changed(found))
    };
    let engine = lost(record(State::Succeeded));
    is_replay_of_theirs(&ask(&engine, &POLICY, 201).await);

    let engine = lost(record(State::FailedRetriable));
    is(&ask(&engine, &POLICY, 201).await, Problem::TryAgain);

    let other = Record {
        fingerprint: fingerprint(b"other"),
        ..record(State::Succeeded)
    };
    is(&ask(&lost(other), &POLICY, 201).await, Problem::KeyReused);
}

#[tokio::test(start_paused = true)]
async fn o9_lost_commit_that_did_not_happen_is_recorded_as_a_failure() {
    let lost = || Script::default().wins().settles(unknown()).wins();
    let engine = Engine::new(lost());
    let answer = ask(&engine, &POLICY, 201).await;
    is(&answer, Problem::TryAgain);
    assert_eq!(expiry(&answer), None);
    assert_eq!(settled(&engine)[1], UNDONE);

    for error in [refused(), unknown(), SettleError::Superseded] {
        let engine = Engine::new(lost().settles(error));
        is(&ask(&engine, &POLICY, 201).await, Problem::OutcomeUnknown);
    }
}

#[tokio::test(start_paused = true)]
async fn o9_outcome_is_unknown_without_an_answer_in_time() {
    let lost = || Script::default().wins().settles(unknown());

    let engine = Engine::new(lost());
    let start = Instant::now();
    is(&ask(&engine, &POLICY, 201).await, Problem::OutcomeUnknown);
    assert!(start.elapsed() <= 5 * SECOND);
    assert!(start.elapsed() > 4_898 * MILLISECOND);

    let engine = Engine::new(lost().claim_hangs());
    let start = Instant::now();
    is(&ask(&engine, &POLICY, 201).await, Problem::OutcomeUnknown);
    assert_eq!(start.elapsed(), 5 * SECOND);

    for answer in [Ok(Claimed::Changed(None)), Err(misconfigured())] {
        let engine = Engine::new(lost().claims(answer));
        let start = Instant::now();
        is(&ask(&engine, &POLICY, 201).await, Problem::OutcomeUnknown);
        assert_eq!(start.elapsed(), Duration::ZERO, "asking again won't help");
    }
}

#[tokio::test(start_paused = true)]
async fn o14_swallowed_error_is_recorded_if_that_is_soon_possible() {
    let broken = || Script::default().wins().settles(aborted());

    let engine = Engine::new(broken().wins());
    let answer = ask(&engine, &POLICY, 201).await;
    is(&answer, Problem::TransactionAborted);
    assert_eq!(expiry(&answer), None);
    assert_eq!(settled(&engine)[1], UNDONE);

    let engine = Engine::new(broken());
    let start = Instant::now();
    is(
        &ask(&engine, &POLICY, 201).await,
        Problem::TransactionAborted,
    );
    assert!(start.elapsed() <= 250 * MILLISECOND);
    assert!(
        start.elapsed() > 100 * MILLISECOND,
        "it is tried for a while"
    );
}

#[tokio::test(start_paused = true)]
async fn o14_own_end_is_recorded_and_replayed() {
    let config = Config::new().with_replay_cache(ReplayCache::new(100_000, HOUR));
    let script = Script::default().wins().settles(SettleError::Ended);
    let engine = Engine::with_config(script.wins(), config);
    let answer = ask(&engine, &POLICY, 201).await;
    is(&answer, Problem::TransactionEnded);
    assert_eq!(expiry(&answer), Some("@4600"));
    let failure = Settling {
        state: State::FailedFinal,
        has_response: true,
        ..UNDONE
    };
    assert_eq!(settled(&engine)[1], failure);

    let replay = ask(&engine, &POLICY, 201).await;
    assert_eq!(replay.body(), answer.body());
    assert_eq!(replay.headers()[REPLAYED], "true");
    assert_eq!(asked(&engine).len(), 2, "it was replayed from the cache");
}

#[tokio::test(start_paused = true)]
async fn o14_own_end_that_the_claim_has_recorded_is_found() {
    for (state, expected) in [(State::Ended, Some("@4540")), (State::Succeeded, None)] {
        let script = Script::default().wins().settles(SettleError::Ended);
        let engine = Engine::new(script.changed(record(state)));
        let answer = ask(&engine, &POLICY, 201).await;
        is(&answer, Problem::TransactionEnded);
        assert_eq!(expiry(&answer), expected);
        assert_eq!(settled(&engine).len(), 1, "there is nothing to write");
    }
}

#[tokio::test(start_paused = true)]
async fn o14_own_end_is_tried_to_be_recorded_for_long() {
    let script = Script::default().wins().settles(SettleError::Ended);
    let engine = Engine::new(script);
    let start = Instant::now();
    is(&ask(&engine, &POLICY, 201).await, Problem::TransactionEnded);
    assert!(start.elapsed() > 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn o14_record_of_an_own_end_is_never_run_again() {
    let engine = Engine::new(Script::default().changed(record(State::Ended)));
    let answer = ask(&engine, &POLICY, 201).await;
    is(&answer, Problem::TransactionEnded);
    assert_eq!(expiry(&answer), Some("@4540"));
}

#[tokio::test(start_paused = true)]
async fn o13_undoing_does_not_wait_for_long() {
    let engine = Engine::new(Script::default().wins().settlement_hangs());
    let start = Instant::now();
    let turn = admit(&engine, request(Some("k"), &POLICY)).await.unwrap();
    let answer = turn.run(|_guard, _attempt| pending()).await;
    is(&answer, Problem::TryAgain);
    assert_eq!(start.elapsed(), POLICY.deadline + 250 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn o14_transaction_that_does_not_come_back_is_not_a_success() {
    let engine = Engine::new(Script::default().wins());
    let turn = admit(&engine, request(Some("k"), &POLICY)).await.unwrap();
    let work = |guard, _attempt| {
        mem::forget(guard);
        ready(HandlerOutcome::Answered {
            response: Response::default(),
            settle: Ok(Settle::Commit),
            closed: Ok(()),
        })
    };
    is(&turn.run(work).await, Problem::TryAgain);
    assert_eq!(settled(&engine), []);
}

#[tokio::test(start_paused = true)]
async fn k6_request_without_a_key_records_nothing() {
    for (error, problem) in [
        (unknown(), Problem::OutcomeUnknown),
        (aborted(), Problem::TransactionAborted),
        (SettleError::Ended, Problem::TransactionEnded),
    ] {
        let engine = Engine::new(Script::default().settles(error));
        let answer = ask_for(&engine, request(None, &POLICY), 201).await;
        is(&answer, problem);
        assert_eq!(expiry(&answer), None);
        assert!(asked(&engine).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn r1_handler_can_not_say_that_it_is_a_replay() {
    let engine = Engine::new(Script::default().wins());
    let turn = admit(&engine, request(Some("k"), &POLICY)).await.unwrap();
    let work = |_guard, _attempt| {
        let mut response = Response::default();
        response
            .headers_mut()
            .insert(REPLAYED, "true".parse().unwrap());
        response
            .headers_mut()
            .insert(EXPIRES, "@1".parse().unwrap());
        response.headers_mut().insert(ETAG, "1".parse().unwrap());
        ready(HandlerOutcome::Answered {
            response,
            settle: Ok(Settle::Commit),
            closed: Ok(()),
        })
    };
    let answer = turn.run(work).await;
    assert!(!answer.headers().contains_key(REPLAYED));
    assert_eq!(expiry(&answer), Some("@4600"));
    assert_eq!(answer.headers()[ETAG], "1");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the period of a purge is zero")]
async fn e3_a_purge_without_a_period_is_refused_at_once() {
    drop(Engine::new(Script::default()).spawn_purge(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn e3_a_purge_drains_a_backlog_and_then_idles() {
    let engine = Engine::new(Script::default().expires(5000, MILLISECOND / 20));
    let task = engine.spawn_purge(HOUR);
    tokio::time::sleep(HOUR / 2).await;
    let drain = purged(&engine);
    let records: u64 = drain.iter().map(|(_, batch)| batch.records).sum();
    assert_eq!(records, 5000);
    assert!(
        drain
            .iter()
            .all(|(_, batch)| batch.held <= 15 * MILLISECOND)
    );
    // The writer is free for as long as it was held.
    let pauses = drain
        .windows(2)
        .map(|pair| (pair[0].1.held, pair[1].0 - pair[0].0));
    assert!(pauses.clone().all(|(held, pause)| pause >= held));

    tokio::time::sleep(HOUR).await;
    let idle = purged(&engine).split_off(drain.len());
    assert_eq!(idle.len(), 1);
    assert_eq!(idle[0].1.records, 0);
    drop(task);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(purged(&engine).len(), drain.len() + 1);
}
