//! The PostgreSQL store: records whose lock is held, and rows that can't be read.

use std::time::Duration;

use idem_tests::{
    Act, Domain as _, Framework, Postgres, Reply, Scene, Settings, World, conformance,
};
use tokio::time::timeout;

conformance![
    on Postgres:
    r2_record_whose_lock_is_held_is_replayed_at_once,
    c2_retriable_record_whose_lock_is_held_is_in_flight,
    c2_retriable_record_whose_lock_is_held_is_in_flight_without_a_procedure,
    p1_row_with_a_value_that_does_not_fit_is_unreadable,
    o14_transaction_handler_that_fails_after_an_sql_error_logs_nothing_more,
];

/// The advisory lock of the only record.
const LOCK: &str = "SELECT count(pg_advisory_xact_lock( \
     ('x' || encode(substring(identity FROM 17 FOR 8), 'hex'))::bit(64)::bigint)) FROM idem.records";

/// As another instance's short read of the record does.
async fn r2_record_whose_lock_is_held_is_replayed_at_once<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/hasty").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let mut holder = world.observe().await;
    holder.run("BEGIN").await.expect("begins");
    assert_eq!(holder.number(LOCK).await.expect("locks"), 1);
    let elsewhere = request.to(other.address);
    // The first claims without a read, the second reads first.
    for _ in 0..2 {
        elsewhere.send().await.assert_replays(&first);
    }
    holder.run("ROLLBACK").await.expect("ends");
}

async fn is_in_flight<F: Framework<Postgres>>(world: &World<F, Postgres>, settings: Settings) {
    let one = world.instance_with(settings.clone()).await;
    let other = world.instance_with(settings).await;
    let fails = Scene::effect().answer(Reply::new(500));
    world.control.play([fails, Scene::gated()]);
    let request = one.post("/hasty").key("k").effect("a");
    request.send().await.assert_executed(500);
    let retry = request.start();
    world.control.at_gate(1).await;
    let elsewhere = request.to(other.address);
    for _ in 0..2 {
        let answer = timeout(Duration::from_secs(5), elsewhere.send()).await;
        let answer = answer.expect("a request that must not wait does not wait");
        answer.assert_problem("in-flight");
    }
    world.control.open(1);
    let retry = retry.answer().await;
    retry.assert_executed(201);
    elsewhere.send().await.assert_replays(&retry);
}

async fn c2_retriable_record_whose_lock_is_held_is_in_flight<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    is_in_flight(world, Settings::default()).await;
}

async fn c2_retriable_record_whose_lock_is_held_is_in_flight_without_a_procedure<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    world
        .run(
            "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO pg_signal_backend', \
             current_database()); END $$; \
             GRANT ALL ON effects TO pg_signal_backend; \
             REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        )
        .await;
    let mut plain = Settings::default();
    plain.wires.session = |options| options.options([("role", "pg_signal_backend")]);
    is_in_flight(world, plain).await;
}

async fn p1_row_with_a_value_that_does_not_fit_is_unreadable<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance().await;
    let alter = |column: &str| format!("ALTER TABLE idem.records ALTER {column}");
    let changes = [
        "UPDATE idem.records SET expires_at = 'infinity'".to_owned(),
        "UPDATE idem.records SET settled_at = '-infinity'".to_owned(),
        format!(
            "{} TYPE integer; UPDATE idem.records SET status = 70000",
            alter("status")
        ),
        format!(
            "{} DROP NOT NULL; UPDATE idem.records SET fingerprint = NULL",
            alter("fingerprint")
        ),
        format!("{} TYPE text USING state::text", alter("state")),
    ];
    for (number, change) in changes.iter().enumerate() {
        let other = world.instance().await;
        let request = instance.post("/hasty").effect("a");
        let request = request.key(format!("key-{number}"));
        request.send().await.assert_executed(201);
        world.run(change).await;
        // The first process reads before it claims, the second claims at once.
        for address in [instance.address, other.address] {
            let retry = request.clone().to(address).send().await;
            retry.assert_problem("record-unreadable");
            retry.assert_retryable(false);
        }
        assert_eq!(world.control.entries(), number + 1);
        assert_eq!(instance.engine.purge_expired().await.expect("purges"), 0);
        let erased = instance.engine.erase(Some("acme")).await;
        assert_eq!(erased.expect("erases"), 1, "{change}");
        let undo = [
            format!("{} TYPE smallint", alter("status")),
            format!("{} SET NOT NULL", alter("fingerprint")),
            format!("{} TYPE smallint USING state::smallint", alter("state")),
        ];
        world.run(undo.join("; ")).await;
    }
}

/// The savepoint of a handler's `sqlx::Transaction` is rolled back, and not released: that would be one
/// more error in the server's log.
async fn o14_transaction_handler_that_fails_after_an_sql_error_logs_nothing_more<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let recorder = idem_tests::Recorder::to(idem_tests::Served::address(&world.database)).await;
    let mut settings = Settings::default();
    settings.wires.connections = 1;
    settings.wires.through = Some(recorder.address);
    let instance = world.instance_with(settings).await;
    let request = instance.post("/transaction").key("k").effect("a");
    let wrong = Act::Run("INSERT INTO no_such_table VALUES (1)".to_owned());
    world.control.play([Scene::new([Act::Insert, wrong])]);
    recorder.take();
    request.send().await.assert_executed(500);
    drop(instance.whole_pool().await);
    let exchanges = recorder.take();
    let is_sent = |text: &str| {
        let mut messages = exchanges.iter().flat_map(|exchange| &exchange.messages);
        messages.any(|message| message.has(text.as_bytes()))
    };
    assert!(is_sent("ROLLBACK TO SAVEPOINT _sqlx_savepoint_1"));
    assert!(!is_sent("RELEASE SAVEPOINT"));
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}
