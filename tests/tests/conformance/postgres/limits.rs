//! PostgreSQL's own limits, which end an attempt whose process is frozen.

use std::time::{Duration, Instant};

use idem_core::{PostgresStore, TimeLimit};
use idem_tests::{Act, Framework, Postgres, Reply, Scene, Settings, World, conformance};

conformance![
    on Postgres:
    o13_limit_frees_the_key_of_a_frozen_attempt,
    o13_limit_frees_the_key_of_a_frozen_attempt_with_its_record_in_commit,
    o13_limit_frees_the_key_of_an_attempt_that_was_to_fail,
    o13_limit_cancels_a_statement,
    o13_limit_is_a_second_more_than_the_deadline,
    o13_limit_of_the_session_is_kept_where_it_is_stricter,
    o13_limit_of_the_session_is_tightened_where_it_is_not,
    o13_limit_can_be_left_to_the_session,
    k6_limit_of_a_request_without_a_key_is_the_same,
];

fn briefly(store: PostgresStore) -> PostgresStore {
    store.with_time_limit(TimeLimit::Fixed(Duration::from_millis(300)))
}

/// To the server, a handler that waits at the gate is as silent as a frozen process.
async fn frees_the_key<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    postgres: fn(PostgresStore) -> PostgresStore,
    reply: Reply,
) {
    let status = reply.status;
    let frozen = world.instance_with(Settings::of_store(postgres)).await;
    let other = world.instance_with(Settings::of_store(postgres)).await;
    let request = frozen.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated().answer(reply)]);
    let pending = request.start();
    world.control.at_gate(1).await;
    let start = Instant::now();
    let first = request.clone().to(other.address).send().await;
    first.assert_executed(201);
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    world.control.open(1);
    let late = pending.answer().await;
    if status == 201 {
        late.assert_problem("try-again");
    } else {
        late.assert_executed(status);
    }
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.entries(), 2);
}

async fn o13_limit_frees_the_key_of_a_frozen_attempt<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    frees_the_key(world, briefly, Reply::new(201)).await;
}

async fn o13_limit_frees_the_key_of_a_frozen_attempt_with_its_record_in_commit<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let store = |store| briefly(store).with_record_in_commit();
    frees_the_key(world, store, Reply::new(201)).await;
}

async fn o13_limit_frees_the_key_of_an_attempt_that_was_to_fail<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    frees_the_key(world, briefly, Reply::new(500)).await;
}

async fn o13_limit_cancels_a_statement<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    let instance = world.instance_with(Settings::of_store(briefly)).await;
    let request = instance.post("/effects").key("k").effect("a");
    let slow = Act::run("SELECT pg_sleep(10)");
    world.control.play([Scene::new([Act::Insert, slow])]);
    let start = Instant::now();
    let first = request.send().await;
    first.assert_executed(500);
    assert!(first.text().contains("timeout"), "{}", first.text());
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    let retry = request.send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 2);
    assert_eq!(world.effects("acme").await, 1);
}

/// `statement_timeout` and `idle_in_transaction_session_timeout` inside a handler.
async fn limits<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    postgres: fn(PostgresStore) -> PostgresStore,
    path: &str,
) -> String {
    let notes = Act::run(
        "INSERT INTO effects SELECT 'limits', current_setting('statement_timeout') || ' ' || \
         current_setting('idle_in_transaction_session_timeout')",
    );
    world.control.play([Scene::new([notes])]);
    let instance = world.instance_with(Settings::of_store(postgres)).await;
    let request = instance.post(path).effect("a");
    let request = if path == "/optional" {
        request
    } else {
        request.key("k")
    };
    request.send().await.assert_executed(201);
    world
        .text("SELECT label FROM effects WHERE tenant = 'limits'")
        .await
}

async fn o13_limit_is_a_second_more_than_the_deadline<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    assert_eq!(limits(world, |store| store, "/effects").await, "31s 31s");
}

async fn o13_limit_of_the_session_is_kept_where_it_is_stricter<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    world.database.set("statement_timeout = 1500").await;
    assert_eq!(limits(world, |store| store, "/bounded").await, "1500ms 2s");
}

async fn o13_limit_of_the_session_is_tightened_where_it_is_not<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    world.database.set("statement_timeout = '1min'").await;
    world
        .database
        .set("idle_in_transaction_session_timeout = '2min'")
        .await;
    assert_eq!(limits(world, |store| store, "/bounded").await, "2s 2s");
}

async fn o13_limit_can_be_left_to_the_session<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    world.database.set("statement_timeout = '1min'").await;
    let store = |store: PostgresStore| store.with_time_limit(TimeLimit::Session);
    assert_eq!(limits(world, store, "/effects").await, "1min 0");
}

async fn k6_limit_of_a_request_without_a_key_is_the_same<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    assert_eq!(limits(world, |store| store, "/optional").await, "31s 31s");
}
