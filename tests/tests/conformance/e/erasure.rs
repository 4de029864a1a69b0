//! The erasure of a scope's records.

use std::time::Duration;

use idem_tests::{Database, Framework, Scene, World, conformance};

conformance![
    e4_erasure_deletes_the_records_of_one_scope,
    e4_erasure_does_not_disturb_a_first_attempt_in_flight,
];

async fn e4_erasure_deletes_the_records_of_one_scope<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let post = |path: &str, tenant: &str, key: &str| {
        instance.post(path).tenant(tenant).key(key).effect("a")
    };
    let acme = [
        post("/effects", "acme", "k1"),
        post("/effects", "acme", "k2"),
        post("/patient", "acme", "k1"),
    ];
    let globex = post("/effects", "globex", "k1");
    let unscoped = post("/unscoped", "acme", "k1");
    for request in &acme {
        request.send().await.assert_executed(201);
    }
    let kept = [globex.send().await, unscoped.send().await];
    let engine = &instance.engine;
    assert_eq!(engine.erase(Some("nobody")).await.expect("erases"), 0);
    assert_eq!(engine.erase(Some("acme")).await.expect("erases"), 3);
    globex.send().await.assert_replays(&kept[0]);
    unscoped.send().await.assert_replays(&kept[1]);
    acme[0].send().await.assert_executed(201);
    assert_eq!(engine.erase(None).await.expect("erases"), 1);
    globex.send().await.assert_replays(&kept[0]);
    unscoped.send().await.assert_executed(201);
}

/// Where several transactions can write, the erasure ends before the attempt does. Where one can, it waits.
async fn e4_erasure_does_not_disturb_a_first_attempt_in_flight<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let attempt = request.start();
    world.control.at_gate(1).await;
    let engine = other.engine.clone();
    let mut erasure = tokio::spawn(async move { engine.erase(Some("acme")).await });
    if D::ONE_WRITER {
        other.is_busy().await;
        assert!(!erasure.is_finished(), "the attempt has the writer's lock");
        world.control.open(1);
        let first = attempt.answer().await;
        first.assert_executed(201);
        let erased = erasure.await.expect("ends").expect("erases");
        assert_eq!(erased, 1, "the record of the attempt, which has ended");
        request.send().await.assert_executed(201);
        assert_eq!(world.effects("acme").await, 2);
    } else {
        let erased = tokio::time::timeout(Duration::from_secs(5), &mut erasure).await;
        let erased = erased.expect("an erasure does not wait for a first attempt");
        assert_eq!(erased.expect("ends").expect("erases"), 0);
        world.control.open(1);
        let first = attempt.answer().await;
        first.assert_executed(201);
        request.send().await.assert_replays(&first);
        assert_eq!(world.effects("acme").await, 1);
    }
}
