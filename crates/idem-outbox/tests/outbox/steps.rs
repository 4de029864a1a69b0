//! Handlers in steps, places, late relays and metrics, on SQLite.

use std::collections::BTreeSet;
use std::time::Duration;

use idem_core::once::{Failure, Key, Once, Policy};
use idem_core::{Attempt, Engine, SqliteStore, StepError, StepStore, Steps};
use idem_outbox::{Outbox, PushError, Relay};
use metrics_exporter_prometheus::PrometheusBuilder;
use sqlx::SqliteConnection;

use crate::site::Broker;

static RIDE: Policy = Policy::new("ride", Duration::from_hours(1))
    .with_lease(Duration::from_secs(2))
    .with_deadline(Duration::from_secs(10));

static ORDER: Policy = Policy::new("order", Duration::from_hours(1));

#[derive(Debug, thiserror::Error)]
enum RideError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("the handler has failed between two steps")]
    Between,
}

type Ended = Result<(), Failure<RideError, String>>;

#[tokio::test]
async fn steps_push_named_messages_once_and_the_same_in_each_attempt() {
    let store = SqliteStore::in_memory().await.unwrap();
    let outbox = Outbox::new(store.clone());
    outbox.migrate().await.unwrap();
    let steps = StepStore::new(store);
    steps.migrate().await.unwrap();
    let engine = Engine::new(steps);
    for fails in [true, false] {
        let ride = async |steps: &mut Steps<SqliteConnection>, attempt: &Attempt| -> Ended {
            for step in ["booked", "paid"] {
                let push = async |tx: &mut SqliteConnection| -> Result<(), RideError> {
                    let unnamed = outbox.push(tx, attempt, "rides", step).await;
                    assert!(matches!(unnamed, Err(PushError::Unnamed)), "{unnamed:?}");
                    outbox.push(tx, attempt, ("rides", step), step).await?;
                    Ok(())
                };
                steps.commit(step, push).await?;
                if fails {
                    return Err(Failure::Again(RideError::Between));
                }
            }
            Ok(())
        };
        let ended = engine
            .once(&RIDE, Key::new("acme", "a"), "payload", ride)
            .await;
        assert_eq!(ended.is_err(), fails, "{ended:?}");
        assert_eq!(
            outbox.stats().await.unwrap().pending,
            if fails { 1 } else { 2 }
        );
    }
    let broker = Broker::default();
    let relay = Relay::new(outbox, async |message| {
        broker.keep(message);
        Ok(())
    });
    assert_eq!(relay.run_once().await.unwrap().published, 2);
    let ids: BTreeSet<String> = broker.ids().into_iter().collect();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn prefix_of_the_store_is_that_of_the_outbox() {
    let store = SqliteStore::in_memory().await.unwrap();
    let billing = store.clone().try_with_table_prefix("billing_").unwrap();
    let (mine, theirs) = (Outbox::new(store), Outbox::new(billing.clone()));
    mine.migrate().await.unwrap();
    theirs.migrate().await.unwrap();
    billing.migrate().await.unwrap();
    let engine = Engine::new(billing);
    let push = async |tx: &mut SqliteConnection,
                      attempt: &Attempt|
           -> Result<(), Failure<PushError, ()>> {
        theirs.push(tx, attempt, "orders", "a").await?;
        Ok(())
    };
    let pushed = engine
        .once(&ORDER, Key::new("acme", "a"), "payload", push)
        .await;
    assert_eq!(pushed.unwrap(), Once::Fresh(()));
    let pending = [
        mine.stats().await.unwrap().pending,
        theirs.stats().await.unwrap().pending,
    ];
    assert_eq!(pending, [0, 1]);
    let table = "SELECT count(*) FROM billing_idem_outbox";
    let rows: i64 = sqlx::query_scalar(table)
        .fetch_one(engine.store().pool())
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn failure_after_the_end_of_a_lease_changes_nothing() {
    let store = SqliteStore::in_memory().await.unwrap();
    let pool = store.pool().clone();
    let outbox = Outbox::new(store);
    outbox.migrate().await.unwrap();
    let insert = "INSERT INTO idem_outbox VALUES ('a', 'orders', x'', 0, 1, 1, NULL, NULL)";
    sqlx::query(insert).execute(&pool).await.unwrap();
    let relay = Relay::new(outbox.clone(), async |_| {
        // The process was frozen, and another relay has the message.
        let lease = "UPDATE idem_outbox SET due_at = due_at + 1";
        sqlx::query(lease).execute(&pool).await?;
        Err(idem_outbox::Failure::dead("too late"))
    });
    relay.run_once().await.unwrap();
    assert_eq!(outbox.stats().await.unwrap().dead, 0);
    let failures: i64 = sqlx::query_scalar("SELECT failures FROM idem_outbox")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(failures, 0);
}

#[test]
fn lag_and_dead_letters_are_metrics() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let store = SqliteStore::in_memory().await.unwrap();
            let outbox = Outbox::new(store.clone());
            outbox.migrate().await.unwrap();
            let insert = "INSERT INTO idem_outbox VALUES \
                 ('a', 'orders', x'', 0, 1, 1, NULL, NULL), ('b', 'orders', x'', 3, 1, NULL, 2, 'an error')";
            sqlx::query(insert).execute(store.pool()).await.unwrap();
            outbox.stats().await.unwrap();
            let text = handle.render();
            for line in ["idem_outbox_pending 1", "idem_outbox_dead 1", "idem_outbox_oldest_age 1"] {
                assert!(text.contains(line), "{line} in {text}");
            }
            let relay = Relay::new(outbox.clone(), async |_| Ok(()));
            assert_eq!(relay.run_once().await.unwrap().published, 1);
            outbox.stats().await.unwrap();
            let text = handle.render();
            for line in ["idem_outbox_pending 0", "idem_outbox_published 1", "idem_outbox_oldest_age 0"] {
                assert!(text.contains(line), "{line} in {text}");
            }
        });
    });
}
