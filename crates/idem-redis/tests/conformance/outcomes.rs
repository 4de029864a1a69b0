//! O and H: outcomes, and the handler's view of its attempt.

use futures_util::FutureExt as _;
use idem_core::Settle;
use idem_tests::{Act, Reply, Scene};

use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    o2_o3_o4_o5_o6_o16_t6_status_decides_about_the_record_alone,
    o7_request_that_is_rejected_claims_nothing,
    o10_o11_attempt_goes_on_without_its_client_and_is_waited_for,
    h1_attempt_is_the_same_over_attempts_and_instances,
];

async fn o2_o3_o4_o5_o6_o16_t6_status_decides_about_the_record_alone<F: Framework>(
    world: &World<F>,
) {
    let instance = world.instance().await;
    let plain = |status| (Reply::new(status), "/effects");
    let settled = |status, settle| (Reply::new(status).settle(settle), "/effects");
    let recorded = [
        plain(200),
        plain(303),
        plain(404),
        plain(422),
        (Reply::new(500), "/replays-all"),
        settled(402, Settle::Commit),
        settled(500, Settle::Final),
    ];
    let retried = [
        plain(401),
        plain(409),
        plain(429),
        plain(500),
        plain(503),
        (Reply::new(422), "/replays-success"),
        (Reply::new(429), "/replays-all"),
        settled(422, Settle::Retriable),
        settled(201, Settle::KeepAndRetry),
    ];
    let recorded = recorded.map(|(reply, path)| (reply, path, true));
    let retried = retried.map(|(reply, path)| (reply, path, false));
    for (number, (reply, path, is_recorded)) in (1..).zip(recorded.into_iter().chain(retried)) {
        let status = reply.status;
        world.control.play([Scene::answering(reply)]);
        let request = instance.post(path).key(format!("k{number}")).effect("a");
        let first = request.send().await;
        first.assert_executed(status);
        assert_eq!(first.expires().is_some(), is_recorded, "{path} {status}");
        let second = request.send().await;
        if is_recorded {
            second.assert_replays(&first);
        } else {
            second.assert_executed(201);
            assert_eq!(second.json()["attempt"], 2);
        }
        assert_eq!((world.effects(), world.provider.calls()), (number, number));
    }
}

async fn o7_request_that_is_rejected_claims_nothing<F: Framework>(world: &World<F>) {
    let request = world.instance().await.post("/effects").key("k");
    let other = request.clone().body("text/plain", "a");
    for (rejected, status) in [
        (request.clone().json("no JSON"), 400),
        (request.clone().json("{}"), F::MISSHAPEN),
        (request.clone().effect("a").without("x-tenant"), 401),
    ] {
        let answer = rejected.send().await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert!((400..=415).contains(&other.send().await.status));
    assert_eq!((world.control.entries(), world.keys().await.len()), (0, 0));
    request.effect("a").send().await.assert_executed(201);
}

async fn o10_o11_attempt_goes_on_without_its_client_and_is_waited_for<F: Framework>(
    world: &World<F>,
) {
    let (instance, other) = (world.instance().await, world.instance().await);
    world.control.play([Scene::gated(), Scene::gated()]);
    let mut requests = Vec::new();
    for key in ["k1", "k2"] {
        let request = instance.post("/patient").key(key).effect("a");
        let connection = request.open().await;
        requests.push(request);
        world.control.at_gate(requests.len()).await;
        connection.reset();
    }
    let mut drain = Box::pin(instance.engine.drain());
    assert!((&mut drain).now_or_never().is_none(), "an attempt runs");
    let late = instance
        .post("/effects")
        .key("late")
        .effect("a")
        .send()
        .await;
    late.assert_problem_of_steps("unavailable");
    world.control.open(2);
    drain.await;
    for request in requests {
        let answer = request.to(other.address).send().await;
        assert!(answer.is_replay(), "{}", answer.text());
    }
    assert_eq!((world.control.entries(), world.provider.calls()), (2, 2));
}

async fn h1_attempt_is_the_same_over_attempts_and_instances<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let fails = Scene::new([Act::AfterCommit]).answer(Reply::new(500));
    world.control.play([
        fails,
        Scene::new([Act::AfterCommit, Act::Panic]),
        Scene::new([Act::AfterCommit]),
    ]);
    let request = one
        .post("/effects")
        .key(r#""k";v=1"#)
        .tenant("caf%c3%a9")
        .effect("a");
    let elsewhere = request.clone().to(other.address);
    request.send().await.assert_executed(500);
    elsewhere
        .send()
        .await
        .assert_problem_of_steps("handler-panicked");
    let third = request.send().await;
    third.assert_executed(201);
    elsewhere.send().await.assert_replays(&third);
    world.control.committed(1).await;
    one.engine.drain().await;
    assert_eq!(
        world.control.commits(),
        1,
        "not after a failure, nor of a replay"
    );
    let visits = world.control.visits();
    for (number, visit) in (1..).zip(&visits) {
        assert_eq!(visit.number, number);
        assert_eq!(visit.key.as_deref(), Some("k"));
        assert_eq!(visit.scope.as_deref(), Some("caf\u{e9}"));
        assert_eq!(visit.downstream, visits[0].downstream);
        assert!(visit.downstream.iter().all(Option::is_some));
    }
    assert_eq!(visits.len(), 3);
}
