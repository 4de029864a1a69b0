//! What needs PostgreSQL's own means: its settings, and its ways to commit.

use idem_tests::{Act, Framework, Postgres, Reply, Request, Scene, World, conformance};

use super::misuse::is_final;

conformance![
    on Postgres:
    o8_serialization_failure_at_commit_is_retriable,
    o14_own_commit_and_chain_is_final,
    o14_own_commit_is_found_out_where_there_is_no_record_left_to_replace,
    o14_search_path_of_the_handler_redirects_nothing,
];

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

async fn o14_own_commit_and_chain_is_final<F: Framework<Postgres>>(world: &World<F, Postgres>) {
    is_final(world, &["COMMIT AND CHAIN"], Some(1)).await;
}

async fn o14_own_commit_is_found_out_where_there_is_no_record_left_to_replace<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let instance = world.instance().await;
    let commits = Scene::new([Act::Insert, Act::run("COMMIT"), Act::Wait]);
    world
        .control
        .play([Scene::answering(Reply::new(500)), commits]);
    let request = instance.post("/patient").key("k").effect("a");
    request.send().await.assert_executed(500);
    let second = request.start();
    world.control.at_gate(1).await;
    let erased = instance.engine.erase(Some("acme")).await;
    assert_eq!(erased.expect("erases"), 1);
    world.control.open(1);
    let told = second.answer().await;
    told.assert_problem("transaction-lost");
    told.assert_retryable(false);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o14_search_path_of_the_handler_redirects_nothing<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    world
        .run(
            "CREATE SCHEMA attacker; \
             CREATE FUNCTION attacker.clock_timestamp() RETURNS timestamptz \
             LANGUAGE sql AS 'SELECT ''2000-01-01''::timestamptz'; \
             CREATE FUNCTION attacker.current_setting(text, boolean) RETURNS text \
             LANGUAGE sql AS 'SELECT ''claimed''::text'; \
             CREATE FUNCTION attacker.never(bytea, bytea) RETURNS boolean \
             LANGUAGE sql AS 'SELECT false'; \
             CREATE OPERATOR attacker.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = attacker.never)",
        )
        .await;
    let instance = world.instance().await;
    world
        .run("CREATE TABLE attacker.records (LIKE idem.records)")
        .await;
    let redirects = Act::run("SET LOCAL search_path = attacker, pg_catalog");
    let fails = Scene::new([Act::Insert, redirects.clone()]);
    let fails = fails.answer(Reply::new(500));
    world
        .control
        .play([fails, Scene::new([Act::Insert, redirects])]);
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_executed(500);
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(
        world.number("SELECT count(*) FROM attacker.records").await,
        0
    );
    assert_eq!(world.records().await, 1);
    let alive = "SELECT count(*) FROM idem.records WHERE expires_at > now() + interval '23 hours'";
    assert_eq!(world.number(alive).await, 1);
}
