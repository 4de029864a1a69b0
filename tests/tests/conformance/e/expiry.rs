//! The expiry of records.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use idem_tests::{Database, Deploy, Framework, Reply, Request, Scene, World, conformance};

conformance![
    e1_identity_is_new_right_after_its_ttl,
    e1_expired_record_binds_nothing_and_counts_no_attempts,
    e2_one_of_two_requests_on_an_expired_record_executes,
    e2_one_of_two_requests_on_an_expired_record_executes_on_two_instances,
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
