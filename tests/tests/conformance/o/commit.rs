//! Commits that fail.

use idem_tests::{Act, Database, Framework, Scene, World, conformance};

conformance![
    o8_commit_that_fails_is_retriable,
    o8_commit_that_fails_runs_no_after_commit,
];

async fn o8_commit_that_fails_is_retriable<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let scene = Scene::new([Act::Insert, D::doom()]);
    world.control.play([scene.clone(), scene, Scene::effect()]);
    for _ in 0..2 {
        let refused = request.send().await;
        refused.assert_problem("try-again");
        refused.assert_retryable(true);
        assert_eq!(world.effects("acme").await, 0);
        assert_eq!(world.records().await, 0);
    }
    let retry = request.send().await;
    retry.assert_executed(201);
    request.send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 1);
}

async fn o8_commit_that_fails_runs_no_after_commit<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    world.control.play([
        Scene::new([Act::AfterCommit, Act::Insert, D::doom()]),
        Scene::new([Act::AfterCommit]),
    ]);
    request.send().await.assert_problem("try-again");
    assert_eq!(world.control.commits(), 0);
    request.send().await.assert_executed(201);
    world.control.committed(1).await;
    assert_eq!(world.control.commits(), 1);
}
