//! Expiry, purge and erasure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use idem_tests::{Database, Deploy, Framework, Reply, Request, Scene, World, conformance};

conformance![
    e1_identity_is_new_right_after_its_ttl,
    e1_expired_record_binds_nothing_and_counts_no_attempts,
    e2_one_of_two_requests_on_an_expired_record_executes,
    e2_one_of_two_requests_on_an_expired_record_executes_on_two_instances,
    e3_purge_deletes_expired_records_only,
    e3_purge_takes_more_than_a_batch_from_several_instances,
    e3_purge_works_beside_live_traffic,
    e3_purge_leaves_an_attempt_on_an_expired_record_alone,
    e4_erasure_deletes_the_records_of_one_scope,
    e4_erasure_does_not_disturb_an_attempt_in_flight,
    e5_ttl_is_the_one_at_settling_time,
];

async fn e1_identity_is_new_right_after_its_ttl<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/brief").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let alive = format!(
        "SELECT count(*) FROM {} WHERE expires_at > {}",
        D::RECORDS,
        D::NOW
    );
    let until = Instant::now() + Duration::from_secs(3);
    while world.number(&alive).await > 0 {
        assert!(Instant::now() < until, "the TTL is a second");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = request.send().await;
    second.assert_executed(201);
    assert_ne!(first.body, second.body);
    assert_eq!(world.effects("acme").await, 2);
}

async fn e1_expired_record_binds_nothing_and_counts_no_attempts<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k");
    for status in [500, 422, 201] {
        world.control.play([Scene::answering(Reply::new(status))]);
        let first = request.clone().effect(&status.to_string());
        first.send().await.assert_executed(status);
        world.expire().await;
    }
    let last = request.clone().effect("last").send().await;
    last.assert_executed(201);
    request.effect("last").send().await.assert_replays(&last);
    let numbers: Vec<_> = world.control.visits().iter().map(|v| v.number).collect();
    assert_eq!(numbers, [1, 1, 1, 1]);
    assert_eq!(world.records().await, 1);
}

async fn e2_one_of_two_requests_on_an_expired_record_executes<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    one_executes(world, [instance.address, instance.address]).await;
}

async fn e2_one_of_two_requests_on_an_expired_record_executes_on_two_instances<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    one_executes(world, [one.address, other.address]).await;
}

async fn one_executes<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    addresses: [SocketAddr; 2],
) {
    let request = Request::new(addresses[0], "POST", "/patient");
    let request = request.key("k").effect("a");
    let old = request.send().await;
    old.assert_executed(201);
    world.expire().await;
    world.control.play([Scene::gated()]);
    let pending = addresses.map(|address| request.clone().to(address).start());
    world.control.entered(2).await;
    world.control.extracted(3).await;
    world.control.open(1);
    let [one, other] = pending;
    let (one, other) = (one.answer().await, other.answer().await);
    let (executed, replay) = if one.is_replay() {
        (other, one)
    } else {
        (one, other)
    };
    executed.assert_executed(201);
    assert_ne!(executed.body, old.body);
    replay.assert_replays(&executed);
    assert_eq!(world.control.entries(), 2);
    assert_eq!(world.effects("acme").await, 2);
}

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
    let alive = request.key("alive");
    let first = alive.send().await;
    let purged = tokio::join!(one.engine.purge_expired(), other.engine.purge_expired());
    let (one, other) = (purged.0.expect("purges"), purged.1.expect("purges"));
    assert_eq!(one + other, 2501);
    assert_eq!(world.records().await, 1);
    alive.send().await.assert_replays(&first);
}

async fn e3_purge_works_beside_live_traffic<F: Framework<D>, D: Database>(world: &World<F, D>) {
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

async fn e4_erasure_does_not_disturb_an_attempt_in_flight<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").effect("a");
    let fails = Scene::answering(Reply::new(500));
    world.control.play([fails, Scene::gated(), Scene::gated()]);
    let again = request.clone().key("again");
    again.send().await.assert_executed(500);
    for (entered, request) in (2..).zip([request.key("new"), again]) {
        let attempt = request.start();
        world.control.entered(entered).await;
        let engine = other.engine.clone();
        let erasure = tokio::spawn(async move { engine.erase(Some("acme")).await });
        tokio::task::yield_now().await;
        world.control.open(1);
        attempt.answer().await.assert_executed(201);
        erasure.await.expect("ends").expect("erases");
    }
    assert_eq!(world.effects("acme").await, 2);
}

async fn e5_ttl_is_the_one_at_settling_time<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let day = world.deployed(Deploy::First).await;
    let second = world.deployed(Deploy::Second).await;
    let request = day.post("/ttl").key("k").effect("a");
    let first = request.send().await;
    let replay = request.to(second.address).send().await;
    replay.assert_replays(&first);
    let new = second.post("/ttl").key("new").effect("a").send().await;
    new.assert_executed(201);
    let earlier = first.expires().expect("R7") - new.expires().expect("R7");
    assert!((86_390..=86_400).contains(&earlier), "{earlier}");
}
