//! Handlers that break their transaction by PostgreSQL's own means.

use idem_tests::{Act, Framework, Postgres, Reply, Scene, World, conformance};

conformance![
    on Postgres:
    o14_session_that_is_terminated_keeps_nothing,
    o14_own_commit_is_found_out_where_the_record_to_replace_is_gone,
    o14_search_path_of_the_handler_redirects_nothing,
];

async fn o14_session_that_is_terminated_keeps_nothing<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let dies = Act::swallow("SELECT pg_terminate_backend(pg_backend_pid())");
    world.control.play([Scene::new([Act::Insert, dies])]);
    let first = request.send().await;
    first.assert_problem("try-again");
    assert_eq!(world.effects("acme").await, 0);
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o14_own_commit_is_found_out_where_the_record_to_replace_is_gone<F: Framework<Postgres>>(
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
    let second = second.answer().await;
    second.assert_problem("transaction-lost");
    second.assert_retryable(false);
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
