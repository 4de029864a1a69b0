//! Handlers that break their transaction, on every database.

use idem_core::Settle;
use idem_tests::{Act, Body, Database, Framework, Reply, Scene, World, conformance};

conformance![
    o14_swallowed_sql_error_is_never_a_false_success,
    o14_swallowed_sql_error_before_a_failure_keeps_nothing,
    o14_nested_transactions_are_the_handlers_own,
    o14_own_commit_is_final,
    o14_own_rollback_is_final,
    o14_own_commit_and_begin_is_final,
    o14_own_rollback_and_begin_is_final,
    o14_own_end_of_a_second_attempt_is_final,
    r7_recorded_problem_has_the_time_of_its_expiry,
    o14_own_commit_before_a_panic_is_never_run_again,
    o14_own_commit_before_the_deadline_is_never_run_again,
    o14_own_commit_before_a_broken_body_is_never_run_again,
    o14_own_commit_before_too_large_a_response_is_never_run_again,
    o14_failed_nested_begin_is_never_run_again,
    o14_failed_nested_begin_after_a_swallowed_error_is_never_run_again,
    o14_cancelled_nested_begin_has_one_effect_at_the_most,
];

const WRONG: &str = "INSERT INTO no_such_table VALUES (1)";

async fn o14_swallowed_sql_error_is_never_a_false_success<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let scene = Scene::new([Act::Insert, Act::swallow(WRONG), Act::AfterCommit]);
    world.control.play([scene]);
    let first = request.send().await;
    if !D::ERRORS_ABORT {
        first.assert_executed(201);
        request.send().await.assert_replays(&first);
        assert_eq!(world.effects("acme").await, 1);
        return;
    }
    first.assert_problem("transaction-lost");
    first.assert_retryable(true);
    assert_eq!(first.expires(), None);
    assert_eq!(world.effects("acme").await, 0);
    let retry = request.send().await;
    retry.assert_executed(201);
    assert_eq!(retry.json()["attempt"], 2);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.commits(), 0);
}

async fn o14_swallowed_sql_error_before_a_failure_keeps_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    for status in [422, 500] {
        let scene = Scene::new([Act::Insert, Act::swallow(WRONG)]);
        world.control.play([scene.answer(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        assert_eq!(world.effects("acme").await, 0);
        let retry = request.send().await;
        if status == 422 {
            retry.assert_replays(&first);
            assert_eq!(world.effects("acme").await, 0);
        } else {
            retry.assert_executed(201);
            assert_eq!(world.effects("acme").await, 1);
        }
    }
}

async fn o14_nested_transactions_are_the_handlers_own<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    let begun = Scene::new([Act::Nested(true), Act::Nested(false), Act::Begin]);
    world
        .control
        .play([begun.clone(), begun.answer(Reply::new(422))]);
    let kept = request.clone().key("kept");
    let first = kept.send().await;
    first.assert_executed(201);
    kept.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
    let undone = request.key("undone");
    let first = undone.send().await;
    first.assert_executed(422);
    undone.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o14_own_commit_is_final<F: Framework<D>, D: Database>(world: &World<F, D>) {
    is_final_at_every_reply(world, &["COMMIT"], Some(1)).await;
}

async fn o14_own_rollback_is_final<F: Framework<D>, D: Database>(world: &World<F, D>) {
    is_final_at_every_reply(world, &["ROLLBACK"], Some(0)).await;
}

async fn o14_own_commit_and_begin_is_final<F: Framework<D>, D: Database>(world: &World<F, D>) {
    is_final_at_every_reply(world, &["COMMIT", "BEGIN"], Some(1)).await;
}

async fn o14_own_rollback_and_begin_is_final<F: Framework<D>, D: Database>(world: &World<F, D>) {
    is_final_at_every_reply(world, &["ROLLBACK", "BEGIN"], None).await;
}

async fn o14_own_end_of_a_second_attempt_is_final<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    let misuses = [
        (&["COMMIT"][..], Some(1)),
        (&["ROLLBACK"], Some(0)),
        (&["COMMIT", "BEGIN"], Some(1)),
        (&["ROLLBACK", "BEGIN"], None),
    ];
    for (number, (misuse, effects)) in misuses.into_iter().enumerate() {
        let (key, tenant) = (format!("key-{number}"), format!("tenant-{number}"));
        let misuse = misuse.iter().copied().map(Act::run);
        let scene = Scene::new([Act::Insert].into_iter().chain(misuse));
        world
            .control
            .play([Scene::answering(Reply::new(500)), scene]);
        let request = request.clone().key(key).tenant(&tenant);
        request.send().await.assert_executed(500);
        let second = request.send().await;
        second.assert_problem("transaction-lost");
        second.assert_retryable(false);
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (second.status, &second.body));
        assert_eq!(world.control.entries(), 2 * (number + 1));
        if let Some(effects) = effects {
            assert_eq!(world.effects(&tenant).await, effects);
        }
    }
}

/// The handler ends its transaction itself. Whatever it answers, that is found out and recorded.
pub(crate) async fn is_final_at_every_reply<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    misuse: &[&str],
    effects: Option<i64>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    let replies = [
        Reply::new(201),
        Reply::new(422),
        Reply::new(500),
        Reply::new(200).settle(Settle::Retriable),
        Reply::new(402).settle(Settle::Commit),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let before = world.effects("acme").await;
        let misuse = misuse.iter().copied().map(Act::run);
        let acts = [Act::Insert, Act::AfterCommit].into_iter().chain(misuse);
        world.control.play([Scene::new(acts).answer(reply)]);
        let request = request.clone().key(format!("key-{number}"));
        let first = request.send().await;
        first.assert_problem("transaction-lost");
        first.assert_retryable(false);
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        assert_eq!(world.control.entries(), number + 1, "it is never run again");
        if let Some(effects) = effects {
            assert_eq!(world.effects("acme").await - before, effects);
        }
        let other = request.effect("other").send().await;
        other.assert_problem("key-reused");
    }
    assert_eq!(world.control.commits(), 0);
}

async fn r7_recorded_problem_has_the_time_of_its_expiry<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let scene = Scene::new([Act::Insert, Act::run("COMMIT")]);
    world.control.play([scene]);
    let first = request.send().await;
    first.assert_problem("transaction-lost");
    let retry = request.send().await;
    assert!(retry.expires().is_some());
    assert_eq!(first.expires(), retry.expires());
}

async fn o14_own_commit_before_a_panic_is_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let scene = Scene::new([Act::Insert, Act::run("COMMIT"), Act::Panic]);
    is_never_run_again(world, "/effects", scene, 1).await;
}

async fn o14_own_commit_before_the_deadline_is_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let scene = Scene::new([Act::Insert, Act::run("COMMIT"), Act::Hang]);
    is_never_run_again(world, "/bounded", scene, 1).await;
}

async fn o14_own_commit_before_a_broken_body_is_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let reply = Reply::bytes(200, "").body(Body::Broken);
    let scene = Scene::new([Act::Insert, Act::run("COMMIT")]).answer(reply);
    is_never_run_again(world, "/effects", scene, 1).await;
}

async fn o14_own_commit_before_too_large_a_response_is_never_run_again<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let reply = Reply::bytes(200, vec![b'x'; 1024 * 1024 + 1]);
    let scene = Scene::new([Act::Insert, Act::run("COMMIT")]).answer(reply);
    is_never_run_again(world, "/effects", scene, 1).await;
}

async fn o14_failed_nested_begin_is_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let scene = Scene::new([Act::FailedBegin, Act::Insert]);
    is_never_run_again(world, "/effects", scene, i64::from(D::AUTOCOMMITS)).await;
}

async fn o14_failed_nested_begin_after_a_swallowed_error_is_never_run_again<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let scene = Scene::new([Act::swallow(WRONG), Act::Begin, Act::Insert]);
    if D::ERRORS_ABORT {
        is_never_run_again(world, "/effects", scene, 1).await;
    } else {
        world.control.play([scene]);
        let request = world.instance().await.post("/effects").key("k").effect("a");
        request.send().await.assert_executed(201);
        assert_eq!(world.effects("acme").await, 1);
    }
}

/// The effect may have been committed, so the first answer is a failure, and the final one.
async fn is_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    path: &str,
    scene: Scene,
    effects: i64,
) {
    world.control.play([scene]);
    let request = world.instance().await.post(path).key("k").effect("a");
    let first = request.send().await;
    assert!(!first.is_replay());
    let retry = request.send().await;
    assert_eq!(world.control.entries(), 1, "it ran again: {}", retry.text());
    assert_eq!(world.effects("acme").await, effects);
    assert_eq!((retry.status, &retry.body), (first.status, &first.body));
    first.assert_problem("transaction-lost");
    first.assert_retryable(false);
}

async fn o14_cancelled_nested_begin_has_one_effect_at_the_most<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    world
        .control
        .play([Scene::new([Act::Insert, Act::CancelledBegin, Act::Insert])]);
    let first = request.send().await;
    let (effects, entries) = (world.effects("acme").await, world.control.entries());
    if first.status == 201 {
        assert_eq!(effects, 2, "both inserts of the one attempt");
    } else {
        first.assert_problem("transaction-lost");
        assert!(effects < 2, "half of the attempt was kept with a record");
    }
    let retry = request.send().await;
    if effects > 0 {
        assert_eq!(world.control.entries(), entries, "an effect stands");
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        assert_eq!(world.effects("acme").await, effects);
    }
}
