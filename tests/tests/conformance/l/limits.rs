//! Limits.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{OptionFuture, select_all};
use idem_core::{Config, ReplayCache};
use idem_tests::{
    Act, Body, Database, Framework, Reply, Scene, Settings, World, answers, conformance,
};
use tokio::time::{sleep, timeout};

conformance![
    l1_response_of_known_size_over_the_limit_is_undone,
    l1_response_of_unknown_size_is_buffered_up_to_the_limit,
    l1_response_at_the_limit_is_recorded,
    l1_an_endpoint_has_a_limit_of_its_own,
    l1_endless_response_is_refused_without_polling,
    l1_endless_response_is_known_by_its_type_in_any_case,
    l2_request_body_over_the_frameworks_limit_is_refused,
    l3_duplicates_in_flight_are_answered_without_a_connection,
    l1_waiters_of_a_response_that_is_too_large_get_the_same_problem,
    l3_waiters_are_answered_without_a_connection,
];

const LIMIT: usize = 5000;

async fn is_too_large<F: Framework<D>, D: Database>(world: &World<F, D>, reply: Reply) {
    let instance = world
        .configured(Config::new().with_response_limit(LIMIT))
        .await;
    let request = instance.post("/effects").key("k").effect("a");
    let scene = Scene::new([Act::Insert, Act::AfterCommit]).answer(reply);
    world.control.play([scene]);
    let refused = request.send().await;
    refused.assert_problem("response-too-large");
    assert_eq!(refused.expires(), None);
    assert_eq!(world.effects("acme").await, 0);
    request.send().await.assert_executed(201);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.commits(), 0);
}

async fn l1_response_of_known_size_over_the_limit_is_undone<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    is_too_large(world, Reply::bytes(200, [b'x'; LIMIT + 1])).await;
}

async fn l1_response_of_unknown_size_is_buffered_up_to_the_limit<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let streams = Reply::bytes(200, "").body(Body::Stream(LIMIT + 1));
    is_too_large(world, streams).await;
}

/// Otherwise each of them would run the handler again, one after the other.
async fn l1_waiters_of_a_response_that_is_too_large_get_the_same_problem<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    const WAITERS: usize = 40;
    let instance = world
        .configured(Config::new().with_response_limit(LIMIT))
        .await;
    let request = instance.post("/patient").key("k").effect("a");
    let large = Reply::bytes(200, [b'x'; LIMIT + 1]);
    world.control.play([Scene::gated().answer(large)]);
    let first = request.start();
    world.control.at_gate(1).await;
    let waiters: Vec<_> = (0..WAITERS).map(|_| request.start()).collect();
    let all_wait = async {
        while instance.engine.waiting() < WAITERS {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_mins(1), all_wait)
        .await
        .expect("all of them wait");
    world.control.open(1);
    let first = first.answer().await;
    first.assert_problem("response-too-large");
    for waiter in answers(waiters).await {
        waiter.assert_problem("response-too-large");
        assert_eq!(waiter.body, first.body);
    }
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.effects("acme").await, 0);
    // It is not recorded, so a later request runs.
    request.send().await.assert_executed(201);
    assert_eq!(world.control.entries(), 2);
}

async fn l1_response_at_the_limit_is_recorded<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world
        .configured(Config::new().with_response_limit(LIMIT))
        .await;
    let request = instance.post("/effects").effect("a");
    let known = Reply::bytes(200, [b'x'; LIMIT]);
    let streams = Reply::bytes(200, "").body(Body::Stream(LIMIT));
    world.control.play([known, streams].map(Scene::answering));
    for key in ["known", "streams"] {
        let request = request.clone().key(key);
        let first = request.send().await;
        first.assert_executed(200);
        assert_eq!(first.body.len(), LIMIT);
        request.send().await.assert_replays(&first);
    }
}

/// Above the application's and below it. A body above the application's limit is cached, too.
async fn l1_an_endpoint_has_a_limit_of_its_own<F: Framework<D>, D: Database>(world: &World<F, D>) {
    const OWN: usize = 8192;
    let cache = ReplayCache::new(1024 * 1024, Duration::from_hours(1));
    let configs = [
        Config::new().with_response_limit(OWN + 1000),
        Config::new()
            .with_response_limit(LIMIT)
            .with_replay_cache(cache),
    ];
    for (number, config) in configs.into_iter().enumerate() {
        let is_cached = number == 1;
        let instance = world.configured(config).await;
        let request = instance.post("/capped").effect("a");
        for (size, is_streamed) in [(OWN, false), (OWN, true), (OWN + 1, false), (OWN + 1, true)] {
            let reply = if is_streamed {
                Reply::bytes(200, "").body(Body::Stream(size))
            } else {
                Reply::bytes(200, vec![b'x'; size])
            };
            world.control.play([Scene::answering(reply)]);
            let key = format!("{number}-{size}-{is_streamed}");
            let request = request.clone().key(key);
            let first = request.send().await;
            if size > OWN {
                first.assert_problem("response-too-large");
                continue;
            }
            first.assert_executed(200);
            assert_eq!(first.body.len(), OWN);
            let all = is_cached.then(|| instance.whole_pool());
            let _all = OptionFuture::from(all).await;
            request.send().await.assert_replays(&first);
        }
        // The application's limit is that of the others.
        let reply = Reply::bytes(200, vec![b'x'; OWN]);
        world.control.play([Scene::answering(reply)]);
        let other = instance
            .post("/effects")
            .key(format!("{number}"))
            .effect("a");
        let answer = other.send().await;
        if is_cached {
            answer.assert_problem("response-too-large");
        } else {
            answer.assert_executed(200);
        }
    }
}

async fn l1_endless_response_is_refused_without_polling<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    is_refused_without_polling(world, "text/event-stream").await;
}

async fn l1_endless_response_is_known_by_its_type_in_any_case<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    is_refused_without_polling(world, "Text/Event-Stream; charset=utf-8").await;
}

async fn is_refused_without_polling<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    content_type: &str,
) {
    let endless = Body::Endless(world.control.clone());
    let reply = Reply::bytes(200, "").header("content-type", content_type);
    world.control.play([Scene::answering(reply.body(endless))]);
    // The deadline is short, so that a test that fails does so soon.
    let request = world.instance().await.post("/bounded").key("k").effect("a");
    request.send().await.assert_problem("response-too-large");
    assert_eq!(world.control.polls(), 0);
    assert_eq!(world.effects("acme").await, 0);
}

async fn l2_request_body_over_the_frameworks_limit_is_refused<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    for (path, size) in [("/limited", 1001), ("/effects", 3 * 1024 * 1024)] {
        let request = instance.post(path).key("k");
        let answer = request.clone().effect(&"x".repeat(size)).send().await;
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!(world.records().await, 0);
        assert_eq!(world.control.entries(), 0);
    }
    let request = instance.post("/limited").key("k");
    request.effect("a").send().await.assert_executed(201);
}

async fn l3_duplicates_in_flight_are_answered_without_a_connection<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance_of(1).await;
    let request = instance.post("/hasty").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    assert!(
        instance.pool.try_acquire().is_none(),
        "the attempt has the only one"
    );
    let hammering: Vec<_> = (0..100).map(|_| request.start()).collect();
    for duplicate in hammering {
        duplicate.answer().await.assert_problem("in-flight");
    }
    world.control.open(1);
    first.answer().await.assert_executed(201);
}

async fn l3_waiters_are_answered_without_a_connection<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let mut settings = Settings::default();
    settings.wires.connections = 1;
    settings.config = Config::new().with_waiters(8, 8);
    let instance = world.instance_with(settings).await;
    let request = instance.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.entered(1).await;
    let duplicates = (0..9).map(|_| request.start());
    // Once one of them is refused, all others wait.
    let (refused, _, waiters) = select_all(duplicates).await;
    refused.assert_problem("in-flight");
    // The test is next in the pool's queue, and keeps the connection of the attempt.
    let mut next = Box::pin(instance.pool.acquire());
    assert!((&mut next).now_or_never().is_none());
    world.control.open(1);
    let kept = next.await.expect("a connection");
    let first = first.answer().await;
    first.assert_executed(201);
    for waiter in answers(waiters).await {
        waiter.assert_replays(&first);
    }
    drop(kept);
}
