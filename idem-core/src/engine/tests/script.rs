//! A store that answers as a test says.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::adapter::{HandlerOutcome, RequestParts};
use crate::attempt::Attempt;
use crate::config::Config;
use crate::engine::{Engine, Prepared, admit};
use crate::fingerprint::{Content, Fingerprint};
use crate::identity::{Identity, ScopeDigest};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::policy::{Isolation, Policy, Returned};
use crate::problem::Problem;
use crate::record::{Found, Record, State, Timestamp, Version};
use crate::response::{EXPIRES, REPLAYED, Recorded, Response};
use crate::store::{
    Claim, ClaimRequest, Claimed, Forgotten, Opening, Purged, SettleError, Settlement, Stats,
    Store, StoreError, Times,
};

pub(super) const NOW: Timestamp = Timestamp(1_000_000_000);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);

pub(super) static POLICY: Policy = Policy::new(HOUR)
    .with_deadline(SECOND)
    .with_isolation(Isolation::Serializable);
pub(super) static IMPATIENT: Policy = POLICY.with_wait(Duration::ZERO);
pub(super) static SHORT: Policy = POLICY.with_wait(Duration::from_millis(5));
pub(super) static PATIENT: Policy = POLICY.with_wait(Duration::from_secs(10));

/// A transaction without content.
#[derive(Debug)]
pub(super) struct Open(());

impl Claim for Open {
    type Connection = ();

    fn connection(&mut self) -> &mut () {
        &mut self.0
    }
}

/// One answer of the store.
#[derive(Debug)]
pub(super) enum Says<T> {
    This(T),
    /// Nothing, ever.
    Nothing,
    /// It panics.
    Panic,
}

type FindAnswer = Result<Option<Found>, StoreError>;
pub(super) type ClaimAnswer = Result<Claimed<Open>, StoreError>;

/// A store that answers in the order of the script. After its end an identity is in flight, a
/// settlement succeeds, and there is no record.
#[derive(Debug, Default)]
pub(super) struct Script {
    claims: Mutex<VecDeque<Says<ClaimAnswer>>>,
    /// An error, and whether the record was written before.
    settlements: Mutex<VecDeque<Says<(SettleError, bool)>>>,
    finds: Mutex<VecDeque<Says<FindAnswer>>>,
    /// How long a claim takes.
    claim_time: Duration,
    claimed: Mutex<Vec<Claiming>>,
    settled: Mutex<Vec<Settling>>,
    expired: Mutex<u64>,
    /// How long a purge holds the writer for each record that it may delete.
    purge_time: Duration,
    purged: Mutex<Vec<(Instant, Purged)>>,
}

/// What a claim asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claiming {
    pub(super) at: Instant,
    pub(super) attempt: i32,
    pub(super) seen: Option<Version>,
    pub(super) likely_taken: bool,
    pub(super) opening: Opening,
}

/// What a settlement asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settling {
    pub(super) keeps: bool,
    pub(super) state: State,
    pub(super) attempts: i32,
    pub(super) replaces: Option<Version>,
    pub(super) has_response: bool,
}

/// The record of a first attempt that left nothing.
pub(super) const UNDONE: Settling = Settling {
    keeps: false,
    state: State::FailedRetriable,
    attempts: 1,
    replaces: None,
    has_response: false,
};

impl Script {
    pub(super) fn claims(self, answer: ClaimAnswer) -> Self {
        self.claims.lock().unwrap().push_back(Says::This(answer));
        self
    }

    pub(super) fn wins(self) -> Self {
        self.claims(Ok(Claimed::Won(Open(()))))
    }

    pub(super) fn changed(self, record: Record) -> Self {
        self.claims(Ok(Claimed::Changed(Some(found(record)))))
    }

    /// Each claim takes half a second, so that duplicates come in the meantime.
    pub(super) fn slowly(self) -> Self {
        Self {
            claim_time: SECOND / 2,
            ..self
        }
    }

    pub(super) fn claim_hangs(self) -> Self {
        self.claims.lock().unwrap().push_back(Says::Nothing);
        self
    }

    pub(super) fn claim_panics(self) -> Self {
        self.claims.lock().unwrap().push_back(Says::Panic);
        self
    }

    /// There are expired records, each of which costs a purge some time.
    pub(super) fn expires(self, records: u64, purge_time: Duration) -> Self {
        *self.expired.lock().unwrap() += records;
        Self { purge_time, ..self }
    }

    pub(super) fn settles(self, error: SettleError) -> Self {
        let answer = Says::This((error, true));
        self.settlements.lock().unwrap().push_back(answer);
        self
    }

    pub(super) fn settles_unwritten(self, error: SettleError) -> Self {
        let answer = Says::This((error, false));
        self.settlements.lock().unwrap().push_back(answer);
        self
    }

    pub(super) fn settlement_hangs(self) -> Self {
        self.settlements.lock().unwrap().push_back(Says::Nothing);
        self
    }

    pub(super) fn finds(self, answer: Result<Option<Found>, StoreError>) -> Self {
        self.finds.lock().unwrap().push_back(Says::This(answer));
        self
    }

    pub(super) fn find_hangs(self) -> Self {
        self.finds.lock().unwrap().push_back(Says::Nothing);
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
        if !self.claim_time.is_zero() {
            sleep(self.claim_time).await;
        }
        let says = self.claims.lock().unwrap().pop_front();
        match says {
            Some(Says::This(answer)) => answer,
            Some(Says::Nothing) => pending().await,
            Some(Says::Panic) => panic!("the store panics"),
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
            Some(Says::Panic) => panic!("the store panics"),
            None => Ok(()),
        }
    }

    async fn find(&self, _: &Identity) -> Result<Option<Found>, StoreError> {
        let says = self.finds.lock().unwrap().pop_front();
        match says {
            Some(Says::This(answer)) => answer,
            Some(Says::Nothing) => pending().await,
            Some(Says::Panic) => panic!("the store panics"),
            None => Ok(None),
        }
    }

    async fn purge_expired(&self, limit: u32) -> Result<Purged, StoreError> {
        let mut expired = self.expired.lock().unwrap();
        let records = (*expired).min(limit.into());
        *expired -= records;
        let batch = Purged {
            records,
            held: self.purge_time * limit,
        };
        self.purged.lock().unwrap().push((Instant::now(), batch));
        Ok(batch)
    }

    async fn erase(&self, _: &ScopeDigest) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn forget(&self, _: &Identity) -> Result<Forgotten, StoreError> {
        Ok(Forgotten::Missing)
    }

    async fn tally(&self, _: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        let tallies = Vec::new();
        Ok(Stats { tallies, now: NOW })
    }
}

pub(super) fn found(record: Record) -> Found {
    Found { record, now: NOW }
}

pub(super) fn unavailable() -> StoreError {
    StoreError::Unavailable("test".into())
}

pub(super) fn conflict() -> StoreError {
    StoreError::Conflict("test".into())
}

pub(super) fn misconfigured() -> StoreError {
    StoreError::Misconfigured("test".into())
}

pub(super) fn unknown() -> SettleError {
    SettleError::Unknown("test".into())
}

pub(super) fn refused() -> SettleError {
    SettleError::Refused("test".into())
}

pub(super) fn aborted() -> SettleError {
    SettleError::Aborted("test".into())
}

pub(super) fn fingerprint(body: &[u8]) -> Fingerprint {
    let asked = RequestParts {
        method: "POST",
        path: "/",
        query: None,
        raw: Some(body),
    };
    Fingerprint::new(asked, &Content::Raw, None)
}

/// A request with this key, or without one.
pub(super) fn request(key: Option<&str>, policy: &'static Policy) -> Prepared {
    request_with(b"body", key, policy)
}

pub(super) fn request_with(body: &[u8], key: Option<&str>, policy: &'static Policy) -> Prepared {
    let key = key.map(|key| IdempotencyKey::parse(key.as_bytes()).unwrap());
    let operation = Operation::named("test");
    Prepared::new(
        policy,
        Some("acme".to_owned()),
        operation,
        key,
        fingerprint(body),
    )
}

/// The record of an attempt that was settled a minute ago.
pub(super) fn record(state: State) -> Record {
    let settled_at = Timestamp(NOW.0 - 60_000_000);
    Record {
        state,
        attempts: 1,
        status: StatusCode::ACCEPTED,
        fingerprint: fingerprint(b"body"),
        response: Recorded {
            headers: Vec::new(),
            body: Bytes::from_static(b"theirs"),
        }
        .into(),
        settled_at,
        expires_at: settled_at.plus(HOUR),
    }
}

/// The record that a first attempt's settlement writes.
pub(super) fn ours() -> Record {
    Record {
        settled_at: NOW,
        expires_at: NOW.plus(HOUR),
        ..record(State::Succeeded)
    }
}

/// Asks with the key `k`; the handler answers with this status.
pub(super) async fn ask(engine: &Engine<Script>, policy: &'static Policy, status: u16) -> Response {
    ask_for(engine, request(Some("k"), policy), status).await
}

pub(super) async fn ask_for(engine: &Engine<Script>, request: Prepared, status: u16) -> Response {
    run(engine, request, |attempt| ready(answered(status, &attempt))).await
}

/// Asks with a handler of the test's own.
pub(super) async fn run<F>(
    engine: &Engine<Script>,
    request: Prepared,
    handler: impl FnOnce(Attempt) -> F,
) -> Response
where
    F: Future<Output = HandlerOutcome<Response>>,
{
    match admit(engine, request).await {
        Ok(turn) => {
            turn.run(async |_guard, attempt| handler(attempt).await)
                .await
        }
        Err(answer) => answer,
    }
}

/// A handler's answer that names its attempt.
pub(super) fn answered(status: u16, attempt: &Attempt) -> HandlerOutcome<Response> {
    let mut response = Response::new(Bytes::from(format!("attempt {}", attempt.number())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    HandlerOutcome::Answered {
        settle: POLICY.classify(response.status(), None, Returned::Value),
        response,
        closed: Ok(()),
    }
}

pub(super) fn asked(engine: &Engine<Script>) -> Vec<Claiming> {
    engine.shared.store.claimed.lock().unwrap().clone()
}

/// Whether each claim said that the identity is likely taken.
pub(super) fn likely(engine: &Engine<Script>) -> Vec<bool> {
    let asked = asked(engine);
    asked.iter().map(|asked| asked.likely_taken).collect()
}

/// Each batch of a purge, and the time of its end.
pub(super) fn purged(engine: &Engine<Script>) -> Vec<(Instant, Purged)> {
    engine.shared.store.purged.lock().unwrap().clone()
}

pub(super) fn settled(engine: &Engine<Script>) -> Vec<Settling> {
    engine.shared.store.settled.lock().unwrap().clone()
}

#[track_caller]
pub(super) fn is(response: &Response, problem: Problem) {
    let expected = problem.to_response(&Config::new());
    assert_eq!(response.body(), expected.body());
    assert_eq!(response.status(), expected.status());
    assert!(!response.headers().contains_key(REPLAYED));
}

#[track_caller]
pub(super) fn is_own(response: &Response, status: u16, body: &'static str) {
    assert_eq!(response.body(), body);
    assert_eq!(response.status(), status);
    assert!(!response.headers().contains_key(REPLAYED));
}

#[track_caller]
pub(super) fn is_replay_of_theirs(response: &Response) {
    assert_eq!(response.body(), "theirs");
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()[REPLAYED], "true");
}

/// The expiry that the response announces.
pub(super) fn expiry(response: &Response) -> Option<&str> {
    let value = response.headers().get(EXPIRES)?;
    value.to_str().ok()
}
