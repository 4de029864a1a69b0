//! The meaning of a response for the record.

use idem_core::{Config, Settle};
use idem_tests::{Act, Body, Database, Framework, Reply, Scene, World, conformance};

conformance![
    o1_response_is_complete_before_the_commit,
    o2_statuses_from_200_to_399_succeed,
    o4_informational_status_is_an_error_of_the_handler,
    o3_deterministic_client_errors_are_final,
    o3_sql_error_that_the_handler_answers_is_final,
    o4_transient_errors_are_retriable,
    o4_record_remembers_state_attempts_and_status,
    o5_replay_success_records_successes_only,
    o5_replay_all_records_the_5xx_of_handlers,
    o5_replay_all_records_no_panic_and_no_library_error,
    o6_declined_charge_commits_by_settle_commit,
    o6_settle_final_and_retriable_override_the_status,
    o16_writes_are_kept_and_the_key_runs_again,
    o7_extraction_failures_are_not_recorded,
    o7_rejection_that_the_handler_answers_claims_nothing,
    o7_success_of_a_rejected_body_is_bound_by_its_bytes,
    o15_err_never_commits,
    o15_err_is_retriable_by_its_status,
    o15_err_commits_by_settle_commit,
    o15_ok_is_settled_by_its_status,
    o15_result_that_the_return_type_hides_is_refused,
];

async fn o1_response_is_complete_before_the_commit<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let reply = Reply::new(201).body(Body::Broken);
    world.control.play([Scene::answering(reply)]);
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let broken = request.send().await;
    broken.assert_problem("try-again");
    assert!(!broken.text().contains("part"));
    assert_eq!(world.effects("acme").await, 0);
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o2_statuses_from_200_to_399_succeed<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    for (effects, status) in (1..).zip([200, 201, 202, 204, 302, 303, 399]) {
        let reply = Reply::bytes(status, "");
        world.control.play([Scene::answering(reply)]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
        assert_eq!(world.effects("acme").await, effects);
    }
}

async fn o3_deterministic_client_errors_are_final<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    for status in [400, 402, 404, 405, 410, 411, 413, 422, 451, 499] {
        world.control.play([Scene::answering(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
    }
    assert_eq!(world.effects("acme").await, 0);
}

async fn o3_sql_error_that_the_handler_answers_is_final<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    world.run("INSERT INTO names (name) VALUES ('taken')").await;
    let insert = "INSERT INTO names (name) VALUES ('taken')";
    for path in ["/effects", "/transaction"] {
        let reply = Reply::bytes(422, "the name is taken");
        let scene = Scene::new([Act::Insert, Act::Try(insert.to_owned(), reply)]);
        world.control.play([scene]);
        let request = instance.post(path).key("k").effect("a");
        let first = request.send().await;
        first.assert_executed(422);
        request.send().await.assert_replays(&first);
    }
    assert_eq!(world.effects("acme").await, 0);
}

async fn o4_transient_errors_are_retriable<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    let transient = [
        401, 403, 406, 407, 408, 409, 412, 415, 416, 417, 421, 423, 424, 425, 426, 428, 429, 431,
        500, 503, 599,
    ];
    for (effects, status) in (1..).zip(transient) {
        world.control.play([Scene::answering(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let failed = request.send().await;
        failed.assert_executed(status);
        assert_eq!(failed.expires(), None);
        assert_eq!(world.effects("acme").await, effects - 1);
        let retry = request.send().await;
        retry.assert_executed(201);
        assert_eq!(retry.json()["attempt"], 2);
        request.send().await.assert_replays(&retry);
        assert_eq!(world.effects("acme").await, effects);
    }
}

/// A server can't send a 1xx as the answer to a request.
async fn o4_informational_status_is_an_error_of_the_handler<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    for (effects, status) in (1..).zip([100, 101, 103]) {
        let reply = Reply::bytes(status, "");
        let scene = Scene::answering(reply).then(Act::AfterCommit);
        world.control.play([scene]);
        let request = request.clone().key(format!("key-{status}"));
        let failed = request.send().await;
        assert_eq!(failed.status, 500, "{}", failed.text());
        assert!(!failed.is_replay());
        assert_eq!(failed.expires(), None);
        assert_eq!(world.effects("acme").await, effects - 1);
        let retry = request.send().await;
        retry.assert_executed(201);
        assert_eq!(retry.json()["attempt"], 2);
        assert_eq!(world.effects("acme").await, effects);
    }
    assert_eq!(world.control.commits(), 0);
}

async fn o4_record_remembers_state_attempts_and_status<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let statuses = [500, 429, 503, 422];
    world
        .control
        .play(statuses.map(|s| Scene::answering(Reply::new(s))));
    let records = D::RECORDS;
    for (attempts, status) in (1..).zip(statuses) {
        request.send().await.assert_executed(status);
        let state = if status == 422 { 2 } else { 3 };
        let remembered = format!(
            "SELECT count(*) FROM {records} \
             WHERE state = {state} AND attempts = {attempts} AND status = {status}"
        );
        assert_eq!(world.number(remembered).await, 1, "after {status}");
    }
    let numbers: Vec<_> = world.control.visits().iter().map(|v| v.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

async fn o5_replay_success_records_successes_only<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/replays-success").key("k");
    let request = request.effect("a");
    let failures = [422, 404, 500, 409];
    world
        .control
        .play(failures.map(|s| Scene::answering(Reply::new(s))));
    for status in failures {
        request.send().await.assert_executed(status);
    }
    let success = request.send().await;
    success.assert_executed(201);
    assert_eq!(success.json()["attempt"], 5);
    request.send().await.assert_replays(&success);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o5_replay_all_records_the_5xx_of_handlers<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/replays-all").effect("a");
    for status in [500, 502, 503, 422, 404] {
        world.control.play([Scene::answering(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
    }
    for status in [401, 403, 408, 409, 423, 425, 429] {
        world.control.play([Scene::answering(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        request.send().await.assert_executed(status);
        request.send().await.assert_executed(201);
    }
    assert_eq!(world.effects("acme").await, 7);
}

async fn o5_replay_all_records_no_panic_and_no_library_error<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world
        .configured(Config::new().with_response_limit(100))
        .await;
    let request = instance.post("/replays-all").key("k").effect("a");
    world.control.play([
        Scene::new([Act::Insert, Act::Panic]),
        Scene::answering(Reply::bytes(200, [b'x'; 101])),
        Scene::new([Act::Insert, D::doom()]),
    ]);
    request.send().await.assert_problem("handler-panicked");
    request.send().await.assert_problem("response-too-large");
    request.send().await.assert_problem("try-again");
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o6_declined_charge_commits_by_settle_commit<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let declined = Reply::bytes(402, "declined").settle(Settle::Commit);
    world
        .control
        .play([Scene::answering(declined).then(Act::AfterCommit)]);
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(402);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
    world.control.committed(1).await;
}

async fn o6_settle_final_and_retriable_override_the_status<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    for status in [200, 409, 500] {
        let reply = Reply::new(status).settle(Settle::Final);
        world.control.play([Scene::answering(reply)]);
        let request = request.clone().key(format!("final-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
    }
    assert_eq!(world.effects("acme").await, 0);
    for (effects, status) in (1..).zip([200, 422]) {
        let reply = Reply::new(status).settle(Settle::Retriable);
        world.control.play([Scene::answering(reply)]);
        let request = request.clone().key(format!("retriable-{status}"));
        let failed = request.send().await;
        failed.assert_executed(status);
        assert_eq!(failed.expires(), None);
        assert_eq!(world.effects("acme").await, effects - 1);
        request.send().await.assert_executed(201);
    }
}

/// A counter of failures, which a rollback would undo.
async fn o16_writes_are_kept_and_the_key_runs_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let failures = [401, 500, 303].map(|status| Reply::new(status).settle(Settle::KeepAndRetry));
    let failures = failures.map(|reply| Scene::answering(reply).then(Act::AfterCommit));
    world.control.play(failures);
    for (effects, status) in (1..).zip([401, 500, 303]) {
        let failed = request.send().await;
        failed.assert_executed(status);
        assert_eq!(failed.expires(), None);
        assert_eq!(world.effects("acme").await, effects);
    }
    let done = request.send().await;
    done.assert_executed(201);
    assert_eq!(done.json()["attempt"], 4);
    request.send().await.assert_replays(&done);
    assert_eq!(world.effects("acme").await, 4);
    assert_eq!(
        world.control.commits(),
        0,
        "no attempt with such a future succeeded"
    );
    // A commit that fails keeps nothing, and the handler's answer would say otherwise.
    let request = request.key("doomed");
    let kept = Reply::new(401).settle(Settle::KeepAndRetry);
    world
        .control
        .play([Scene::new([Act::Insert, D::doom()]).answer(kept)]);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.effects("acme").await, 4);
}

async fn o7_extraction_failures_are_not_recorded<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k");
    let broken = [
        (request.clone().json("{"), 400),
        (request.clone().json(r#"{"other":1}"#), F::MISSHAPEN),
        (
            request.clone().body("text/plain", r#"{"label":"a"}"#),
            F::MISTYPED,
        ),
        (request.clone().effect("a").without("x-tenant"), 401),
    ];
    for (broken, status) in broken {
        let answer = broken.send().await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(!answer.is_replay());
    }
    assert_eq!(world.records().await, 0);
    assert_eq!(world.control.entries(), 0);
    request.effect("a").send().await.assert_executed(201);
}

async fn o7_rejection_that_the_handler_answers_claims_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/fallible").key("k");
    let malformed = request.clone().json("{");
    for reply in [400, 409, 422, 500].map(Reply::new) {
        world.control.play([Scene::answering(reply)]);
        let answer = malformed.send().await;
        assert!(!answer.is_replay());
        assert_eq!(answer.expires(), None);
        assert_eq!(answer.json()["attempt"], 1);
    }
    let settles = [Settle::Final, Settle::Retriable].map(|settle| Reply::new(200).settle(settle));
    world.control.play(settles.map(Scene::answering));
    for _ in 0..2 {
        malformed.send().await.assert_executed(200);
    }
    world.control.play([Scene::new([Act::Insert, Act::Panic])]);
    malformed.send().await.assert_problem("handler-panicked");
    assert_eq!(world.records().await, 0);
    assert_eq!(world.effects("acme").await, 0);

    // A failure of the same bytes that could be extracted is recorded, and stays so.
    let valid = r#"{"label":"a"}"#;
    world
        .control
        .play([503, 400].map(|status| Scene::answering(Reply::new(status))));
    request
        .clone()
        .json(valid)
        .send()
        .await
        .assert_executed(503);
    let mistyped = request.clone().body("text/plain", valid).send().await;
    mistyped.assert_executed(400);
    assert_eq!(mistyped.json()["attempt"], 2);
    let first = request.clone().json(valid).send().await;
    first.assert_executed(201);
    assert_eq!(first.json()["attempt"], 2);
    request.json(valid).send().await.assert_replays(&first);
    malformed.send().await.assert_problem("key-reused");
    assert_eq!(world.effects("acme").await, 1);
}

/// The handler has written, so a duplicate must not write again.
async fn o7_success_of_a_rejected_body_is_bound_by_its_bytes<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/fallible").key("k");
    let malformed = request.clone().json("{");
    let first = malformed.send().await;
    first.assert_executed(201);
    malformed.send().await.assert_replays(&first);
    request
        .effect("a")
        .send()
        .await
        .assert_problem("key-reused");
    assert_eq!(world.effects("acme").await, 1);
}

async fn o15_err_never_commits<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/failing").effect("err");
    for status in [200, 204, 303, 399, 422] {
        let reply = Reply::bytes(status, "").header("location", "/elsewhere");
        world
            .control
            .play([Scene::answering(reply).then(Act::AfterCommit)]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        let again = request.send().await;
        again.assert_replays(&first);
        assert_eq!(again.header("location"), Some("/elsewhere"));
    }
    assert_eq!(world.effects("acme").await, 0);
    assert_eq!(world.control.commits(), 0);
    let failed = format!("SELECT count(*) FROM {} WHERE state = 2", D::RECORDS);
    assert_eq!(world.number(failed).await, 5);
}

async fn o15_err_is_retriable_by_its_status<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/failing").effect("err");
    for status in [409, 503] {
        let request = request.clone().key(format!("key-{status}"));
        for attempt in [1, 2] {
            world.control.play([Scene::answering(Reply::new(status))]);
            let failed = request.send().await;
            failed.assert_executed(status);
            assert_eq!(failed.json()["attempt"], attempt);
        }
    }
    assert_eq!(world.effects("acme").await, 0);
}

async fn o15_err_commits_by_settle_commit<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/failing").effect("err");
    for (effects, status) in (1..).zip([200, 402, 503]) {
        let reply = Reply::new(status).settle(Settle::Commit);
        world.control.play([Scene::answering(reply)]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
        assert_eq!(world.effects("acme").await, effects);
    }
}

async fn o15_ok_is_settled_by_its_status<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/failing").effect("ok");
    for (status, effects) in [(201, 1), (422, 1), (303, 2)] {
        world.control.play([Scene::answering(Reply::new(status))]);
        let request = request.clone().key(format!("key-{status}"));
        let first = request.send().await;
        first.assert_executed(status);
        request.send().await.assert_replays(&first);
        assert_eq!(world.effects("acme").await, effects);
    }
}

async fn o15_result_that_the_return_type_hides_is_refused<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/hidden").key("k").effect("a");
    request.send().await.assert_problem("misconfigured");
    assert_eq!(world.effects("acme").await, 0);
}
