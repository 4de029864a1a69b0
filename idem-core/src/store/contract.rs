//! The contract of a [`Store`], as checks that any implementation can run against a real database.
//!
//! Implement [`Subject`] for the store and instantiate the checks as tests of their own:
//!
//! ```text
//! idem_core::store_contract!(MySubject::start().await);
//! ```
//!
//! Each check starts from a subject of its own, which may share a database with others.
//!
//! # Panics
//!
//! A check that fails panics, as tests do.
#![allow(
    clippy::missing_panics_doc,
    reason = "a check panics: that is how tests fail"
)]

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use super::{
    Claim, ClaimRequest, Claimed, Draft, Forgotten, Opening, SettleError, Settlement, Store, Times,
};
use crate::fingerprint::{Content, Fingerprint, RequestParts};
use crate::identity::{Identity, ScopeDigest};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::record::{Record, State, Version};
use crate::response::Recorded;

pub mod runs;

/// A store with a table that represents the application's own.
pub trait Subject: Send + Sync + 'static {
    /// The store.
    type Store: Store;

    /// The store under test.
    fn store(&self) -> &Self::Store;

    /// A scope that no other subject uses.
    fn scope(&self) -> String;

    /// Writes one row with the text `effect`.
    fn write(
        &self,
        connection: &mut <Self::Store as Store>::Connection,
        effect: &str,
    ) -> impl Future<Output = ()> + Send;

    /// Counts the committed rows with the text `effect`.
    fn count(&self, effect: &str) -> impl Future<Output = u64> + Send;

    /// Cleans up after a check that passed.
    fn end(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        std::future::ready(())
    }
}

/// Instantiates every check of the contract as a `#[tokio::test]`, on the subject that the
/// expression makes.
#[macro_export]
macro_rules! store_contract {
    ($subject:expr) => {
        $crate::store_contract! { $subject;
            a_success_keeps_everything
            a_failure_keeps_the_record_alone
            a_dropped_claim_keeps_nothing
            a_held_identity_is_not_won_twice
            a_record_is_shown_in_place_of_a_claim
            only_the_version_that_was_seen_is_replaced
            simultaneous_claims_have_one_effect
            identities_do_not_hold_each_other_up
            a_plain_transaction_is_kept_or_undone
            a_claim_without_a_record_leaves_the_identity_as_it_was
            times_are_read_when_the_record_is_written
            a_purge_takes_expired_records_only
            an_erasure_takes_one_scope_only
            a_forgotten_record_is_gone_and_a_held_one_stays
            a_tally_counts_records_by_operation_and_state
            an_aborted_claim_leaves_nothing_behind
        }
    };
    ($subject:expr; $($check:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let subject = $subject;
            $crate::store::contract::$check(&subject).await;
            $crate::store::contract::Subject::end(subject).await;
        }
    )*};
}

const OPENING: Opening = Opening {
    isolation: None,
    deadline: Duration::from_secs(30),
    lease: None,
};

const DAY: Duration = Duration::from_hours(24);
const BRIEF: Duration = Duration::from_millis(1);
const BODY: &[u8] = b"\x00recorded\xff";

/// The recorded body.
fn body(record: &Record) -> &[u8] {
    &record.response.readable().expect("it is not sealed").body
}

/// Settling as succeeded commits the writes and the record together.
pub async fn a_success_keeps_everything<S: Subject>(subject: &S) {
    let case = Case::new(subject, "success");
    let times = case.execute(None, State::Succeeded, DAY).await;
    assert_eq!(case.effects().await, 1);
    let found = case.find().await.expect("the record is there");
    assert_eq!(found.record.state, State::Succeeded);
    assert_eq!(found.record.attempts, 1);
    assert_eq!(found.record.status, StatusCode::CREATED);
    assert_eq!(body(&found.record), BODY);
    assert_eq!(found.record.fingerprint, case.fingerprint);
    assert_eq!(found.record.settled_at, times.settled_at);
    assert_eq!(found.record.expires_at, times.expires_at);
    let life = times.settled_at.until(times.expires_at);
    // A store may read its clock twice.
    assert!(
        (DAY..DAY + Duration::from_secs(1)).contains(&life),
        "{life:?}"
    );
}

/// Settling as failed undoes the writes and commits the record.
pub async fn a_failure_keeps_the_record_alone<S: Subject>(subject: &S) {
    for (key, state) in [
        ("final", State::FailedFinal),
        ("retriable", State::FailedRetriable),
    ] {
        let case = Case::new(subject, key);
        case.execute(None, state, DAY).await;
        assert_eq!(case.effects().await, 0);
        assert_eq!(case.find().await.expect("a record").record.state, state);
    }
}

/// A claim that is dropped undoes the writes and frees the identity.
pub async fn a_dropped_claim_keeps_nothing<S: Subject>(subject: &S) {
    let case = Case::new(subject, "dropped");
    let mut claim = case.win(None).await;
    case.write(&mut claim).await;
    drop(claim);
    case.execute(None, State::Succeeded, DAY).await;
    assert_eq!(case.effects().await, 1);
}

/// While a claim is held, no other claim of its identity is won.
pub async fn a_held_identity_is_not_won_twice<S: Subject>(subject: &S) {
    let case = Case::new(subject, "held");
    let held = case.win(None).await;
    for likely_taken in [false, true] {
        let second = case.claim(None, likely_taken);
        // A store with one writer may wait instead of answering.
        if let Ok(Ok(claimed)) = timeout(Duration::from_millis(300), second).await {
            assert!(matches!(claimed, Claimed::InFlight), "won twice");
        }
    }
    drop(held);
    drop(case.win(None).await);
}

/// A claim shows the record that there is, and ends its transaction.
pub async fn a_record_is_shown_in_place_of_a_claim<S: Subject>(subject: &S) {
    let case = Case::new(subject, "shown");
    case.execute(None, State::Succeeded, DAY).await;
    for likely_taken in [false, true] {
        match case.claim(None, likely_taken).await {
            Ok(Claimed::Changed(Some(found))) => assert_eq!(body(&found.record), BODY),
            _ => panic!("the record is not shown"),
        }
    }
}

/// Settling replaces exactly the version that the claim saw, and a claim with an outdated version is
/// not won.
pub async fn only_the_version_that_was_seen_is_replaced<S: Subject>(subject: &S) {
    let case = Case::new(subject, "replaced");
    case.execute(None, State::FailedRetriable, DAY).await;
    let first = case.version().await;
    case.execute(Some(first), State::FailedRetriable, DAY).await;
    let second = case.version().await;
    assert_ne!(first, second);
    assert_eq!(second.attempts, 2);

    for outdated in [Some(first), None] {
        let claimed = case.claim(outdated, false).await;
        assert!(matches!(claimed, Ok(Claimed::Changed(Some(_)))));
    }
    // As if locks were broken: the claim is right, but the version that it wants to replace is wrong.
    for wrong in [Some(first), None] {
        let mut claim = case.win(Some(second)).await;
        case.write(&mut claim).await;
        let settled = case.settle(claim, wrong, State::Succeeded, DAY).await;
        assert!(
            matches!(settled, Err(SettleError::Superseded)),
            "{settled:?}"
        );
    }
    assert_eq!(case.effects().await, 0);
    case.execute(Some(second), State::Succeeded, DAY).await;
    assert_eq!(case.effects().await, 1);
}

/// Of many simultaneous claims of one identity one is won, and all others see its record in the end.
pub async fn simultaneous_claims_have_one_effect<S: Subject>(subject: &S) {
    let case = Case::new(subject, "simultaneous");
    let wins = AtomicU32::new(0);
    let one = async |number: usize| {
        loop {
            match case.claim(None, number.is_multiple_of(2)).await {
                Ok(Claimed::Won(mut claim)) => {
                    wins.fetch_add(1, Ordering::Relaxed);
                    case.write(&mut claim).await;
                    let settled = case.settle(claim, None, State::Succeeded, DAY).await;
                    settled.expect("the winner settles");
                    return;
                }
                Ok(Claimed::Changed(Some(found))) => {
                    assert_eq!(body(&found.record), BODY);
                    return;
                }
                Ok(Claimed::Changed(None)) => panic!("nothing was seen, and nothing is there"),
                Ok(Claimed::InFlight) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    futures_util::future::join_all((0..32).map(one)).await;
    assert_eq!(wins.load(Ordering::Relaxed), 1);
    assert_eq!(case.effects().await, 1);
}

/// Many identities at once all succeed.
pub async fn identities_do_not_hold_each_other_up<S: Subject>(subject: &S) {
    let one = async |number: u32| {
        let case = Case::new(subject, &format!("other-{number}"));
        case.execute(None, State::Succeeded, DAY).await;
        assert_eq!(case.effects().await, 1);
    };
    futures_util::future::join_all((0..32).map(one)).await;
}

/// A transaction without an identity is settled without a record.
pub async fn a_plain_transaction_is_kept_or_undone<S: Subject>(subject: &S) {
    let case = Case::new(subject, "plain");
    for (keep_writes, effects) in [(false, 0), (true, 1)] {
        let mut claim = subject.store().begin(OPENING).await.expect("begins");
        case.write(&mut claim).await;
        let written = OnceLock::new();
        let settlement = Settlement {
            keep_writes,
            record: None,
            written: &written,
        };
        let settled = subject.store().settle(claim, settlement).await;
        settled.expect("settles");
        assert_eq!(written.get(), None);
        assert_eq!(case.effects().await, effects);
    }
    assert!(case.find().await.is_none());
}

/// A claim that is settled without a record leaves its identity as it was: free, or recorded.
pub async fn a_claim_without_a_record_leaves_the_identity_as_it_was<S: Subject>(subject: &S) {
    let case = Case::new(subject, "no-trace");
    let abandon = async |seen| {
        let mut claim = case.win(seen).await;
        case.write(&mut claim).await;
        let written = OnceLock::new();
        let settlement = Settlement {
            keep_writes: false,
            record: None,
            written: &written,
        };
        let settled = subject.store().settle(claim, settlement).await;
        settled.expect("settles");
        assert_eq!(written.get(), None);
        assert_eq!(case.effects().await, 0);
    };
    abandon(None).await;
    assert!(case.find().await.is_none());
    case.execute(None, State::FailedRetriable, DAY).await;
    let recorded = case.find().await.expect("a record").record;
    abandon(Some(recorded.version())).await;
    let found = case.find().await.expect("a record").record;
    assert_eq!(found.version(), recorded.version());
    case.execute(Some(recorded.version()), State::Succeeded, DAY)
        .await;
}

/// The times are the database's at the statement, not at the beginning of the transaction.
pub async fn times_are_read_when_the_record_is_written<S: Subject>(subject: &S) {
    let case = Case::new(subject, "time");
    let mut claim = case.win(None).await;
    case.write(&mut claim).await;
    let begun = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let times = case.settle(claim, None, State::Succeeded, DAY).await;
    let settled_at = times.expect("settles").expect("a record").settled_at;
    let found = case.find().await.expect("a record");
    assert!(found.now >= settled_at);
    let elapsed = begun.elapsed();
    assert!(
        settled_at.until(found.now) < elapsed,
        "read at the beginning of the transaction"
    );
}

/// A purge deletes expired records only, and at most as many as the limit.
pub async fn a_purge_takes_expired_records_only<S: Subject>(subject: &S) {
    let living = Case::new(subject, "living");
    living.execute(None, State::Succeeded, DAY).await;
    let expired: Vec<_> = (0..3)
        .map(|n| Case::new(subject, &format!("expired-{n}")))
        .collect();
    for case in &expired {
        case.execute(None, State::Succeeded, BRIEF).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let one = subject.store().purge_expired(1).await.expect("purges");
    assert!(one.records <= 1);
    while subject
        .store()
        .purge_expired(100)
        .await
        .expect("purges")
        .records
        > 0
    {}
    for case in &expired {
        assert!(case.find().await.is_none());
    }
    assert!(living.find().await.is_some());
}

/// An erasure deletes the records of one scope and counts them.
pub async fn an_erasure_takes_one_scope_only<S: Subject>(subject: &S) {
    let mut other = Case::new(subject, "k");
    other.scoped(&format!("{} of another", subject.scope()));
    let unscoped = Case::new(subject, &subject.scope()).unscoped();
    let mine: Vec<_> = (0..3)
        .map(|n| Case::new(subject, &format!("mine-{n}")))
        .collect();
    for case in mine.iter().chain([&other, &unscoped]) {
        case.execute(None, State::Succeeded, DAY).await;
    }
    let scope = ScopeDigest::new(Some(&subject.scope()));
    assert_eq!(subject.store().erase(&scope).await.expect("erases"), 3);
    assert_eq!(subject.store().erase(&scope).await.expect("erases"), 0);
    for case in &mine {
        assert!(case.find().await.is_none());
    }
    assert!(other.find().await.is_some());
    assert!(unscoped.find().await.is_some());
}

/// A record is forgotten, also an expired one. While an attempt holds the identity, with or without a
/// record, nothing is deleted, and the attempt's record stays.
pub async fn a_forgotten_record_is_gone_and_a_held_one_stays<S: Subject>(subject: &S) {
    let forget = async |case: &Case<'_, S>| {
        let forgotten = subject.store().forget(&case.identity).await;
        forgotten.expect("forgets")
    };
    let other = Case::new(subject, "other");
    other.execute(None, State::Succeeded, DAY).await;
    for ttl in [DAY, BRIEF] {
        let case = Case::new(subject, "forgotten");
        assert_eq!(forget(&case).await, Forgotten::Missing);
        case.execute(None, State::Succeeded, ttl).await;
        assert_eq!(forget(&case).await, Forgotten::Deleted);
        assert!(case.find().await.is_none());
    }
    assert!(other.find().await.is_some());

    let case = Case::new(subject, "held");
    for attempts in 1..=2 {
        let seen = case.find().await.map(|found| found.record.version());
        let mut claim = case.win(seen).await;
        case.write(&mut claim).await;
        let settles = async {
            // A store with one writer answers when the attempt has ended.
            tokio::time::sleep(Duration::from_millis(300)).await;
            case.settle(claim, seen, State::FailedRetriable, DAY).await
        };
        let (forgotten, settled) = tokio::join!(forget(&case), settles);
        assert_eq!(forgotten, Forgotten::InFlight);
        settled.expect("an attempt is not disturbed");
        assert_eq!(case.version().await.attempts, attempts);
    }
    assert_eq!(forget(&case).await, Forgotten::Deleted);
    case.execute(None, State::Succeeded, DAY).await;
}

/// A tally counts each record once, by its operation and state, for one scope or for the whole table.
pub async fn a_tally_counts_records_by_operation_and_state<S: Subject>(subject: &S) {
    let scope = ScopeDigest::new(Some(&subject.scope()));
    let tally = async |scope| {
        let stats = subject.store().tally(scope).await.expect("counts");
        assert!(stats.now.0 > 0);
        let mut tallies = stats.tallies;
        tallies.sort_by_key(|tally| tally.state.map(State::code));
        tallies
    };
    assert!(tally(Some(&scope)).await.is_empty());
    let unscoped = Case::new(subject, "elsewhere").unscoped();
    unscoped.execute(None, State::Succeeded, DAY).await;
    let first = Case::new(subject, "first");
    let first = first.execute(None, State::Succeeded, DAY).await;
    let expired = Case::new(subject, "expired");
    let expired = expired.execute(None, State::Succeeded, BRIEF).await;
    let retried = Case::new(subject, "retried");
    retried.execute(None, State::FailedRetriable, DAY).await;
    let seen = Some(retried.version().await);
    let last = retried.execute(seen, State::FailedRetriable, DAY).await;
    tokio::time::sleep(Duration::from_millis(10)).await;

    let tallies = tally(Some(&scope)).await;
    let [succeeded, retriable] = &tallies[..] else {
        panic!("{tallies:?}");
    };
    for tally in [succeeded, retriable] {
        assert_eq!(tally.operation, retried.operation);
    }
    assert_eq!(succeeded.state, Some(State::Succeeded));
    assert_eq!((succeeded.records, succeeded.expired), (2, 1));
    assert_eq!(succeeded.attempts, 2);
    assert!(succeeded.response_bytes >= 2 * BODY.len() as u64);
    assert_eq!(succeeded.oldest_settled, first.settled_at);
    assert_eq!(succeeded.newest_settled, expired.settled_at);
    assert_eq!(succeeded.oldest_expired, Some(expired.expires_at));
    assert_eq!(retriable.state, Some(State::FailedRetriable));
    assert_eq!((retriable.records, retriable.expired), (1, 0));
    assert_eq!((retriable.attempts, retriable.response_bytes), (2, 0));
    assert_eq!(retriable.newest_settled, last.settled_at);
    assert_eq!(retriable.oldest_expired, None);

    let all = tally(None).await;
    let all: u64 = all.iter().map(|tally| tally.records).sum();
    assert!(all >= 4, "{all}");
}

/// Claims and settlements that are dropped after any number of polls leave no transaction, no
/// lock and no lost connection.
pub async fn an_aborted_claim_leaves_nothing_behind<S: Subject>(subject: &S) {
    for polls in 0..60 {
        let case = Arc::new(Case::new(subject, &format!("aborted-{polls}")));
        let attempt = async {
            let mut claim = case.win(None).await;
            case.write(&mut claim).await;
            case.settle(claim, None, State::Succeeded, DAY).await
        };
        drop_after(polls, attempt).await;
        let settled = async {
            loop {
                match case.claim(None, true).await {
                    Ok(Claimed::Won(mut claim)) => {
                        case.write(&mut claim).await;
                        let settled = case.settle(claim, None, State::Succeeded, DAY).await;
                        settled.expect("settles");
                        return;
                    }
                    Ok(Claimed::Changed(Some(_))) => return,
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        timeout(Duration::from_secs(10), settled)
            .await
            .expect("the identity is free again");
        assert_eq!(case.effects().await, 1, "after {polls} polls");
    }
}

async fn drop_after<F: Future>(polls: u32, future: F) {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 || future.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        std::task::Poll::Pending
    })
    .await;
}

struct Case<'a, S: Subject> {
    subject: &'a S,
    key: IdempotencyKey,
    operation: Operation,
    identity: Identity,
    fingerprint: Fingerprint,
    effect: String,
}

impl<'a, S: Subject> Case<'a, S> {
    fn new(subject: &'a S, key: &str) -> Self {
        let key = IdempotencyKey::parse(key.as_bytes()).expect("a key");
        let operation = Operation::named("contract");
        let asked = RequestParts {
            method: "POST",
            path: "/contract",
            query: None,
            raw: Some(key.as_str().as_bytes()),
        };
        let scope = subject.scope();
        Self {
            subject,
            identity: Identity::new(Some(&scope), &operation, &key),
            fingerprint: Fingerprint::new(asked, &Content::Raw, None),
            effect: format!("{scope} {key}"),
            key,
            operation,
        }
    }

    fn unscoped(mut self) -> Self {
        self.identity = Identity::new(None, &self.operation, &self.key);
        self
    }

    fn scoped(&mut self, scope: &str) {
        self.identity = Identity::new(Some(scope), &self.operation, &self.key);
    }

    async fn claim(
        &self,
        seen: Option<Version>,
        likely_taken: bool,
    ) -> Result<Claimed<<S::Store as Store>::Claim>, super::StoreError> {
        let request = ClaimRequest {
            identity: &self.identity,
            operation: &self.operation,
            fingerprint: &self.fingerprint,
            attempt: seen.map_or(1, |seen| seen.attempts + 1),
            ttl: DAY,
            opening: OPENING,
            seen,
            likely_taken,
        };
        self.subject.store().claim(request).await
    }

    /// Wins, as soon as the server has freed the identity.
    async fn win(&self, seen: Option<Version>) -> <S::Store as Store>::Claim {
        for _ in 0..1000 {
            match self.claim(seen, false).await {
                Ok(Claimed::Won(claim)) => return claim,
                Ok(Claimed::InFlight) => tokio::time::sleep(Duration::from_millis(2)).await,
                Ok(Claimed::Changed(found)) => panic!("not what was seen: {found:?}"),
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("the identity is not freed");
    }

    async fn write(&self, claim: &mut <S::Store as Store>::Claim) {
        self.subject.write(claim.connection(), &self.effect).await;
    }

    async fn settle(
        &self,
        claim: <S::Store as Store>::Claim,
        replaces: Option<Version>,
        state: State,
        ttl: Duration,
    ) -> Result<Option<Times>, SettleError> {
        let recorded = Recorded {
            headers: Vec::new(),
            body: BODY.into(),
        };
        let encoding = recorded.encode(&self.identity, StatusCode::CREATED);
        let draft = Draft {
            identity: &self.identity,
            operation: &self.operation,
            state,
            attempts: replaces.map_or(1, |seen| seen.attempts + 1),
            status: StatusCode::CREATED,
            fingerprint: &self.fingerprint,
            response: state.is_replayed().then_some(&encoding),
            ttl,
            replaces,
        };
        let written = OnceLock::new();
        let settlement = Settlement {
            keep_writes: state == State::Succeeded,
            record: Some(draft),
            written: &written,
        };
        self.subject.store().settle(claim, settlement).await?;
        Ok(written.get().copied())
    }

    async fn execute(&self, seen: Option<Version>, state: State, ttl: Duration) -> Times {
        let mut claim = self.win(seen).await;
        self.write(&mut claim).await;
        let settled = self.settle(claim, seen, state, ttl).await;
        settled.expect("settles").expect("a record was written")
    }

    async fn find(&self) -> Option<crate::record::Found> {
        let found = self.subject.store().find(&self.identity).await;
        found.expect("the record is readable")
    }

    async fn version(&self) -> Version {
        self.find().await.expect("a record").record.version()
    }

    async fn effects(&self) -> u64 {
        self.subject.count(&self.effect).await
    }
}
