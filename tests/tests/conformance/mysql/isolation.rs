//! Deadlocks and lock waits in handlers, and sessions of any isolation.

use idem_tests::{
    Act, Domain as _, Framework, Mysql, Reply, Request, Scene, Settings, World, answers,
    assert_one_executed, conformance,
};

conformance![
    on Mysql:
    x19_isolation_is_that_of_the_endpoint_whatever_the_session_says,
    o8_deadlock_that_the_handler_answers_is_retriable,
    o8_deadlock_that_a_transaction_handler_answers_is_retriable,
    o8_lock_wait_that_fails_in_a_handler_is_retriable,
    o2_lock_wait_that_is_swallowed_undoes_one_statement,
    c1_duplicates_have_one_effect_at_any_isolation,
    r2_record_that_is_not_committed_is_never_replayed,
];

const LEVELS: [&str; 4] = [
    "READ UNCOMMITTED",
    "READ COMMITTED",
    "REPEATABLE READ",
    "SERIALIZABLE",
];

/// Sessions at a level.
pub(crate) fn at(opening: &'static str) -> Settings {
    let mut settings = Settings::default();
    settings.wires.opening = opening;
    settings
}

const OPENINGS: [&str; 4] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
];

/// The isolation that a handler sees: whether it sees a committed and an uncommitted row that come while it waits, and
/// whether the rows that it has read are locked.
async fn isolation<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
    request: &Request,
) -> &'static str {
    world
        .run("DELETE FROM names; INSERT INTO names VALUES ('old')")
        .await;
    let count = Act::run("SELECT COUNT(*) INTO @seen FROM names");
    let note = Act::run("INSERT INTO effects VALUES ('seen', @seen)");
    world
        .control
        .play([Scene::new([count.clone(), Act::Wait, count, note])]);
    let gated = world.control.gated() + 1;
    let pending = request.start();
    world.control.at_gate(gated).await;
    let mut other = world.observe().await;
    let locks = "SELECT name FROM names WHERE name = 'old' FOR UPDATE NOWAIT";
    let is_free = other.run(locks).await.is_ok();
    if is_free {
        let comes = "INSERT INTO names VALUES ('new'); START TRANSACTION; \
             INSERT INTO names VALUES ('newer')";
        other.run(comes).await.expect("nothing is locked");
    }
    world.control.open(1);
    pending.answer().await.assert_executed(201);
    other.run("ROLLBACK").await.expect("rolls back");
    let seen = world.text("SELECT label FROM effects").await;
    world.run("DELETE FROM effects").await;
    match (is_free, seen.as_str()) {
        (true, "3") => "READ UNCOMMITTED",
        (true, "2") => "READ COMMITTED",
        (true, "1") => "REPEATABLE READ",
        (false, "1") => "SERIALIZABLE",
        other => panic!("no isolation is like {other:?}"),
    }
}

async fn x19_isolation_is_that_of_the_endpoint_whatever_the_session_says<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    for (opening, level) in OPENINGS.into_iter().zip(LEVELS) {
        let instance = world.instance_with(at(opening)).await;
        for (path, expected) in [
            ("/effects", level),
            ("/read-committed", "READ COMMITTED"),
            ("/repeatable-read", "REPEATABLE READ"),
            ("/serializable", "SERIALIZABLE"),
            ("/effects?again", level),
        ] {
            let key = format!("key-{}", world.control.entries());
            let request = instance.post(path).key(key).effect("a");
            let seen = isolation(world, &request).await;
            assert_eq!(seen, expected, "{path} with {opening}");
        }
    }
}

/// Two handlers that lock two rows in opposite order. `second` is what each does with its second lock.
pub(crate) async fn entangled<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
    path: &str,
    second: impl Fn(String) -> Vec<Act>,
) -> [Request; 2] {
    world
        .run("INSERT INTO names (name) VALUES ('one'), ('other')")
        .await;
    let lock = |name| format!("SELECT name FROM names WHERE name = '{name}' FOR UPDATE");
    let scene = |first, last| {
        let mut acts = vec![Act::Insert, Act::run(lock(first)), Act::Wait];
        acts.extend(second(lock(last)));
        Scene::new(acts)
    };
    world
        .control
        .play([scene("one", "other"), scene("other", "one")]);
    let instance = world.instance().await;
    ["k1", "k2"].map(|key| instance.post(path).key(key).effect(key))
}

/// One of the two fails with `status`, and its retry is executed.
async fn victim_is_retried<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
    requests: &[Request; 2],
    status: u16,
) {
    let gated = world.control.gated();
    let pending = requests.each_ref().map(Request::start);
    world.control.at_gate(gated + 2).await;
    world.control.open(2);
    let answers = answers(pending.into()).await;
    let failed = answers.iter().position(|answer| answer.status != 201);
    let failed = failed.expect("one of the two has to fail");
    assert_eq!(answers[failed].status, status, "{}", answers[failed].text());
    answers[1 - failed].assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
    requests[1 - failed]
        .send()
        .await
        .assert_replays(&answers[1 - failed]);
    let retry = requests[failed].send().await;
    retry.assert_executed(201);
    requests[failed].send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 2);
}

async fn o8_deadlock_that_the_handler_answers_is_retriable<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let requests = entangled(world, "/effects", |lock| vec![Act::run(lock)]).await;
    victim_is_retried(world, &requests, 500).await;
}

async fn o8_deadlock_that_a_transaction_handler_answers_is_retriable<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let requests = entangled(world, "/transaction", |lock| vec![Act::run(lock)]).await;
    victim_is_retried(world, &requests, 500).await;
}

/// A row that the test holds.
async fn held<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) -> sqlx::pool::PoolConnection<sqlx::MySql> {
    world.run("INSERT INTO names (name) VALUES ('held')").await;
    let mut holder = world.observe().await;
    let holds = "START TRANSACTION; SELECT name FROM names WHERE name = 'held' FOR UPDATE";
    let holds = sqlx::raw_sql(holds).execute(&mut *holder).await;
    holds.expect("the row is free");
    holder
}

async fn let_go(mut holder: sqlx::pool::PoolConnection<sqlx::MySql>) {
    let let_go = sqlx::raw_sql("ROLLBACK").execute(&mut *holder).await;
    let_go.expect("rolls back");
}

const IMPATIENT: &str = "SET SESSION innodb_lock_wait_timeout = 1";
const LOCKED: &str = "UPDATE names SET name = 'other' WHERE name = 'held'";

async fn o8_lock_wait_that_fails_in_a_handler_is_retriable<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let holder = held(world).await;
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let acts = [Act::Insert, Act::run(IMPATIENT), Act::run(LOCKED)];
    world.control.play([Scene::new(acts)]);
    request.send().await.assert_executed(500);
    assert_eq!(world.effects("acme").await, 0);
    let retry = request.send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 2);
    let_go(holder).await;
    assert_eq!(world.effects("acme").await, 1);
}

async fn o2_lock_wait_that_is_swallowed_undoes_one_statement<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let holder = held(world).await;
    let request = world.instance().await.post("/effects").effect("a");
    for (effects, path) in (1..).zip(["/effects", "/transaction"]) {
        let acts = [Act::Insert, Act::run(IMPATIENT), Act::swallow(LOCKED)];
        world.control.play([Scene::new(acts)]);
        let request = request.clone().key(effects.to_string());
        let request = if path == "/effects" {
            request
        } else {
            let other = world.instance().await.post(path);
            other.key("t").effect("a")
        };
        let first = request.send().await;
        first.assert_executed(201);
        request.send().await.assert_replays(&first);
        assert_eq!(world.effects("acme").await, effects);
    }
    let_go(holder).await;
}

async fn c1_duplicates_have_one_effect_at_any_isolation<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    for (effects, opening) in (1..).zip(OPENINGS) {
        let mut settings = at(opening);
        settings.wires.connections = 2;
        let one = world.instance_with(settings.clone()).await;
        let other = world.instance_with(settings).await;
        let request = one.post("/patient").key(effects.to_string()).effect("a");
        world.control.play([Scene::gated().answer(Reply::new(500))]);
        let (extracted, entered) = (world.control.extractions(), world.control.entries());
        let pending: Vec<_> = [&one, &other]
            .into_iter()
            .cycle()
            .take(16)
            .map(|instance| request.clone().to(instance.address).start())
            .collect();
        world.control.extracted(extracted + 16).await;
        world.control.entered(entered + 1).await;
        world.control.open(1);
        let mut answers = answers(pending).await;
        let failed = answers.iter().position(|answer| answer.status == 500);
        answers.remove(failed.expect("the first one fails"));
        assert_one_executed(&answers);
        assert_eq!(world.control.entries(), entered + 2);
        assert_eq!(world.effects("acme").await, effects);
    }
}

/// The handler has written, and its record is in the table uncommitted: other requests must see neither.
async fn r2_record_that_is_not_committed_is_never_replayed<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    for opening in OPENINGS {
        let owner = world.instance().await;
        let other = world.instance_with(at(opening)).await;
        let tenant = opening.rsplit(' ').next().unwrap_or_default();
        let request = owner.post("/hasty").key(tenant).effect("a").tenant(tenant);
        world.control.play([Scene::gated().answer(Reply::new(500))]);
        let gated = world.control.gated() + 1;
        let first = request.start();
        world.control.at_gate(gated).await;
        let elsewhere = request.clone().to(other.address);
        for _ in 0..3 {
            elsewhere.send().await.assert_problem("in-flight");
        }
        world.control.open(1);
        first.answer().await.assert_executed(500);
        let second = elsewhere.send().await;
        second.assert_executed(201);
        request.send().await.assert_replays(&second);
        assert_eq!(world.effects(tenant).await, 1);
    }
}
