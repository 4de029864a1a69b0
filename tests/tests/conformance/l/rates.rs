//! Rate limits of keys and of scopes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use idem_core::{Config, RateLimit, ReplayCache};
use idem_tests::{
    Answer, Database, Framework, Instance, Scene, Settings, World, answers, conformance,
};

conformance![
    l4_a_keys_limit_counts_replays_and_refuses_without_a_connection,
    l4_a_keys_limit_counts_duplicates_in_flight,
    l4_a_scopes_limit_counts_all_of_its_keys,
];

/// One more every 20 s: not within a test.
fn limit() -> RateLimit {
    RateLimit::per_minute(3)
}

/// An instance with one connection.
async fn limited<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    config: Config,
) -> Arc<Instance<D>> {
    let mut settings = Settings::default();
    settings.wires.connections = 1;
    settings.wires.acquire_timeout = Duration::from_millis(200);
    settings.config = config;
    world.instance_with(settings).await
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    answer.assert_problem("too-many-retries");
    let seconds = answer.header("retry-after").and_then(|s| s.parse().ok());
    assert!(
        seconds.is_some_and(|seconds| (10..=20).contains(&seconds)),
        "{seconds:?}"
    );
    assert_eq!(answer.expires(), None);
}

async fn l4_a_keys_limit_counts_replays_and_refuses_without_a_connection<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let cache = ReplayCache::new(1024 * 1024, Duration::from_hours(1));
    let config = Config::new().with_key_rate(limit());
    for config in [config.clone(), config.with_replay_cache(cache)] {
        let instance = limited(world, config).await;
        let key = format!("key-{}", world.control.entries());
        let request = instance.post("/effects").key(&key).effect("a");
        let first = request.send().await;
        first.assert_executed(201);
        request.send().await.assert_replays(&first);
        request.send().await.assert_replays(&first);
        let all = instance.whole_pool().await;
        assert_refused(&request.send().await);
        // Nor does it say whether the request is the first one.
        assert_refused(&request.clone().effect("b").send().await);
        drop(all);
        let other = request.clone().key(format!("{key}-other"));
        other.send().await.assert_executed(201);
        let stranger = request.clone().tenant("globex");
        stranger.send().await.assert_executed(201);
        assert_refused(&request.send().await);
    }
    assert_eq!(world.control.entries(), 6);
}

async fn l4_a_keys_limit_counts_duplicates_in_flight<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = limited(world, Config::new().with_key_rate(limit())).await;
    let request = instance.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.at_gate(1).await;
    let mut duplicates: Vec<_> = (0..22).map(|_| request.start()).collect();
    for _ in 0..20 {
        let (refused, _, others) = select_all(duplicates).await;
        assert_refused(&refused);
        duplicates = others;
    }
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    for waiter in answers(duplicates).await {
        waiter.assert_replays(&first);
    }
}

async fn l4_a_scopes_limit_counts_all_of_its_keys<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = limited(world, Config::new().with_scope_rate(limit())).await;
    let request = instance.post("/effects").effect("a");
    for key in ["k1", "k2", "k1"] {
        assert_eq!(request.clone().key(key).send().await.status, 201);
    }
    let all = instance.whole_pool().await;
    for key in ["k1", "k2", "k3"] {
        assert_refused(&request.clone().key(key).send().await);
    }
    // The keys of the scope's other endpoints, and requests without a key, are its own, too.
    let optional = instance.post("/optional").effect("a");
    assert_refused(&optional.send().await);
    drop(all);
    let unscoped = instance.post("/unscoped").effect("a");
    for key in ["k1", "k2", "k3", "k4"] {
        unscoped.clone().key(key).send().await.assert_executed(201);
    }
    let stranger = request.key("k3").tenant("globex");
    stranger.send().await.assert_executed(201);
}
