//! The purge of expired records.

use std::time::Duration;

use futures_util::future::join_all;
use idem_tests::{Database, Framework, Reply, Scene, World, conformance};

conformance![
    e3_purge_deletes_expired_records_only,
    e3_purge_takes_more_than_a_batch_from_several_instances,
    e3_purge_works_alongside_live_traffic,
    e3_purge_leaves_an_attempt_on_an_expired_record_alone,
];

async fn e3_purge_deletes_expired_records_only<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let request = instance.post("/effects").effect("a");
    for status in [201, 422, 500] {
        world.control.play([Scene::answering(Reply::new(status))]);
        let request = request.clone().key(format!("old-{status}"));
        request.send().await.assert_executed(status);
    }
    world.expire().await;
    let alive = request.key("alive");
    let first = alive.send().await;
    first.assert_executed(201);
    assert_eq!(instance.engine.purge_expired().await.expect("purges"), 3);
    assert_eq!(instance.engine.purge_expired().await.expect("purges"), 0);
    assert_eq!(world.records().await, 1);
    alive.send().await.assert_replays(&first);
}

async fn e3_purge_takes_more_than_a_batch_from_several_instances<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/effects").effect("a");
    request.clone().key("old").send().await.assert_executed(201);
    world.run(D::copies(2500)).await;
    world.expire().await;
    let alive = request.clone().key("alive");
    let first = alive.send().await;
    let live = join_all((0..20).map(|number| {
        let request = request.clone().key(format!("live-{number}"));
        async move { request.send().await }
    }));
    let (one, other) = (one.engine.purge_expired(), other.engine.purge_expired());
    let (one, other, live) = tokio::join!(one, other, live);
    assert_eq!(one.expect("purges") + other.expect("purges"), 2501);
    for answer in live {
        answer.assert_executed(201);
    }
    assert_eq!(world.records().await, 21);
    alive.send().await.assert_replays(&first);
}

async fn e3_purge_works_alongside_live_traffic<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let purges = [&one, &other].map(|i| i.engine.spawn_purge(Duration::from_millis(1)));
    let request = one.post("/effects").effect("a");
    for number in 0..30 {
        let request = request.clone().key(format!("key-{number}"));
        let first = request.send().await;
        first.assert_executed(201);
        request
            .to(other.address)
            .send()
            .await
            .assert_replays(&first);
        if number % 10 == 0 {
            world.expire().await;
        }
    }
    drop(purges);
    assert_eq!(world.effects("acme").await, 30);
}

async fn e3_purge_leaves_an_attempt_on_an_expired_record_alone<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k").effect("a");
    request.send().await.assert_executed(201);
    world.expire().await;
    world.control.play([Scene::gated()]);
    let second = request.start();
    world.control.entered(2).await;
    let engine = other.engine.clone();
    let mut purge = tokio::spawn(async move { engine.purge_expired().await });
    if !D::ONE_WRITER {
        let purged = tokio::time::timeout(Duration::from_secs(5), &mut purge).await;
        let purged = purged.expect("a purge skips what is locked");
        assert_eq!(purged.expect("ends").expect("purges"), 0);
    }
    world.control.open(1);
    let second = second.answer().await;
    second.assert_executed(201);
    if D::ONE_WRITER {
        let purged = purge.await.expect("ends").expect("purges");
        assert_eq!(purged, 0, "the record is not expired any more");
    }
    request.send().await.assert_replays(&second);
    assert_eq!(world.effects("acme").await, 2);
}
