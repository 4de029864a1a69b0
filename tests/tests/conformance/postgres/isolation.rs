//! The isolation of a handler's transaction.

use idem_core::PostgresStore;
use idem_tests::{
    Act, Framework, Postgres, Reply, Request, Scene, Settings, World, answers, assert_one_executed,
    conformance,
};

conformance![
    on Postgres:
    x19_isolation_is_that_of_the_database_by_default,
    x19_isolation_is_that_of_the_endpoint_whatever_the_database_says,
    o8_keys_on_a_serializable_endpoint_do_not_conflict,
    o8_write_skew_on_a_serializable_endpoint_is_retriable,
    o8_write_skew_with_its_record_in_commit_is_retriable,
    o8_serialization_failure_at_commit_is_retriable,
    o8_deadlock_that_the_handler_answers_is_retriable,
    o8_deadlock_at_commit_is_retriable,
    c1_duplicates_on_a_serializable_endpoint_have_one_effect,
    c1_duplicates_on_a_serializable_endpoint_wait_for_one_that_fails,
    r2_retry_on_a_serializable_endpoint_is_a_replay,
];

/// The isolation that a handler sees.
async fn isolation<F: Framework<Postgres>>(world: &World<F, Postgres>, path: &str) -> String {
    let notes = "INSERT INTO effects SELECT 'isolation', current_setting('transaction_isolation')";
    world.control.play([Scene::new([Act::run(notes)])]);
    let instance = world.instance().await;
    let request = instance.post(path).key("k").effect("a");
    request.send().await.assert_executed(201);
    let seen = "SELECT string_agg(label, ', ') FROM effects WHERE tenant = 'isolation'";
    let seen = world.text(seen).await;
    world.run("TRUNCATE effects, idem.records").await;
    seen
}

async fn x19_isolation_is_that_of_the_database_by_default<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    assert_eq!(isolation(world, "/effects").await, "read committed");
    let setting = "default_transaction_isolation = 'repeatable read'";
    world.database.set(setting).await;
    assert_eq!(isolation(world, "/effects").await, "repeatable read");
}

async fn x19_isolation_is_that_of_the_endpoint_whatever_the_database_says<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    for database in ["read committed", "repeatable read", "serializable"] {
        let setting = format!("default_transaction_isolation = '{database}'");
        world.database.set(&setting).await;
        for (path, level) in [
            ("/read-committed", "read committed"),
            ("/repeatable-read", "repeatable read"),
            ("/serializable", "serializable"),
        ] {
            assert_eq!(isolation(world, path).await, level);
        }
    }
}

/// Their records are on one page of the index.
async fn o8_keys_on_a_serializable_endpoint_do_not_conflict<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance_of(8).await;
    world.control.play(vec![Scene::gated(); 8]);
    let request = instance.post("/serializable").effect("a");
    let keys = (0..8).map(|key| request.clone().key(format!("k{key}")).start());
    let pending: Vec<_> = keys.collect();
    world.control.at_gate(8).await;
    world.control.open(8);
    for answer in answers(pending).await {
        answer.assert_executed(201);
    }
    assert_eq!(world.effects("acme").await, 8);
}

async fn o8_write_skew_on_a_serializable_endpoint_is_retriable<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance().await;
    one_of_two_fails(world, &instance.post("/serializable"), skew()).await;
}

async fn o8_write_skew_with_its_record_in_commit_is_retriable<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let settings = Settings::of_store(PostgresStore::with_record_in_commit);
    let instance = world.instance_with(settings).await;
    one_of_two_fails(world, &instance.post("/serializable"), skew()).await;
}

async fn o8_serialization_failure_at_commit_is_retriable<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let serializable = "default_transaction_isolation = serializable";
    world.database.set(serializable).await;
    let instance = world.instance().await;
    let reads = Act::run("SELECT count(*) FROM effects");
    let scene = Scene::new([reads, Act::Insert, Act::Wait]);
    world.control.play([scene.clone(), scene]);
    let request = instance.post("/patient");
    let requests = ["k1", "k2"].map(|key| request.clone().key(key).effect(key));
    let pending = requests.each_ref().map(Request::start);
    world.control.at_gate(2).await;
    world.control.open(2);
    let mut failed = Vec::new();
    for (pending, request) in pending.into_iter().zip(&requests) {
        let answer = pending.answer().await;
        if answer.status == 201 {
            continue;
        }
        answer.assert_problem("try-again");
        failed.push(request);
    }
    assert_eq!(failed.len(), 1, "one of the two has to fail");
    assert_eq!(world.effects("acme").await, 1);
    failed[0].send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 2);
}

/// Each reads what the other writes.
fn skew() -> [Scene; 2] {
    let reads = Act::run("SELECT count(*) FROM effects");
    let scene = Scene::new([reads, Act::Insert, Act::Wait]);
    [scene.clone(), scene]
}

/// One of two requests with two keys is answered `try-again`, and its retry succeeds.
async fn one_of_two_fails<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    request: &Request,
    scenes: [Scene; 2],
) {
    world.control.play(scenes);
    let requests = ["k1", "k2"].map(|key| request.clone().key(key).effect(key));
    let pending = requests.each_ref().map(Request::start);
    world.control.at_gate(2).await;
    world.control.open(2);
    let mut failed = Vec::new();
    for (pending, request) in pending.into_iter().zip(&requests) {
        let answer = pending.answer().await;
        if answer.status != 201 {
            answer.assert_problem("try-again");
            failed.push(request);
        }
    }
    assert_eq!(failed.len(), 1, "one of the two has to fail");
    assert_eq!(world.effects("acme").await, 1);
    let retry = failed[0].send().await;
    retry.assert_executed(201);
    failed[0].send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 2);
}

async fn o8_deadlock_that_the_handler_answers_is_retriable<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    world
        .run("INSERT INTO names (name) VALUES ('one'), ('other')")
        .await;
    let lock = |name| {
        let lock = format!("SELECT FROM names WHERE name = '{name}' FOR UPDATE");
        Act::Try(lock, Reply::new(500))
    };
    let scene = |first, second| Scene::new([lock(first), Act::Wait, lock(second), Act::Insert]);
    let (one, other) = (scene("one", "other"), scene("other", "one"));
    world.control.play([one, other]);
    let instance = world.instance().await;
    let requests = ["k1", "k2"].map(|key| instance.post("/effects").key(key).effect(key));
    let pending = requests.each_ref().map(Request::start);
    world.control.at_gate(2).await;
    world.control.open(2);
    let answers = answers(pending.into()).await;
    let failed = answers.iter().position(|answer| answer.status == 500);
    let failed = failed.expect("one of the two has to fail");
    answers[failed].assert_executed(500);
    answers[1 - failed].assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
    let retry = requests[failed].send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 2);
    assert_eq!(world.effects("acme").await, 2);
}

/// Deferred triggers lock two rows in opposite order, inside COMMIT. The barrier between their locks is an advisory
/// lock that the test holds.
async fn o8_deadlock_at_commit_is_retriable<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    world
        .run(
            "INSERT INTO names (name) VALUES ('k1'), ('k2'); \
             CREATE FUNCTION entangle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM FROM names WHERE name = NEW.label FOR UPDATE; \
             PERFORM pg_advisory_xact_lock_shared(1); \
             PERFORM FROM names WHERE name <> NEW.label FOR UPDATE; \
             RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER entangled AFTER INSERT ON effects \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION entangle()",
        )
        .await;
    let instance = world.instance().await;
    let mut barrier = world.observe().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(1)")
        .execute(&mut *barrier)
        .await
        .expect("the lock is free");
    let requests = ["k1", "k2"].map(|key| instance.post("/effects").key(key).effect(key));
    let pending = requests.each_ref().map(Request::start);
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while world.number(waiting).await < 2 {
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql("SELECT pg_advisory_unlock(1)")
        .execute(&mut *barrier)
        .await
        .expect("the lock was held");
    let answers = answers(pending.into()).await;
    let failed = answers.iter().position(|answer| answer.status != 201);
    let failed = failed.expect("one of the two has to fail");
    answers[failed].assert_problem("try-again");
    answers[1 - failed].assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
    requests[failed].send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 2);
}

async fn c1_duplicates_on_a_serializable_endpoint_have_one_effect<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    let request = one.post("/serializable").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let pending: Vec<_> = [&one, &other]
        .into_iter()
        .cycle()
        .take(16)
        .map(|instance| request.clone().to(instance.address).start())
        .collect();
    world.control.extracted(16).await;
    world.control.open(1);
    // The handler may be entered again: at this level the server may refuse a commit (O8).
    assert_one_executed(&answers(pending).await);
    assert_eq!(world.effects("acme").await, 1);
}

async fn c1_duplicates_on_a_serializable_endpoint_wait_for_one_that_fails<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let (one, other) = (world.instance_of(2).await, world.instance_of(2).await);
    let request = one.post("/serializable").key("k").effect("a");
    let fails = Scene::gated().answer(Reply::new(500));
    world.control.play([fails]);
    let first = request.start();
    world.control.at_gate(1).await;
    let pending: Vec<_> = [&one, &other]
        .into_iter()
        .cycle()
        .take(8)
        .map(|instance| request.clone().to(instance.address).start())
        .collect();
    world.control.extracted(9).await;
    world.control.open(1);
    first.answer().await.assert_executed(500);
    // A claim that replaces a record reads it, so claims of others can make the commit fail (O8).
    let answers = answers(pending).await;
    let (failed, answers): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 503);
    for failed in &failed {
        failed.assert_problem("try-again");
    }
    assert_one_executed(&answers);
    let entries = world.control.entries();
    assert!((2..=2 + failed.len()).contains(&entries), "{entries}");
    assert_eq!(world.effects("acme").await, 1);
}

async fn r2_retry_on_a_serializable_endpoint_is_a_replay<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/serializable").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    request
        .to(other.address)
        .send()
        .await
        .assert_replays(&first);
}
