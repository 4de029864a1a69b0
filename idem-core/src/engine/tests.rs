//! The engine against a store that answers as a test says, on a clock that a test moves: the steps
//! and the times that no database can be made to take at will.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::mem;
use std::sync::Mutex;

use bytes::Bytes;
use http::StatusCode;
use http::header::ETAG;

use super::*;
use crate::fingerprint::{Content, Fingerprint, RequestParts};
use crate::identity::ScopeDigest;
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::policy::Isolation;
use crate::problem::DEFAULT_BASE;
use crate::response::{EXPIRES, REPLAYED};
use crate::store::{Claim, Times};
use crate::{Ran, ReplayCache};

const NOW: Timestamp = Timestamp(1_000_000_000);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

static POLICY: Policy = Policy::new(HOUR)
    .with_deadline(SECOND)
    .with_isolation(Isolation::Serializable);
static IMPATIENT: Policy = POLICY.with_wait(Duration::ZERO);
static SHORT: Policy = POLICY.with_wait(Duration::from_millis(5));
static PATIENT: Policy = POLICY.with_wait(Duration::from_secs(10));

/// A transaction of which nothing is left but that there was one.
#[derive(Debug)]
struct Open(());

impl Claim for Open {
    type Connection = ();

    fn connection(&mut self) -> &mut () {
        &mut self.0
    }
}

/// One answer of the store.
#[derive(Debug)]
enum Says<T> {
    This(T),
    /// Nothing, for ever.
    Nothing,
}

type ClaimAnswer = Result<Claimed<Open>, StoreError>;

/// A store that answers in the order of the script. Behind its end an identity is in flight, a
/// settlement succeeds, and there is no record.
#[derive(Debug, Default)]
struct Script {
    claims: Mutex<VecDeque<Says<ClaimAnswer>>>,
    /// An error, and whether the record was written before.
    settlements: Mutex<VecDeque<Says<(SettleError, bool)>>>,
    finds: Mutex<VecDeque<Result<Option<Found>, StoreError>>>,
    claimed: Mutex<Vec<Claiming>>,
    settled: Mutex<Vec<Settling>>,
}

/// What a claim asked for.
#[derive(Debug, Clone, Copy)]
struct Claiming {
    at: Instant,
    attempt: i32,
    seen: Option<Version>,
    likely_taken: bool,
    opening: Opening,
}

/// What a settlement asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settling {
    keeps: bool,
    state: State,
    attempts: i32,
    replaces: Option<Version>,
    has_response: bool,
}

/// How a first attempt that left nothing behind is written down.
const UNDONE: Settling = Settling {
    keeps: false,
    state: State::FailedRetriable,
    attempts: 1,
    replaces: None,
    has_response: false,
};

impl Script {
    fn claims(self, answer: ClaimAnswer) -> Self {
        self.claims.lock().unwrap().push_back(Says::This(answer));
        self
    }

    fn wins(self) -> Self {
        self.claims(Ok(Claimed::Won(Open(()))))
    }

    fn changed(self, record: Record) -> Self {
        self.claims(Ok(Claimed::Changed(Some(found(record)))))
    }

    fn claim_hangs(self) -> Self {
        self.claims.lock().unwrap().push_back(Says::Nothing);
        self
    }

    fn settles(self, error: SettleError) -> Self {
        let answer = Says::This((error, true));
        self.settlements.lock().unwrap().push_back(answer);
        self
    }

    fn settles_unwritten(self, error: SettleError) -> Self {
        let answer = Says::This((error, false));
        self.settlements.lock().unwrap().push_back(answer);
        self
    }

    fn settlement_hangs(self) -> Self {
        self.settlements.lock().unwrap().push_back(Says::Nothing);
        self
    }

    fn finds(self, answer: Result<Option<Found>, StoreError>) -> Self {
        self.finds.lock().unwrap().push_back(answer);
        self
    }
}

impl Store for Script {
    type Connection = ();
    type Claim = Open;

    async fn begin(&self, _: Opening) -> Result<Open, StoreError> {
        Ok(Open(()))
    }

    async fn claim(&self, request: ClaimRequest<'_>) -> ClaimAnswer {
        self.claimed.lock().unwrap().push(Claiming {
            at: Instant::now(),
            attempt: request.attempt,
            seen: request.seen,
            likely_taken: request.likely_taken,
            opening: request.opening,
        });
        let says = self.claims.lock().unwrap().pop_front();
        match says {
            Some(Says::This(answer)) => answer,
            Some(Says::Nothing) => pending().await,
            None => Ok(Claimed::InFlight),
        }
    }

    async fn settle(&self, _: Open, settlement: Settlement<'_>) -> Result<(), SettleError> {
        if let Some(draft) = settlement.record {
            self.settled.lock().unwrap().push(Settling {
                keeps: settlement.keep_writes,
                state: draft.state,
                attempts: draft.attempts,
                replaces: draft.replaces,
                has_response: draft.response.is_some(),
            });
        }
        let says = self.settlements.lock().unwrap().pop_front();
        if !matches!(says, Some(Says::This((_, false)))) {
            let times = Times {
                settled_at: NOW,
                expires_at: NOW.plus(HOUR),
            };
            settlement.written.set(times).unwrap();
        }
        match says {
            Some(Says::This((error, _))) => Err(error),
            Some(Says::Nothing) => pending().await,
            None => Ok(()),
        }
    }

    async fn find(&self, _: &Identity) -> Result<Option<Found>, StoreError> {
        let answer = self.finds.lock().unwrap().pop_front();
        answer.unwrap_or(Ok(None))
    }

    async fn purge_expired(&self, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn erase(&self, _: &ScopeDigest) -> Result<u64, StoreError> {
        Ok(0)
    }
}

fn found(record: Record) -> Found {
    Found { record, now: NOW }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("test".into())
}

fn conflict() -> StoreError {
    StoreError::Conflict("test".into())
}

fn misconfigured() -> StoreError {
    StoreError::Misconfigured("test".into())
}

fn unknown() -> SettleError {
    SettleError::Unknown("test".into())
}

fn refused() -> SettleError {
    SettleError::Refused("test".into())
}

fn aborted() -> SettleError {
    SettleError::Aborted("test".into())
}

fn fingerprint(body: &[u8]) -> Fingerprint {
    let asked = RequestParts {
        method: "POST",
        path: "/",
        query: None,
        raw: body,
    };
    Fingerprint::new(asked, &Content::Raw, None)
}

fn call(key: &str) -> Call {
    Call {
        scope: Some("acme".to_owned()),
        operation: Operation::named("test"),
        key: IdempotencyKey::parse(key.as_bytes()).ok(),
        fingerprint: fingerprint(b"body"),
        likely_retry: false,
    }
}

/// The record of an attempt that was settled a minute ago.
fn record(state: State) -> Record {
    let settled_at = Timestamp(NOW.0 - 60_000_000);
    Record {
        state,
        attempts: 1,
        status: StatusCode::ACCEPTED,
        fingerprint: fingerprint(b"body"),
        response: Recorded {
            headers: Vec::new(),
            body: Bytes::from_static(b"theirs"),
        },
        settled_at,
        expires_at: settled_at.plus(HOUR),
    }
}

/// The record that a first attempt's settlement writes.
fn ours() -> Record {
    Record {
        settled_at: NOW,
        expires_at: NOW.plus(HOUR),
        ..record(State::Succeeded)
    }
}

/// Asks with the key `k`; the handler answers with this status.
async fn ask(engine: &Engine<Script>, policy: &'static Policy, status: u16) -> Response {
    ask_for(engine, call("k"), policy, status).await
}

async fn ask_for(
    engine: &Engine<Script>,
    call: Call,
    policy: &'static Policy,
    status: u16,
) -> Response {
    let turn = match engine.admit(call, policy).await {
        Ok(turn) => turn,
        Err(answer) => return answer,
    };
    turn.run(|_lent, attempt| {
        let mut response = Response::new(Bytes::from(format!("attempt {}", attempt.number())));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        ready(Ran::Answered {
            closed: Ok(()),
            response,
        })
    })
    .await
}

fn asked(engine: &Engine<Script>) -> Vec<Claiming> {
    engine.shared.store.claimed.lock().unwrap().clone()
}

/// Whether each claim was told that the identity is likely taken.
fn likely(engine: &Engine<Script>) -> Vec<bool> {
    let asked = asked(engine);
    asked.iter().map(|asked| asked.likely_taken).collect()
}

fn settled(engine: &Engine<Script>) -> Vec<Settling> {
    engine.shared.store.settled.lock().unwrap().clone()
}

#[track_caller]
fn is(response: &Response, problem: Problem) {
    let expected = problem.to_response(DEFAULT_BASE);
    assert_eq!(response.body(), expected.body());
    assert_eq!(response.status(), expected.status());
    assert!(!response.headers().contains_key(REPLAYED));
}

#[track_caller]
fn is_own(response: &Response, status: u16, body: &'static str) {
    assert_eq!(response.body(), body);
    assert_eq!(response.status(), status);
    assert!(!response.headers().contains_key(REPLAYED));
}

#[track_caller]
fn is_replay_of_theirs(response: &Response) {
    assert_eq!(response.body(), "theirs");
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()[REPLAYED], "true");
}

/// Until when the response says that it is remembered.
fn expiry(response: &Response) -> Option<&str> {
    let value = response.headers().get(EXPIRES)?;
    value.to_str().ok()
}

#[tokio::test(start_paused = true)]
async fn c2_identity_elsewhere_is_looked_at_until_the_wait_is_over() {
    for (policy, looks) in [(&IMPATIENT, 1), (&SHORT, 2), (&PATIENT, 106)] {
        let engine = Engine::new(Script::default());
        let start = Instant::now();
        is(&ask(&engine, policy, 201).await, Problem::InFlight);
        assert!(start.elapsed() <= policy.wait);
        let asked = asked(&engine);
        assert_eq!(asked.len(), looks);
        let pauses = asked.windows(2).map(|pair| pair[1].at - pair[0].at);
        // The clock has a resolution of a millisecond.
        assert!(pauses.clone().is_sorted_by(|a, b| *a <= *b + MILLISECOND));
        assert!(pauses.clone().all(|pause| pause <= 101 * MILLISECOND));
        assert!(pauses.take(1).all(|pause| pause == 5 * MILLISECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn c2_identity_that_is_let_go_is_claimed_at_the_next_look() {
    let script = Script::default()
        .claims(Ok(Claimed::InFlight))
        .claims(Err(conflict()))
        .wins();
    let engine = Engine::new(script);
    is_own(&ask(&engine, &POLICY, 201).await, 201, "attempt 1");
    assert_eq!(likely(&engine), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn likely_retries_are_told_to_the_store() {
    let engine = Engine::new(Script::default().wins().wins().wins());
    ask(&engine, &POLICY, 201).await;
    ask(&engine, &POLICY, 201).await;
    let retry = Call {
        likely_retry: true,
        ..call("other")
    };
    ask_for(&engine, retry, &POLICY, 201).await;
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
        panic!("three looks");
    };
    assert_eq!((first.attempt, first.seen), (1, None));
    assert_eq!((second.attempt, second.seen), (4, Some(version)));
    assert!(!second.likely_taken, "what was just seen is free");
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
async fn o8_who_was_overtaken_gets_the_others_answer() {
    let overtaken = || Script::default().wins().settles(SettleError::Superseded);

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

    let engine = Engine::new(overtaken().finds(Err(unavailable())));
    is(&ask(&engine, &POLICY, 201).await, Problem::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn o8_refused_commit_may_be_tried_again() {
    let engine = Engine::new(Script::default().wins().settles(refused()));
    is(&ask(&engine, &POLICY, 201).await, Problem::TryAgain);
    assert_eq!(asked(&engine).len(), 1, "there is nothing to find out");
}

#[tokio::test(start_paused = true)]
async fn o5_failure_that_can_not_be_recorded_is_still_told() {
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
            panic!("a claim and two looks");
        };
        assert!(resolving.likely_taken);
        assert_eq!(resolving.opening.isolation, Some(Isolation::ReadCommitted));
        assert_eq!(resolving.opening.deadline, 5 * SECOND);
    }
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
async fn o9_lost_commit_that_was_overtaken_is_told_as_what_stands() {
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
async fn o9_lost_commit_that_did_not_happen_is_written_down_as_a_failure() {
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
async fn o9_outcome_is_unknown_when_nobody_says_it_in_time() {
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
async fn o14_swallowed_error_is_written_down_if_it_can_be_soon() {
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
async fn o14_own_end_is_written_down_and_replayed() {
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
async fn o14_own_end_that_the_claim_has_written_down_is_found() {
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
async fn o14_own_end_is_tried_to_be_written_down_for_long() {
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
    let turn = engine.admit(call("k"), &POLICY).await.unwrap();
    let answer = turn.run(|_lent, _attempt| pending()).await;
    is(&answer, Problem::TryAgain);
    assert_eq!(start.elapsed(), POLICY.deadline + 250 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn o14_transaction_that_does_not_come_back_is_no_success() {
    let engine = Engine::new(Script::default().wins());
    let turn = engine.admit(call("k"), &POLICY).await.unwrap();
    let work = |lent, _attempt| {
        mem::forget(lent);
        ready(Ran::Answered {
            closed: Ok(()),
            response: Response::default(),
        })
    };
    is(&turn.run(work).await, Problem::TryAgain);
    assert_eq!(settled(&engine), []);
}

#[tokio::test(start_paused = true)]
async fn k6_request_without_a_key_writes_nothing_down() {
    for (error, problem) in [
        (unknown(), Problem::OutcomeUnknown),
        (aborted(), Problem::TransactionAborted),
        (SettleError::Ended, Problem::TransactionEnded),
    ] {
        let engine = Engine::new(Script::default().settles(error));
        let keyless = Call {
            key: None,
            ..call("k")
        };
        let answer = ask_for(&engine, keyless, &POLICY, 201).await;
        is(&answer, problem);
        assert_eq!(expiry(&answer), None);
        assert!(asked(&engine).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn r1_handler_can_not_say_that_it_is_a_replay() {
    let engine = Engine::new(Script::default().wins());
    let turn = engine.admit(call("k"), &POLICY).await.unwrap();
    let work = |_lent, _attempt| {
        let mut response = Response::default();
        response
            .headers_mut()
            .insert(REPLAYED, "true".parse().unwrap());
        response
            .headers_mut()
            .insert(EXPIRES, "@1".parse().unwrap());
        response.headers_mut().insert(ETAG, "1".parse().unwrap());
        ready(Ran::Answered {
            closed: Ok(()),
            response,
        })
    };
    let answer = turn.run(work).await;
    assert!(!answer.headers().contains_key(REPLAYED));
    assert_eq!(expiry(&answer), Some("@4600"));
    assert_eq!(answer.headers()[ETAG], "1");
}
