//! The contract of a [`RunStore`], as checks that any implementation can run against a real database.
//!
//! Implement [`RunSubject`] and instantiate the checks: `idem_core::run_contract!(MySubject::start().await);`

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::{sleep, timeout};

use super::drop_after;
use crate::fingerprint::{Content, Fingerprint, RequestParts};
use crate::identity::{Identity, ScopeDigest};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::policy::Isolation;
use crate::record::{State, Version};
use crate::response::Recorded;
use crate::steps::{Resolved, StepConnection, StepError, StepKind, StepStore};
use crate::store::runs::{Holder, Lease, RunStore, StepRow};
use crate::store::{ClaimRequest, Claimed, Draft, Forgotten, Opening, SettleError, Times};

/// A store of runs, in a place of its own.
pub trait RunSubject: Send + Sync + 'static {
    /// The type that handlers name: they take `&mut Steps<Connection>`.
    type Connection: StepConnection;

    /// The store under test.
    fn store(&self) -> &StepStore<Self::Connection>;

    /// Cleans up after a check that passed.
    fn end(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        std::future::ready(())
    }
}

/// Instantiates every check of the contract of runs as a `#[tokio::test]`, on the subject that the
/// expression makes.
#[macro_export]
macro_rules! run_contract {
    ($subject:expr) => {
        $crate::run_contract! { $subject;
            a_run_is_claimed_by_one_holder
            a_run_binds_its_key
            a_run_is_taken_over_after_its_lease
            a_renewed_lease_holds
            each_write_renews_the_lease
            a_late_holder_writes_nothing
            another_holder_of_the_same_epoch_writes_nothing
            a_holder_of_an_erased_run_writes_nothing
            a_holder_of_a_resolved_run_writes_nothing
            a_result_is_never_overwritten
            an_intent_gets_one_result
            a_finished_run_is_a_record
            a_run_is_finished_by_its_holder_alone
            a_released_run_goes_on_at_once
            an_expired_run_is_forgotten_with_its_steps
            an_erasure_takes_the_runs_of_one_scope
            an_operator_resolves_a_run_that_nobody_holds
            an_aborted_attempt_leaves_a_run_that_goes_on
        }
    };
    ($subject:expr; $($check:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let subject = $subject;
            $crate::store::contract::runs::$check(&subject).await;
            $crate::store::contract::runs::RunSubject::end(subject).await;
        }
    )*};
}

const LEASE: Duration = Duration::from_millis(300);
const DAY: Duration = Duration::from_hours(24);
const BODY: &[u8] = b"\x00recorded\xff";

/// Of many simultaneous claims one is won, and the others see that the run is held.
pub async fn a_run_is_claimed_by_one_holder<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "claimed");
    let claims = (0..16).map(|_| async {
        match case.claim(None).await {
            Claimed::Won(_) => 1,
            Claimed::InFlight => 0,
            Claimed::Changed(found) => panic!("{found:?}"),
        }
    });
    let won: u32 = join_all(claims).await.into_iter().sum();
    assert_eq!(won, 1);
    assert!(case.find().await.is_none(), "a run is no record");
}

/// A claim with another fingerprint sees the run, also while it is held.
pub async fn a_run_binds_its_key<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "bound");
    let _held = case.win().await;
    let other = case.with_body(b"other");
    match other.claim(None).await {
        Claimed::Changed(Some(found)) => {
            assert_eq!(found.record.state, State::FailedRetriable);
            assert!(found.record.fingerprint.matches(&case.fingerprint));
            assert!(!found.record.fingerprint.matches(&other.fingerprint));
        }
        other => panic!("{other:?}"),
    }
}

/// After its lease a run is shown, and the version that was shown is taken over by one holder: with the next
/// epoch, and with the steps in the order of their recording.
pub async fn a_run_is_taken_over_after_its_lease<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "taken");
    let first = case.win().await;
    case.record(&first.lease, "b", Some("1")).await;
    // The clock of a store may count milliseconds.
    sleep(Duration::from_millis(5)).await;
    case.record(&first.lease, "a", Some("2")).await;
    assert!(matches!(case.claim(None).await, Claimed::InFlight));
    sleep(LEASE * 2).await;
    let seen = case.version().await;
    assert_eq!(seen.attempts, 1);
    let claims = (0..8).map(|_| case.claim(Some(seen)));
    let won = join_all(claims)
        .await
        .into_iter()
        .filter_map(|claimed| match claimed {
            Claimed::Won(won) => Some(won),
            _ => None,
        });
    let won: Vec<_> = won.collect();
    let [second] = &won[..] else {
        panic!("{won:?}");
    };
    assert_eq!(second.lease.epoch, first.lease.epoch + 1);
    assert_eq!(second.results(), [("b", Some("1")), ("a", Some("2"))]);
    sleep(LEASE * 2).await;
    let outdated = case.claim(Some(seen)).await;
    assert!(
        matches!(outdated, Claimed::Changed(Some(_))),
        "{outdated:?}"
    );
}

/// A lease that is renewed in time is held, and so is one that is renewed late and that nobody else wanted.
pub async fn a_renewed_lease_holds<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "renewed");
    let held = case.win().await;
    for pause in [LEASE / 2, LEASE / 2, LEASE / 2, LEASE * 2] {
        sleep(pause).await;
        let renewed = subject.store().runs().renew(&held.lease).await;
        renewed.expect("it is held");
        assert!(matches!(case.claim(None).await, Claimed::InFlight));
    }
}

/// Each write of an attempt is also a write of its run: a cluster compares writes only.
pub async fn each_write_renews_the_lease<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "writes");
    let held = case.win().await;
    let leased_until = async || {
        let run = case.runs.run(&case.identity).await.expect("reads");
        run.expect("a run").0.leased_until
    };
    let mut before = leased_until().await;
    for write in 0..3 {
        sleep(Duration::from_millis(5)).await;
        match write {
            0 => case.record(&held.lease, "a", Some("1")).await,
            1 => case.record(&held.lease, "intent", None).await,
            _ => {
                let completed = case.runs.complete(&held.lease, "intent", b"1".into());
                completed.await.expect("completes");
            }
        }
        let after = leased_until().await;
        assert!(after > before, "write {write}");
        before = after;
    }
}

/// After a takeover the first holder changes nothing: no lease, no step and no record.
pub async fn a_late_holder_writes_nothing<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "late");
    let late = case.win().await;
    case.record(&late.lease, "intent", None).await;
    sleep(LEASE * 2).await;
    let holder = case.take_over().await;
    case.refuses(&late.lease).await;
    case.finish(&holder.lease).await.expect("finishes");
    case.refuses(&late.lease).await;
    assert_eq!(case.find().await, Some(State::Succeeded));
}

/// Who has the right epoch only, or the right name only, changes nothing.
pub async fn another_holder_of_the_same_epoch_writes_nothing<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "same-epoch");
    let held = case.win().await;
    case.record(&held.lease, "intent", None).await;
    let other = Lease {
        holder: Holder::new(),
        ..held.lease
    };
    case.refuses(&other).await;
    for epoch in [held.lease.epoch - 1, held.lease.epoch + 1] {
        let other = Lease {
            epoch,
            ..held.lease
        };
        case.refuses(&other).await;
    }
    case.finish(&held.lease).await.expect("finishes");
}

/// A run that was erased begins again at the first epoch. Its old holder has the same epoch, and changes
/// nothing.
pub async fn a_holder_of_an_erased_run_writes_nothing<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "erased");
    let late = case.win().await;
    let scope = ScopeDigest::new(Some("acme"));
    let erased = subject.store().runs().erase(&scope).await.expect("erases");
    assert_eq!(erased, 1);
    case.refuses(&late.lease).await;
    let holder = case.win().await;
    assert_eq!(holder.lease.epoch, late.lease.epoch);
    case.record(&holder.lease, "intent", None).await;
    case.refuses(&late.lease).await;
    case.finish(&holder.lease).await.expect("finishes");
}

/// After an operator's word the last holder, whose lease is over, changes nothing: it may have been frozen.
pub async fn a_holder_of_a_resolved_run_writes_nothing<S: RunSubject>(subject: &S) {
    for (key, result) in [("found", Some(b"1".to_vec())), ("absent", None)] {
        let case = Case::new(subject, "acme", key);
        let late = case.win().await;
        case.record(&late.lease, "sms", None).await;
        case.record(&late.lease, "intent", None).await;
        sleep(LEASE * 2).await;
        let resolved = case.runs.resolve(&case.identity, "sms", result).await;
        assert_eq!(resolved.expect("resolves"), Resolved::Done);
        case.refuses(&late.lease).await;
        case.take_over().await;
        case.refuses(&late.lease).await;
    }
}

/// A second result of a step never replaces the first one.
pub async fn a_result_is_never_overwritten<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "overwritten");
    let held = case.win().await;
    case.record(&held.lease, "a", Some("1")).await;
    // Refused, or taken for the same operation once more.
    let runs = subject.store().runs();
    drop(
        runs.record(&held.lease, "a", StepKind::Call, Some(b"2".into()))
            .await,
    );
    drop(runs.complete(&held.lease, "a", b"3".into()).await);
    sleep(LEASE * 2).await;
    let next = case.take_over().await;
    assert_eq!(next.results(), [("a", Some("1"))]);
    drop(
        runs.record(&next.lease, "a", StepKind::Call, Some(b"4".into()))
            .await,
    );
    assert_eq!(case.steps().await, [("a".to_owned(), Some("1".to_owned()))]);
}

/// The intent of a `call_once` is recorded without a result, and gets its result once.
pub async fn an_intent_gets_one_result<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "intent");
    let held = case.win().await;
    case.record(&held.lease, "sms", None).await;
    assert_eq!(case.steps().await, [("sms".to_owned(), None)]);
    let runs = subject.store().runs();
    let completed = runs.complete(&held.lease, "sms", b"1".into()).await;
    completed.expect("completes");
    for name in ["sms", "never"] {
        let completed = runs.complete(&held.lease, name, b"2".into()).await;
        assert!(matches!(completed, Err(StepError::Lost)), "{completed:?}");
    }
    let steps = [("sms".to_owned(), Some("1".to_owned()))];
    assert_eq!(case.steps().await, steps);
}

/// A finished run is a record with the draft's response, and neither a run nor a step is left.
pub async fn a_finished_run_is_a_record<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "finished");
    let held = case.win().await;
    case.record(&held.lease, "a", Some("1")).await;
    let times = case.finish(&held.lease).await.expect("finishes");
    let found = subject.store().runs().find(&case.identity).await;
    let found = found.expect("reads").expect("a record");
    let record = found.record;
    assert_eq!((record.state, record.attempts), (State::Succeeded, 1));
    assert_eq!(record.status, StatusCode::CREATED);
    assert_eq!(
        &record.response.readable().expect("a response").body[..],
        BODY
    );
    assert_eq!(
        (record.settled_at, record.expires_at),
        (times.settled_at, times.expires_at)
    );
    assert!(record.fingerprint.matches(&case.fingerprint));
    assert_eq!(case.steps().await, []);
    let claimed = case.claim(None).await;
    assert!(
        matches!(claimed, Claimed::Changed(Some(found)) if found.record.version() == record.version())
    );
    assert_eq!(case.forget().await, Forgotten::Deleted);
    case.win().await;
}

/// A record that has expired is replaced by a new run, if it is the version that was seen. A second
/// settlement of the same attempt changes nothing.
pub async fn a_run_is_finished_by_its_holder_alone<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "once");
    let first = case.win().await;
    let brief = Duration::from_millis(1);
    let settled = case.settle(&first.lease, State::FailedFinal, brief).await;
    settled.expect("finishes");
    sleep(Duration::from_millis(10)).await;
    let seen = match case.claim(None).await {
        Claimed::Changed(Some(found)) => found.record.version(),
        other => panic!("{other:?}"),
    };
    let Claimed::Won(second) = case.claim(Some(seen)).await else {
        panic!("the record has expired");
    };
    assert!(second.steps.is_empty());
    case.refuses(&first.lease).await;
    case.finish(&second.lease).await.expect("finishes");
    assert_eq!(case.find().await, Some(State::Succeeded));
    let again = case.settle(&first.lease, State::FailedFinal, DAY).await;
    assert!(matches!(again, Err(SettleError::Superseded)), "{again:?}");
    assert_eq!(case.find().await, Some(State::Succeeded));
}

/// A released run keeps its steps, and the next attempt claims it without a wait; one that is to be
/// forgotten leaves nothing.
pub async fn a_released_run_goes_on_at_once<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "released");
    let held = case.win().await;
    case.record(&held.lease, "a", Some("1")).await;
    let released = subject.store().runs().release(&held.lease, false).await;
    released.expect("releases");
    let next = case.take_over().await;
    assert_eq!(next.results(), [("a", Some("1"))]);
    assert_eq!(case.forget().await, Forgotten::InFlight);
    let released = subject.store().runs().release(&next.lease, true).await;
    released.expect("releases");
    assert_eq!(case.forget().await, Forgotten::Missing);
    assert!(case.win().await.steps.is_empty());
}

/// A run that has expired binds nothing, is replaced without its steps, and is purged.
pub async fn an_expired_run_is_forgotten_with_its_steps<S: RunSubject>(subject: &S) {
    let brief = Case::new(subject, "acme", "brief").with_ttl(Duration::from_millis(1));
    let living = Case::new(subject, "acme", "living");
    for case in [&brief, &living] {
        let held = case.win().await;
        case.record(&held.lease, "a", Some("1")).await;
    }
    sleep(LEASE * 2).await;
    let other = brief.with_body(b"other").with_ttl(Duration::from_millis(1));
    assert!(other.win().await.steps.is_empty());
    sleep(LEASE * 2).await;
    subject
        .store()
        .runs()
        .purge_expired(100)
        .await
        .expect("purges");
    assert_eq!(brief.steps().await, []);
    assert_eq!(brief.forget().await, Forgotten::Missing);
    assert_eq!(living.steps().await.len(), 1);
}

/// An erasure deletes the runs of one scope and counts them.
pub async fn an_erasure_takes_the_runs_of_one_scope<S: RunSubject>(subject: &S) {
    let mine = Case::new(subject, "acme", "mine");
    let other = Case::new(subject, "another", "mine");
    for case in [&mine, &other] {
        let held = case.win().await;
        case.record(&held.lease, "a", Some("1")).await;
    }
    let scope = ScopeDigest::new(Some("acme"));
    let erase = async || subject.store().runs().erase(&scope).await.expect("erases");
    assert_eq!((erase().await, erase().await), (1, 0));
    assert_eq!(mine.steps().await, []);
    assert_eq!(other.steps().await.len(), 1);
}

/// An operator sees all runs, the oldest claim first, and settles the doubt about a `call_once` whose run
/// nobody holds.
pub async fn an_operator_resolves_a_run_that_nobody_holds<S: RunSubject>(subject: &S) {
    let case = Case::new(subject, "acme", "resolved");
    let resolve = async |result: Option<&str>| {
        let result = result.map(|result| result.as_bytes().to_vec());
        let resolved = subject
            .store()
            .runs()
            .resolve(&case.identity, "sms", result)
            .await;
        resolved.expect("resolves")
    };
    assert_eq!(resolve(Some("1")).await, Resolved::Missing);
    let held = case.win().await;
    let later = Case::new(subject, "acme", "later");
    later.win().await;
    case.record(&held.lease, "sms", None).await;
    for limit in [1, 10] {
        let runs = subject.store().runs().runs(limit).await.expect("reads");
        assert_eq!(runs.len(), usize::min(2, limit as usize));
        let (run, steps) = &runs[0];
        assert_eq!(run.identity, case.identity.as_bytes());
        assert_eq!(run.operation, case.operation.as_str());
        assert!(run.is_leased() && run.is_held_by(held.lease.holder));
        assert_eq!(steps.len(), 1);
    }
    assert_eq!(resolve(Some("1")).await, Resolved::InFlight);
    let release = async |lease| {
        let released = subject.store().runs().release(lease, false).await;
        released.expect("releases");
    };
    release(&held.lease).await;
    assert_eq!(resolve(None).await, Resolved::Done);
    assert_eq!(case.steps().await, []);
    let next = case.take_over().await;
    case.record(&next.lease, "sms", None).await;
    release(&next.lease).await;
    assert_eq!(resolve(Some("1")).await, Resolved::Done);
    assert_eq!(resolve(Some("2")).await, Resolved::Missing);
    assert_eq!(resolve(None).await, Resolved::Missing);
    assert_eq!(case.take_over().await.results(), [("sms", Some("1"))]);
}

/// An attempt that is dropped after any number of polls leaves a run that the next attempts finish, with the
/// results that there are.
pub async fn an_aborted_attempt_leaves_a_run_that_goes_on<S: RunSubject>(subject: &S) {
    let one = async |polls: u32| {
        let case = Case::new(subject, "acme", &format!("aborted-{polls}"));
        let attempt = async {
            if let Claimed::Won(won) = case.claim(None).await {
                case.record(&won.lease, "a", Some("1")).await;
                drop(case.finish(&won.lease).await);
            }
        };
        drop_after(polls, attempt).await;
        let goes_on = async {
            let mut seen = None;
            loop {
                match case.claim(seen).await {
                    Claimed::Won(won) => {
                        if won.steps.is_empty() {
                            case.record(&won.lease, "a", Some("1")).await;
                        } else {
                            assert_eq!(won.results(), [("a", Some("1"))]);
                        }
                        case.finish(&won.lease).await.expect("finishes");
                        return;
                    }
                    Claimed::InFlight => sleep(LEASE / 10).await,
                    Claimed::Changed(None) => seen = None,
                    Claimed::Changed(Some(found)) if found.record.state == State::Succeeded => {
                        return;
                    }
                    Claimed::Changed(Some(found)) => seen = Some(found.record.version()),
                }
            }
        };
        let done = timeout(Duration::from_secs(20), goes_on).await;
        done.unwrap_or_else(|_| panic!("nobody goes on after {polls} polls"));
        assert_eq!(case.find().await, Some(State::Succeeded), "{polls}");
        assert_eq!(case.steps().await, [], "{polls}");
    };
    for polls in 0..5 {
        join_all((polls * 8..polls * 8 + 8).map(one)).await;
    }
}

/// A request, and the store that it goes to.
struct Case<'a, S: RunSubject> {
    runs: &'a <S::Connection as StepConnection>::Runs,
    operation: Operation,
    identity: Identity,
    fingerprint: Fingerprint,
    ttl: Duration,
}

/// A run that was claimed.
#[derive(Debug)]
struct Won {
    lease: Lease,
    steps: Vec<StepRow>,
}

impl Won {
    fn results(&self) -> Vec<(&str, Option<&str>)> {
        self.steps
            .iter()
            .map(|row| (&*row.name, result(row)))
            .collect()
    }
}

fn result(row: &StepRow) -> Option<&str> {
    let result = row.result.as_ref();
    result.map(|result| std::str::from_utf8(result).expect("text"))
}

impl<'a, S: RunSubject> Case<'a, S> {
    fn new(subject: &'a S, scope: &str, key: &str) -> Self {
        let operation = Operation::named("contract of runs");
        let key = IdempotencyKey::parse(key.as_bytes()).expect("a key");
        Self {
            runs: subject.store().runs(),
            identity: Identity::new(Some(scope), &operation, &key),
            operation,
            fingerprint: fingerprint(b"body"),
            ttl: DAY,
        }
    }

    fn with_body(&self, body: &[u8]) -> Self {
        Self {
            runs: self.runs,
            operation: self.operation.clone(),
            identity: self.identity,
            fingerprint: fingerprint(body),
            ttl: self.ttl,
        }
    }

    fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    async fn claim(&self, seen: Option<Version>) -> Claimed<Won> {
        let opening = Opening {
            isolation: Some(Isolation::ReadCommitted),
            deadline: Duration::from_secs(30),
            lease: Some(LEASE),
        };
        let mut lease = Lease {
            identity: self.identity,
            epoch: 1,
            holder: Holder::new(),
            duration: LEASE,
            opening,
        };
        let request = ClaimRequest {
            identity: &self.identity,
            operation: &self.operation,
            fingerprint: &self.fingerprint,
            attempt: seen.map_or(1, |seen| seen.attempts + 1),
            ttl: self.ttl,
            opening,
            seen,
            likely_taken: seen.is_some(),
        };
        match self.runs.claim(request, &mut lease).await.expect("answers") {
            Claimed::Won(steps) => Claimed::Won(Won { lease, steps }),
            Claimed::InFlight => Claimed::InFlight,
            Claimed::Changed(found) => Claimed::Changed(found),
        }
    }

    /// The first claim.
    async fn win(&self) -> Won {
        match self.claim(None).await {
            Claimed::Won(won) => won,
            other => panic!("{other:?}"),
        }
    }

    /// The version of a run that nobody holds.
    async fn version(&self) -> Version {
        match self.claim(None).await {
            Claimed::Changed(Some(found)) => found.record.version(),
            other => panic!("{other:?}"),
        }
    }

    async fn take_over(&self) -> Won {
        let seen = self.version().await;
        match self.claim(Some(seen)).await {
            Claimed::Won(won) => won,
            other => panic!("{other:?}"),
        }
    }

    async fn record(&self, lease: &Lease, name: &str, result: Option<&str>) {
        let kind = result.map_or(StepKind::CallOnce, |_| StepKind::Call);
        let result = result.map(|result| result.as_bytes().to_vec());
        let recorded = self.runs.record(lease, name, kind, result).await;
        recorded.expect("records");
    }

    async fn finish(&self, lease: &Lease) -> Result<Times, SettleError> {
        self.settle(lease, State::Succeeded, DAY).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        state: State,
        ttl: Duration,
    ) -> Result<Times, SettleError> {
        let recorded = Recorded {
            headers: Vec::new(),
            body: BODY.into(),
        };
        let response = recorded.encode(&self.identity, StatusCode::CREATED);
        let draft = Draft {
            identity: &self.identity,
            operation: &self.operation,
            state,
            attempts: 1,
            status: StatusCode::CREATED,
            fingerprint: &self.fingerprint,
            response: Some(&response),
            ttl,
            replaces: None,
        };
        self.runs.finish(lease, draft).await
    }

    /// Everything that a holder can do is refused and changes nothing.
    async fn refuses(&self, lease: &Lease) {
        let snapshot = async || format!("{:?}", self.snapshot().await);
        let before = snapshot().await;
        let lost =
            |done: Result<(), StepError>| assert!(matches!(done, Err(StepError::Lost)), "{done:?}");
        lost(self.runs.renew(lease).await);
        lost(
            self.runs
                .record(lease, "late", StepKind::Call, Some(b"0".into()))
                .await,
        );
        lost(
            self.runs
                .record(lease, "late", StepKind::CallOnce, None)
                .await,
        );
        lost(self.runs.complete(lease, "intent", b"0".into()).await);
        let finished = self.settle(lease, State::FailedFinal, DAY).await;
        assert!(
            matches!(finished, Err(SettleError::Superseded)),
            "{finished:?}"
        );
        for forget in [false, true] {
            let released = self.runs.release(lease, forget).await;
            assert!(
                matches!(released, Err(SettleError::Superseded)),
                "{released:?}"
            );
        }
        assert_eq!(snapshot().await, before);
    }

    /// All that the store has of the identity, without the times of the reads.
    async fn snapshot(&self) -> impl std::fmt::Debug {
        let run = self.runs.run(&self.identity).await.expect("reads");
        let run = run.map(|(run, steps)| (run.epoch, run.holder, run.leased_until, steps));
        (run, self.find().await)
    }

    async fn find(&self) -> Option<State> {
        let found = self.runs.find(&self.identity).await.expect("reads");
        found.map(|found| found.record.state)
    }

    async fn steps(&self) -> Vec<(String, Option<String>)> {
        let run = self.runs.run(&self.identity).await.expect("reads");
        let steps = run.map(|(_, steps)| steps).unwrap_or_default();
        let steps = steps
            .iter()
            .map(|row| (row.name.clone(), result(row).map(str::to_owned)));
        steps.collect()
    }

    async fn forget(&self) -> Forgotten {
        self.runs.forget(&self.identity).await.expect("forgets")
    }
}

fn fingerprint(body: &[u8]) -> Fingerprint {
    let parts = RequestParts {
        method: "POST",
        path: "/contract",
        query: None,
        raw: Some(body),
    };
    Fingerprint::new(parts, &Content::Raw, None)
}
