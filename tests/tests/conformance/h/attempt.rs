//! The handler's view of its attempt.

use std::collections::BTreeSet;

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    h1_attempt_has_key_scope_and_number,
    h1_downstream_key_is_stable_over_attempts_and_instances,
    h1_downstream_key_differs_by_service_and_identity,
    h1_after_commit_runs_once_and_not_on_a_replay,
    h1_after_commit_does_not_run_after_a_failure,
    h1_handler_has_the_task_local_values_of_a_middleware,
];

async fn h1_attempt_has_key_scope_and_number<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key(r#""k";v=1"#);
    world.control.play([Scene::answering(Reply::new(500))]);
    for _ in 0..3 {
        request.clone().tenant("caf%c3%a9").effect("a").send().await;
    }
    let visits = world.control.visits();
    let numbers: Vec<_> = visits.iter().map(|visit| visit.number).collect();
    assert_eq!(numbers, [1, 2]);
    for visit in visits {
        assert_eq!(visit.key.as_deref(), Some("k"));
        assert_eq!(visit.scope.as_deref(), Some("caf\u{e9}"));
    }
}

async fn h1_downstream_key_is_stable_over_attempts_and_instances<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/effects").key("k").effect("a");
    let fails = Scene::answering(Reply::new(500));
    world
        .control
        .play([fails, Scene::new([Act::Insert, Act::Panic])]);
    request.send().await;
    request.clone().to(other.address).send().await;
    request.send().await.assert_executed(201);
    let visits = world.control.visits();
    assert_eq!(visits.len(), 3);
    assert!(
        visits
            .iter()
            .all(|visit| visit.downstream == visits[0].downstream)
    );
    assert!(visits[0].downstream.iter().all(Option::is_some));
}

async fn h1_downstream_key_differs_by_service_and_identity<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let post = |path: &str, tenant: &str, key: &str| {
        instance.post(path).tenant(tenant).key(key).effect("a")
    };
    let requests = [
        post("/effects", "acme", "k"),
        post("/effects", "acme", "other"),
        post("/effects", "globex", "k"),
        post("/patient", "acme", "k"),
    ];
    for request in &requests {
        request.send().await.assert_executed(201);
    }
    let visits = world.control.visits();
    let keys: BTreeSet<_> = visits.iter().flat_map(|v| v.downstream.clone()).collect();
    assert_eq!(keys.len(), 8);
}

async fn h1_after_commit_runs_once_and_not_on_a_replay<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/effects").key("k").effect("a");
    world.control.play([Scene::new([
        Act::AfterCommit,
        Act::AfterCommit,
        Act::Insert,
    ])]);
    let first = request.send().await;
    first.assert_executed(201);
    world.control.committed(2).await;
    request.send().await.assert_replays(&first);
    instance.stop().await;
    assert_eq!(world.control.commits(), 2);
}

async fn h1_after_commit_does_not_run_after_a_failure<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/effects").key("k").effect("a");
    let fails = |status| Scene::new([Act::AfterCommit]).answer(Reply::new(status));
    let panics = Scene::new([Act::AfterCommit, Act::Panic]);
    world
        .control
        .play([fails(500), panics, fails(409), fails(422)]);
    for status in [500, 500, 409, 422, 422] {
        assert_eq!(request.send().await.status, status);
    }
    instance.stop().await;
    assert_eq!(world.control.commits(), 0);
}

/// The middleware of an error tracker binds such values to the request's task.
async fn h1_handler_has_the_task_local_values_of_a_middleware<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let scene = Scene::new([Act::Insert, Act::TaskLocal]);
    world.control.play([scene.clone(), scene]);
    for (path, value) in [("/effects", ""), ("/local", "set by the middleware")] {
        let request = instance.post(path).key("k").effect("a");
        let first = request.send().await;
        first.assert_executed(200);
        assert_eq!(first.text(), value, "{path}");
        request.send().await.assert_replays(&first);
    }
}
