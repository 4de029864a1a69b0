//! The steps of attempts, on an SQLite database in memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use sqlx::SqliteConnection;

use super::{Recovered, Resolution, Resolved, StepError, StepStore, Steps};
use crate::engine::Engine;
use crate::fingerprint::{Content, Fingerprint, RequestParts};
use crate::identity::{Identity, ScopeDigest};
use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::policy::Isolation;
use crate::problem::Problem;
use crate::record::{State, Version};
use crate::response::Recorded;
use crate::store::{
    Claim as _, ClaimRequest, Claimed, Draft, Opening, SettleError, Settlement, SqliteStore,
    Store as _,
};

const LEASE: Duration = Duration::from_millis(300);

pub(crate) type Claim = super::StepClaim<SqliteConnection>;

/// A database, and a request to it.
pub(crate) struct Bench {
    store: StepStore<SqliteConnection>,
    base: SqliteStore,
    identity: Identity,
    operation: Operation,
}

fn fingerprint(body: &[u8]) -> Fingerprint {
    let request = RequestParts {
        method: "POST",
        path: "/",
        query: None,
        raw: Some(body),
    };
    Fingerprint::new(request, &Content::Raw, None)
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let base = SqliteStore::in_memory().await.unwrap();
        let table = sqlx::query("CREATE TABLE effects (label TEXT)");
        table.execute(base.pool()).await.unwrap();
        let store = StepStore::new(base.clone());
        store.migrate().await.unwrap();
        store.migrate().await.unwrap();
        let operation = Operation::named("POST /rides/{}'\\");
        let key = IdempotencyKey::parse(b"k").unwrap();
        Self {
            store,
            base,
            identity: Identity::new(Some("acme"), &operation, &key),
            operation,
        }
    }

    async fn claim(&self, attempt: i32, seen: Option<Version>, body: &[u8]) -> Claimed<Claim> {
        let fingerprint = fingerprint(body);
        let request = ClaimRequest {
            identity: &self.identity,
            operation: &self.operation,
            fingerprint: &fingerprint,
            attempt,
            ttl: Duration::from_mins(1),
            opening: Opening {
                isolation: Some(Isolation::ReadCommitted),
                deadline: Duration::from_secs(30),
                lease: Some(LEASE),
            },
            seen,
            likely_taken: seen.is_some(),
        };
        self.store.claim(request).await.unwrap()
    }

    pub(crate) async fn first(&self) -> Claim {
        match self.claim(1, None, b"a").await {
            Claimed::Won(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    /// The version of the run that the next claim may take over.
    async fn version(&self) -> Version {
        match self.claim(1, None, b"a").await {
            Claimed::Changed(Some(found)) => {
                assert_eq!(found.record.state, State::FailedRetriable);
                found.record.version()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next attempt, after the lease.
    pub(crate) async fn next(&self) -> Claim {
        let seen = self.version().await;
        match self.claim(seen.attempts + 1, Some(seen), b"a").await {
            Claimed::Won(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn settle(&self, claim: Claim, state: State) -> Result<(), SettleError> {
        let fingerprint = fingerprint(b"a");
        let response = Recorded::default().encode(&self.identity, StatusCode::OK);
        let draft = Draft {
            identity: &self.identity,
            operation: &self.operation,
            state,
            attempts: 1,
            status: StatusCode::OK,
            fingerprint: &fingerprint,
            response: state.is_replayed().then_some(&response[..]),
            ttl: Duration::from_mins(1),
            replaces: None,
        };
        let settlement = Settlement {
            keep_writes: state == State::Succeeded,
            record: Some(draft),
            written: &OnceLock::new(),
        };
        self.store.settle(claim, settlement).await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(self.base.pool())
            .await
            .unwrap()
    }

    async fn effects(&self) -> i64 {
        self.count("SELECT count(*) FROM effects").await
    }

    async fn state(&self) -> Option<State> {
        let found = self.store.find(&self.identity).await.unwrap();
        found.map(|found| found.record.state)
    }
}

/// Inserts an effect, and returns how many there are.
async fn insert(tx: &mut SqliteConnection, label: &str) -> Result<i64, StepError> {
    let insert = sqlx::query("INSERT INTO effects VALUES ($1)").bind(label);
    insert.execute(&mut *tx).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM effects");
    Ok(count.fetch_one(&mut *tx).await.unwrap())
}

async fn over() {
    tokio::time::sleep(LEASE + Duration::from_millis(50)).await;
}

#[tokio::test]
async fn t2_t3_t7_a_retry_gets_the_results_of_finished_steps() {
    let bench = Bench::new().await;
    let calls = AtomicUsize::new(0);
    let keys = std::sync::Mutex::new(Vec::new());
    let call = async |key: super::StepKey| {
        keys.lock().unwrap().push((key.to_string(), key.epoch()));
        Ok::<_, StepError>(calls.fetch_add(1, Ordering::SeqCst))
    };
    let mut claim = bench.first().await;
    let steps = claim.connection();
    let first = steps
        .commit("ride", async |tx| insert(tx, "ride").await)
        .await;
    assert_eq!(first.unwrap(), 1);
    assert_eq!(steps.call("charge", call).await.unwrap(), 0);
    let failed = steps.commit("paid", async |tx| {
        insert(tx, "paid").await?;
        Err::<i64, _>(StepError::Broken)
    });
    failed.await.unwrap_err();
    assert_eq!(bench.effects().await, 1);
    // The process is gone.
    drop(claim);
    assert!(matches!(
        bench.claim(1, None, b"a").await,
        Claimed::InFlight
    ));
    over().await;
    let mut claim = bench.next().await;
    let steps = claim.connection();
    let resumed = steps
        .commit("ride", async |tx| insert(tx, "ride").await)
        .await;
    assert_eq!(resumed.unwrap(), 1);
    assert_eq!(steps.call("charge", call).await.unwrap(), 0);
    let paid = steps
        .commit("paid", async |tx| insert(tx, "paid").await)
        .await;
    assert_eq!(paid.unwrap(), 2);
    let mail = steps.call(("mail", 7), call).await;
    assert_eq!(mail.unwrap(), 1);
    bench.settle(claim, State::Succeeded).await.unwrap();
    assert_eq!(bench.effects().await, 2);
    assert_eq!(bench.state().await, Some(State::Succeeded));
    let left = "SELECT (SELECT count(*) FROM idem_runs) + (SELECT count(*) FROM idem_steps)";
    assert_eq!(bench.count(left).await, 0);
    let keys = keys.into_inner().unwrap();
    assert_eq!((keys[0].1, keys[1].1), (1, 2));
    assert_ne!(keys[0].0, keys[1].0);
}

#[tokio::test]
async fn t5_t13_a_late_holder_writes_nothing() {
    let bench = Bench::new().await;
    let mut late = bench.first().await;
    over().await;
    let mut claim = bench.next().await;
    let steps = late.connection();
    let step = steps
        .commit("ride", async |tx| insert(tx, "late").await)
        .await;
    assert!(matches!(step, Err(StepError::Lost)), "{step:?}");
    let step = steps.call("charge", async |_| Ok::<_, StepError>(1)).await;
    assert!(matches!(step, Err(StepError::Broken)), "{step:?}");
    assert_eq!(late.problem(), Some(Problem::InFlight));
    let late = bench.settle(late, State::Succeeded).await;
    assert!(matches!(late, Err(SettleError::Superseded)), "{late:?}");
    let steps = claim.connection();
    let step = steps
        .commit("ride", async |tx| insert(tx, "ride").await)
        .await;
    assert_eq!(step.unwrap(), 1);
    bench.settle(claim, State::Succeeded).await.unwrap();
}

#[tokio::test]
async fn t5_a_late_holder_settles_nothing_after_the_end() {
    let bench = Bench::new().await;
    let late = bench.first().await;
    over().await;
    let claim = bench.next().await;
    bench.settle(claim, State::FailedFinal).await.unwrap();
    let late = bench.settle(late, State::Succeeded).await;
    assert!(matches!(late, Err(SettleError::Superseded)), "{late:?}");
    assert_eq!(bench.state().await, Some(State::FailedFinal));
}

#[tokio::test]
async fn t1_a_call_renews_the_lease() {
    let bench = Bench::new().await;
    let mut claim = bench.first().await;
    let slow = async |_| {
        tokio::time::sleep(LEASE * 3).await;
        Ok::<_, StepError>("slow".to_owned())
    };
    let call = claim.connection().call("slow", slow);
    let (called, meanwhile) = tokio::join!(call, async {
        over().await;
        over().await;
        bench.claim(1, None, b"a").await
    });
    assert_eq!(called.unwrap(), "slow");
    assert!(matches!(meanwhile, Claimed::InFlight), "{meanwhile:?}");
}

/// Otherwise the renewals of the next call come too late, and another attempt takes over.
#[tokio::test]
async fn t1_a_lease_is_counted_from_the_beginning_of_a_step() {
    const WORK: Duration = Duration::from_millis(50);
    let bench = Bench::new().await;
    let mut claim = bench.first().await;
    let steps = claim.connection();
    let step = steps.commit("ride", async |_| {
        tokio::time::sleep(WORK).await;
        Ok::<_, StepError>(())
    });
    step.await.unwrap();
    assert!(steps.renewed.elapsed() >= WORK);
}

#[tokio::test]
async fn t1_a_lease_that_is_due_is_renewed_before_another_service_is_asked() {
    let leased_until =
        async |bench: &Bench| bench.count("SELECT leased_until FROM idem_runs").await;
    let bench = Bench::new().await;
    let mut claim = bench.first().await;
    let lost = async |_| Err::<i64, _>(StepError::Broken);
    let never = async |_| panic!("it is the first call");
    let step = claim.connection().call_once("sms", lost, never);
    step.await.unwrap_err();
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    let mut claim = bench.next().await;
    let before = leased_until(&bench).await;
    // The clock of SQLite counts milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let steps = claim.connection();
    steps.renewed -= LEASE;
    let again = async |_| panic!("it has happened");
    let recover = async |_| Ok::<_, StepError>(Recovered::Found(leased_until(&bench).await));
    let asked = steps.call_once("sms", again, recover).await.unwrap();
    assert!(asked > before, "{asked} is not after {before}");
}

#[tokio::test]
async fn t8_a_run_binds_its_key() {
    let bench = Bench::new().await;
    let _claim = bench.first().await;
    let Claimed::Changed(Some(found)) = bench.claim(1, None, b"b").await else {
        panic!("another body is refused while the first request runs");
    };
    assert!(!found.record.fingerprint.matches(&fingerprint(b"b")));
}

#[tokio::test]
async fn t4_a_call_that_may_have_happened_is_not_made_again() {
    let bench = Bench::new().await;
    let calls = AtomicUsize::new(0);
    let call = async |_| {
        calls.fetch_add(1, Ordering::SeqCst);
        Err::<u8, _>(StepError::Broken)
    };
    let unknown = async |_| Ok(Recovered::Unknown);
    let mut claim = bench.first().await;
    let steps = claim.connection();
    // The call's own error leaves the intent.
    steps.call_once("sms", call, unknown).await.unwrap_err();
    drop(claim);
    for _ in 0..2 {
        over().await;
        let mut claim = bench.next().await;
        let step = claim.connection().call_once("sms", call, unknown).await;
        assert!(matches!(step, Err(StepError::Uncertain(_))), "{step:?}");
        assert_eq!(claim.problem(), Some(Problem::StepUncertain));
        bench.settle(claim, State::FailedRetriable).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let mut claim = bench.next().await;
    let absent = async |_| Ok(Recovered::Absent);
    let again = async |_| Ok::<_, StepError>(calls.fetch_add(1, Ordering::SeqCst));
    let step = claim.connection().call_once("sms", again, absent).await;
    assert_eq!(step.unwrap(), 1);
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    let mut claim = bench.next().await;
    let never = async |_| panic!("the result is recorded");
    let step = claim.connection().call_once("sms", again, never).await;
    assert_eq!(step.unwrap(), 1);
}

#[tokio::test]
async fn t4_a_call_that_is_found_is_recorded() {
    let bench = Bench::new().await;
    let mut claim = bench.first().await;
    let lost = async |_| Err::<u8, _>(StepError::Broken);
    let never = async |_| panic!("it is the first call");
    claim
        .connection()
        .call_once("sms", lost, never)
        .await
        .unwrap_err();
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    let mut claim = bench.next().await;
    let again = async |_| panic!("it has happened");
    let found = async |_| Ok::<_, StepError>(Recovered::Found(5_u8));
    assert_eq!(
        claim
            .connection()
            .call_once("sms", again, found)
            .await
            .unwrap(),
        5
    );
    bench.settle(claim, State::Succeeded).await.unwrap();
}

#[tokio::test]
async fn t11_names_and_types_of_steps_are_checked() {
    let bench = Bench::new().await;
    let mut claim = bench.first().await;
    let text = async |_| Ok::<_, StepError>("text".to_owned());
    claim.connection().call("a", text).await.unwrap();
    let twice = claim.connection().call("a", text).await;
    assert!(matches!(twice, Err(StepError::Misused { .. })), "{twice:?}");
    assert_eq!(claim.problem(), Some(Problem::Misconfigured));
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    let mut claim = bench.next().await;
    let kind = claim
        .connection()
        .commit("a", async |tx| insert(tx, "a").await)
        .await;
    assert!(matches!(kind, Err(StepError::Misused { .. })), "{kind:?}");
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    let mut claim = bench.next().await;
    let number = async |_| Ok::<_, StepError>(7);
    let other = claim.connection().call("a", number).await;
    assert!(matches!(other, Err(StepError::Unreadable(..))), "{other:?}");
    assert_eq!(claim.problem(), Some(Problem::RecordUnreadable));
}

#[tokio::test]
async fn o14_a_closure_that_ends_its_transaction_is_final() {
    for end in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let bench = Bench::new().await;
        let mut claim = bench.first().await;
        let step = claim.connection().commit("ride", async |tx| {
            insert(tx, "ride").await?;
            sqlx::raw_sql(end).execute(&mut *tx).await.unwrap();
            Ok::<_, StepError>(())
        });
        let step = step.await;
        assert!(matches!(step, Err(StepError::Ended)), "{end}: {step:?}");
        let settled = bench.settle(claim, State::FailedRetriable).await;
        assert!(
            matches!(settled, Err(SettleError::Ended)),
            "{end}: {settled:?}"
        );
        assert_eq!(bench.state().await, Some(State::Ended), "{end}");
        assert_eq!(bench.count("SELECT count(*) FROM idem_steps").await, 0);
    }
}

#[tokio::test]
async fn t2_a_step_that_can_not_be_recorded_is_undone() {
    let bench = Bench::new().await;
    let full =
        "CREATE TRIGGER full BEFORE INSERT ON idem_steps BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(full).execute(bench.base.pool()).await.unwrap();
    let mut claim = bench.first().await;
    let step = claim
        .connection()
        .commit("ride", async |tx| insert(tx, "ride").await);
    let step = step.await;
    assert!(matches!(step, Err(StepError::Store(_))), "{step:?}");
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    assert_eq!(bench.effects().await, 0);
}

#[tokio::test]
async fn t9_t10_runs_are_purged_erased_and_forgotten() {
    let bench = Bench::new().await;
    let mut claim = bench.first().await;
    let step = claim
        .connection()
        .call("a", async |_| Ok::<_, StepError>(1));
    step.await.unwrap();
    assert_eq!(bench.store.purge_expired(10).await.unwrap().records, 0);
    assert_eq!(
        bench.store.forget(&bench.identity).await.unwrap(),
        crate::Forgotten::InFlight
    );
    drop(claim);
    let expire = "UPDATE idem_runs SET leased_until = 1, expires_at = 1";
    sqlx::query(expire)
        .execute(bench.base.pool())
        .await
        .unwrap();
    // An expired run binds nothing, and its steps are forgotten.
    let Claimed::Won(mut claim) = bench.claim(1, None, b"b").await else {
        panic!("the run has expired");
    };
    let step = claim
        .connection()
        .call("a", async |_| Ok::<_, StepError>(2));
    assert_eq!(step.await.unwrap(), 2);
    drop(claim);
    sqlx::query(expire)
        .execute(bench.base.pool())
        .await
        .unwrap();
    let purged = bench.store.purge_expired(10).await.unwrap();
    assert_eq!(purged.records, 1);
    assert!(!purged.held.is_zero(), "nobody else could write");
    assert_eq!(bench.count("SELECT count(*) FROM idem_steps").await, 0);
    let mut claim = bench.first().await;
    let step = claim
        .connection()
        .call("a", async |_| Ok::<_, StepError>(3));
    step.await.unwrap();
    let scope = ScopeDigest::new(Some("acme"));
    assert_eq!(bench.store.erase(&scope).await.unwrap(), 1);
    assert_eq!(bench.count("SELECT count(*) FROM idem_steps").await, 0);
    let step = claim
        .connection()
        .call("b", async |_| Ok::<_, StepError>(4));
    let step = step.await;
    assert!(matches!(step, Err(StepError::Lost)), "{step:?}");
}

/// The futures of steps can move between threads.
#[tokio::test]
async fn steps_are_send() {
    let bench = Bench::new().await;
    let mut claim = bench.first().await;
    let task = tokio::spawn(async move {
        let steps: &mut Steps<SqliteConnection> = claim.connection();
        let label = String::from("ride");
        let first = steps
            .commit("ride", async |tx| insert(tx, &label).await)
            .await?;
        steps
            .call("charge", async |key| {
                Ok::<_, StepError>((key.to_string(), first))
            })
            .await
    });
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn t4_an_operator_sees_and_resolves_an_uncertain_call() {
    let bench = Bench::new().await;
    let engine = Engine::new(bench.store.clone());
    let key = IdempotencyKey::parse(b"k").unwrap();
    let of = (Some("acme"), &bench.operation, &key);
    let resolve = async |step: &str, resolution| {
        let resolved = engine
            .resolve_step(of.0, of.1, of.2, step, resolution)
            .await;
        resolved.unwrap()
    };
    assert_eq!(engine.find_run(of.0, of.1, of.2).await.unwrap(), None);
    assert_eq!(
        resolve("sms", Resolution::Found(&5)).await,
        Resolved::Missing
    );
    let mut claim = bench.first().await;
    let steps = claim.connection();
    steps
        .commit("ride", async |tx| insert(tx, "ride").await)
        .await
        .unwrap();
    let lost = async |_| Err::<u8, _>(StepError::Broken);
    let never = async |_| panic!("it is the first call");
    steps.call_once("sms", lost, never).await.unwrap_err();
    let runs = engine.unfinished_runs(10).await.unwrap();
    assert_eq!(runs.len(), 1);
    let run = engine.find_run(of.0, of.1, of.2).await.unwrap().unwrap();
    assert!(run.is_leased());
    assert_eq!(
        (run.operation.as_str(), run.attempts),
        (bench.operation.as_str(), 1)
    );
    let steps: Vec<_> = run
        .steps
        .iter()
        .map(|step| (&*step.name, step.kind, step.is_uncertain))
        .collect();
    assert_eq!(
        steps,
        [("ride", "commit", false), ("sms", "call_once", true)]
    );
    assert_eq!(
        resolve("sms", Resolution::Found(&5)).await,
        Resolved::InFlight
    );
    bench.settle(claim, State::FailedRetriable).await.unwrap();
    assert_eq!(
        resolve("ride", Resolution::Absent).await,
        Resolved::Missing,
        "it has a result"
    );
    assert_eq!(resolve("sms", Resolution::Found(&5)).await, Resolved::Done);
    assert_eq!(resolve("sms", Resolution::Absent).await, Resolved::Missing);
    let mut claim = bench.next().await;
    let step = claim.connection().call_once("sms", lost, never).await;
    assert_eq!(step.unwrap(), 5);
    bench.settle(claim, State::FailedRetriable).await.unwrap();
}
