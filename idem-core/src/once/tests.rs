use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use futures_util::future::{Either, select};
use serde::Deserialize;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::*;
use crate::adapter::BeforeHandler;
use crate::config::Config;
use crate::key::{KeyError, KeyRule};
use crate::problem::tests::ALL;
use crate::{SqliteStore, StepStore};

static POLICY: Policy = Policy::new("work", Duration::from_hours(1));
static ANYTHING: Policy = Policy::new("work", Duration::from_hours(1)).without_fingerprint();
static LEASED: Policy =
    Policy::new("work", Duration::from_hours(1)).with_lease(Duration::from_secs(1));
static LONG_LEASE: Policy =
    Policy::new("work", Duration::from_hours(1)).with_lease(Duration::from_hours(1));
static SHORT: Policy = Policy::new("work", Duration::from_hours(1)).with_response_limit(3);

async fn store() -> SqliteStore {
    let store = SqliteStore::in_memory().await.unwrap();
    let table = sqlx::query("CREATE TABLE effects (label TEXT)");
    table.execute(store.pool()).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn engine() -> Engine<SqliteStore> {
    Engine::new(store().await)
}

async fn insert(tx: &mut SqliteConnection, label: &str) -> sqlx::Result<()> {
    let insert = sqlx::query("INSERT INTO effects VALUES (?)").bind(label);
    insert.execute(tx).await.map(drop)
}

async fn effects(engine: &Engine<SqliteStore>) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM effects");
    count.fetch_one(engine.store().pool()).await.unwrap()
}

fn key() -> Key {
    Key::new("acme", 7)
}

/// One call whose closure inserts an effect and then ends as it says.
async fn call<V, F>(
    engine: &Engine<SqliteStore>,
    policy: &'static Policy,
    payload: &str,
    end: impl FnOnce(u32) -> Result<V, Failure<sqlx::Error, F>>,
) -> Result<Once<V>, Error<sqlx::Error, F>>
where
    V: Serialize + DeserializeOwned,
    F: Serialize + DeserializeOwned,
{
    let work = async |tx: &mut SqliteConnection, attempt: &Attempt| {
        insert(tx, payload).await?;
        end(attempt.number())
    };
    engine.once(policy, key(), payload, work).await
}

async fn number(
    engine: &Engine<SqliteStore>,
    policy: &'static Policy,
    payload: &str,
) -> Result<Once<u32>, Error<sqlx::Error>> {
    call(engine, policy, payload, Ok).await
}

fn refused<V, E, F>(result: Result<V, Error<E, F>>) -> Problem {
    match result {
        Err(Error::Refused(problem)) => problem,
        Err(error) => panic!("{:?}", error.problem()),
        Ok(_) => panic!("there is a value"),
    }
}

#[tokio::test]
async fn n1_first_value_is_the_one_that_is_read_each_time() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lossy {
        kept: u8,
        #[serde(skip)]
        skipped: u8,
    }

    let engine = engine().await;
    let (kept, skipped) = (1, 2);
    let first = call::<_, ()>(&engine, &POLICY, "a", |_| Ok(Lossy { kept, skipped })).await;
    assert_eq!(first.unwrap(), Once::Fresh(Lossy { kept, skipped: 0 }));
    let again = call::<_, ()>(&engine, &POLICY, "a", |_| Ok(Lossy { kept: 9, skipped })).await;
    assert_eq!(again.unwrap(), Once::Replayed(Lossy { kept, skipped: 0 }));
    assert_eq!(effects(&engine).await, 1);
}

#[tokio::test]
async fn n1_value_that_can_not_be_written_or_read_again_keeps_nothing() {
    #[derive(Serialize, Deserialize)]
    struct OneWay {
        #[serde(skip_serializing)]
        _hidden: u8,
    }

    let engine = engine().await;
    let unwritable = |_| Ok(BTreeMap::from([((1, 2), 3)]));
    let written = call::<_, ()>(&engine, &POLICY, "a", unwritable).await;
    assert_eq!(refused(written), Problem::Misconfigured);
    let unreadable = call::<_, ()>(&engine, &POLICY, "a", |_| Ok(OneWay { _hidden: 1 })).await;
    assert_eq!(refused(unreadable), Problem::Misconfigured);
    let failure = |_| Err(Failure::Final(OneWay { _hidden: 1 }));
    let failed = call::<(), _>(&engine, &POLICY, "a", failure).await;
    assert_eq!(refused(failed), Problem::Misconfigured);
    assert_eq!(effects(&engine).await, 0);
    assert!(number(&engine, &POLICY, "a").await.is_ok());
}

#[tokio::test]
async fn n5_record_of_another_type_is_never_made_again() {
    let engine = engine().await;
    number(&engine, &POLICY, "a").await.unwrap();
    let text = call::<String, ()>(&engine, &POLICY, "a", |_| Ok(String::new())).await;
    assert_eq!(refused(text), Problem::RecordUnreadable);
    assert_eq!(effects(&engine).await, 1);
}

#[tokio::test]
async fn l1_value_above_the_limit_keeps_nothing() {
    let engine = engine().await;
    let long = call::<_, ()>(&engine, &SHORT, "a", |_| Ok("ab".to_owned())).await;
    assert_eq!(refused(long), Problem::ResponseTooLarge);
    assert_eq!(effects(&engine).await, 0);
    let short = call::<_, ()>(&engine, &SHORT, "a", |_| Ok("a".to_owned())).await;
    assert_eq!(short.unwrap(), Once::Fresh("a".to_owned()));
}

#[tokio::test]
async fn n2_final_failure_without_data_is_replayed_and_again_is_not_recorded() {
    let engine = engine().await;
    let again = |_| Err(Failure::Again(sqlx::Error::WorkerCrashed));
    let failed = call::<u32, ()>(&engine, &POLICY, "a", again)
        .await
        .unwrap_err();
    assert!(matches!(failed, Error::Again(sqlx::Error::WorkerCrashed)));
    assert!(failed.is_retryable());
    // It binds the key (rule M4).
    let other = number(&engine, &POLICY, "other").await.unwrap_err();
    assert!(matches!(other, Error::KeyReused));
    let dead = |number| Err(Failure::Final(number));
    for _ in 0..2 {
        let failed = call::<(), _>(&engine, &POLICY, "a", dead)
            .await
            .unwrap_err();
        assert!(matches!(failed, Error::Final(2)));
        assert!(!failed.is_retryable());
    }
    assert_eq!(effects(&engine).await, 0);
}

/// Those of `docs/fingerprint.md`.
const GOLDEN: &str = "905db37f86868e9ab61579afa38e4e00e2e068c3f41ece196d78bbae1ce26d79";
const GOLDEN_NOTHING: &str = "27478c10922ce7c59614dc5533e263c85cb289746b9bd07e75e904370c53f57c";

#[test]
fn n3_fingerprints_are_stable_across_releases() {
    let of = |content, target| {
        let bytes = fingerprint(&content, None, target, None).to_bytes();
        assert_eq!(bytes[1..33], bytes[33..]);
        crate::digest::hex(&bytes[1..33])
    };
    let payload = Content::of(&BTreeMap::from([("order", 7)])).unwrap();
    assert_eq!(of(payload, BoundTarget::Exact), GOLDEN);
    assert_eq!(of(Content::None, BoundTarget::Nothing), GOLDEN_NOTHING);
}

#[tokio::test]
async fn n3_payload_binds_the_key_unless_the_policy_says_otherwise() {
    let engine = engine().await;
    assert_eq!(number(&engine, &POLICY, "a").await.unwrap(), Once::Fresh(1));
    let other = number(&engine, &POLICY, "b").await.unwrap_err();
    assert!(matches!(other, Error::KeyReused));
    assert!(!other.is_retryable());

    let engine = Engine::new(store().await);
    for (payload, expected) in [("a", Once::Fresh(1)), ("b", Once::Replayed(1))] {
        let answered = number(&engine, &ANYTHING, payload).await;
        assert_eq!(answered.unwrap(), expected);
    }
}

#[tokio::test]
async fn n4_record_of_a_request_is_a_mismatch() {
    static BINDS: policy::Policy = policy::Policy::new(Duration::from_hours(1));

    for (policy, content) in [
        (&POLICY, Content::of("a").unwrap()),
        (&ANYTHING, Content::None),
    ] {
        let engine = engine().await;
        let target = policy.policy.target;
        let parts = RequestParts {
            method: "",
            path: "",
            query: None,
            raw: None,
        };
        let binding = Binding {
            target,
            headers: &[],
        };
        let request = |key: &str| {
            let fingerprint = Fingerprint::bound(parts, &content, binding, None);
            let key = IdempotencyKey::whole(key).ok();
            let scope = Some("acme".to_owned());
            Prepared::new(&BINDS, scope, policy.operation(), key, fingerprint)
        };
        let turn = admit(&engine, request("7")).await.unwrap();
        let answered = async |_, _| HandlerOutcome::Answered {
            response: with_body(DONE, Bytes::from_static(b"1")),
            settle: Ok(Settle::Commit),
            closed: Ok(()),
        };
        turn.run(answered).await;
        let error = number(&engine, policy, "a").await.unwrap_err();
        assert!(matches!(error, Error::KeyReused));
        assert_eq!(effects(&engine).await, 0);

        let unused = Key::new("acme", 8);
        let work = async |_: &mut _, _: &_| Ok::<_, Failure<Infallible>>(1);
        engine.once(policy, unused, "a", work).await.unwrap();
        let turn = admit(&engine, request("8")).await.unwrap();
        let response = turn.run(answered).await;
        assert_eq!(response.extensions().get(), Some(&Problem::KeyReused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n6_future_that_borrows_can_be_spawned() {
    struct Consumer {
        engine: Engine<SqliteStore>,
        label: String,
    }

    impl Consumer {
        async fn handle(&self, payload: &str) -> Result<Once<u32>, Error<sqlx::Error>> {
            let once = self
                .engine
                .once(&POLICY, key(), payload, async |tx, attempt| {
                    insert(tx, &self.label).await?;
                    Ok(attempt.number())
                });
            once.await
        }
    }

    let (engine, label) = (engine().await, "a".to_owned());
    let consumer = Arc::new(Consumer { engine, label });
    let deliveries: Vec<_> = (0..8)
        .map(|_| {
            let consumer = Arc::clone(&consumer);
            tokio::spawn(async move { consumer.handle("payload").await })
        })
        .collect();
    let mut fresh = 0;
    for delivery in deliveries {
        let once = delivery.await.unwrap().unwrap();
        fresh += u32::from(matches!(once, Once::Fresh(_)));
        assert_eq!(once.into_inner(), 1);
    }
    assert_eq!((fresh, effects(&consumer.engine).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn n6_future_of_any_store_can_be_spawned() {
    async fn spawned<S: Store<Connection: Send>>(engine: Engine<S>) -> Once<usize> {
        let label = "a".to_owned();
        let work = async move {
            let once = engine.once(&POLICY, key(), "a", async |_, _| {
                tokio::task::yield_now().await;
                Ok::<_, Failure<Infallible>>(label.len())
            });
            once.await.unwrap()
        };
        tokio::spawn(work).await.unwrap()
    }

    assert_eq!(spawned(engine().await).await, Once::Fresh(1));
}

#[tokio::test]
async fn n6_future_that_is_dropped_leaves_no_trace() {
    let engine = engine().await;
    let (inserted, is_inserted) = oneshot::channel();
    let hangs = async |tx: &mut SqliteConnection, _: &Attempt| {
        insert(tx, "a").await?;
        inserted.send(()).unwrap();
        pending::<Result<u32, Failure<sqlx::Error>>>().await
    };
    let call = Box::pin(engine.once(&POLICY, key(), "a", hangs));
    let Either::Right((_, call)) = select(call, is_inserted).await else {
        panic!("the closure hangs");
    };
    let drained = engine.clone().drain_for(Duration::ZERO).await;
    assert!(drained.is_err(), "a drain waits for the attempt");
    drop(call);
    engine.drain().await;
    assert_eq!(effects(&engine).await, 0);
    let next = Engine::new(engine.store().clone());
    assert_eq!(number(&next, &POLICY, "a").await.unwrap(), Once::Fresh(1));
}

#[tokio::test]
async fn n7_hook_runs_without_a_request() {
    let hook = BeforeHandler::new(|tx: &mut SqliteConnection, attempt, _: &Extensions| {
        let scope = attempt.scope().unwrap_or_default().to_owned();
        Box::pin(async move { Ok(insert(tx, &scope).await?) })
    });
    let engine = engine().await.with_before_handler(hook);
    for _ in 0..2 {
        number(&engine, &POLICY, "a").await.unwrap();
    }
    assert_eq!(effects(&engine).await, 2, "the hook's and the closure's");
}

#[tokio::test]
async fn n7_hook_that_needs_a_request_refuses() {
    let hook =
        BeforeHandler::new(|_: &mut SqliteConnection, _, _: &String| Box::pin(async { Ok(()) }));
    let engine = engine().await.with_before_handler(hook);
    let refusal = refused(number(&engine, &POLICY, "a").await);
    assert_eq!(refusal, Problem::Misconfigured);
    assert_eq!(effects(&engine).await, 0);
}

#[tokio::test]
async fn k3_k7_text_that_is_not_a_key_is_refused() {
    let config = Config::new().with_key_rule(KeyRule::min_length(3));
    let engine = Engine::with_config(store().await, config);
    let work = async |_: &mut SqliteConnection, _: &Attempt| Ok::<_, Failure<Infallible>>(1);
    for (text, expected) in [
        ("", KeyError::Empty),
        ("a b", KeyError::Character),
        ("\"abc\"", KeyError::Character),
        ("ab", KeyError::TooShort(3)),
    ] {
        let refused = engine.once(&POLICY, Key::unscoped(text), "a", work).await;
        assert_eq!(refused, Err(Error::KeyMalformed(expected)));
    }
    let ownerless = engine.once(&POLICY, Key::new("", "abc"), "a", work).await;
    assert_eq!(refused(ownerless), Problem::Misconfigured);
    let settled = engine.once(&POLICY, Key::unscoped("abc"), "a", work).await;
    assert_eq!(settled, Ok(Once::Fresh(1)));
}

#[tokio::test]
async fn t1_lease_is_for_steps_and_shorter_than_the_deadline() {
    let engine = engine().await;
    let leased = number(&engine, &LEASED, "a").await;
    assert_eq!(refused(leased), Problem::Misconfigured);
    let steps = StepStore::<SqliteConnection>::new(engine.store().clone());
    steps.migrate().await.unwrap();
    let steps = Engine::new(steps);
    for policy in [&POLICY, &LONG_LEASE] {
        let done = steps.once(policy, key(), "a", async |_, _| {
            Ok::<_, Failure<Infallible>>(1)
        });
        assert_eq!(refused(done.await), Problem::Misconfigured);
    }
    let done = steps.once(&LEASED, key(), "a", async |_, _| {
        Ok::<_, Failure<Infallible>>(1)
    });
    assert_eq!(done.await, Ok(Once::Fresh(1)));
}

#[test]
fn p4_every_problem_is_an_error_that_says_the_same() {
    for problem in ALL {
        let error = Error::<Infallible>::from(problem);
        assert_eq!(error.problem(), Some(problem));
        assert_eq!(error.is_retryable(), problem.retryable());
        let seconds = error.retry_after().map(|after| after.as_secs());
        assert_eq!(seconds, problem.retry_after());
    }
}
