//! C: concurrency.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use idem_core::Config;
use idem_tests::{Act, Answer, Reply, Scene, answers, assert_one_executed};

use crate::server::Private;
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    c1_c2_c5_simultaneous_duplicates_have_one_effect,
    c2_t1_duplicate_of_a_long_call_is_answered_in_flight,
    c2_r2_duplicates_of_a_read_get_its_answer,
    c3_retriable_failure_with_waiters_has_one_next_attempt,
    c4_c6_waiters_are_bounded_and_a_conflict_has_a_type,
];

async fn c1_c2_c5_simultaneous_duplicates_have_one_effect<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    for (number, status) in [(1, 201), (2, 422)] {
        let scene = Scene::gated().answer(Reply::new(status));
        world.control.play([scene]);
        let request = one.post("/patient").key(format!("k{number}")).effect("a");
        let addresses = [one.address, other.address].into_iter().cycle();
        let pending = addresses
            .take(64)
            .map(|address| request.clone().to(address).start());
        let pending: Vec<_> = pending.collect();
        world.control.extracted(64 * number).await;
        assert!(!pending.iter().any(idem_tests::Pending::is_answered));
        world.control.open(1);
        let mut answers = answers(pending).await;
        assert!(answers.iter().all(|answer| answer.status == status));
        answers.retain(|answer| !answer.is_replay());
        assert_eq!(answers.len(), 1);
        request.send().await.assert_replays(&answers[0]);
        assert_eq!((world.control.entries(), world.effects()), (number, number));
        assert_eq!(world.provider.calls(), number);
        assert_eq!(world.keys().await.len(), number);
    }
}

/// The wait is longer than the lease, which the call renews.
async fn c2_t1_duplicate_of_a_long_call_is_answered_in_flight<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    world.control.play([Scene::gated(), Scene::gated()]);
    let request = one.post("/effects").key("k").effect("a");
    let elsewhere = request.clone().to(other.address);
    let hasty = one.post("/hasty").key("k").effect("a");
    let firsts = [request.start(), hasty.start()];
    world.control.at_gate(2).await;
    let timed = async |request: &idem_tests::Request| {
        let start = Instant::now();
        let refused = request.send().await;
        refused.assert_problem("in-flight");
        start.elapsed()
    };
    let hasty_elsewhere = hasty.clone().to(other.address);
    let at_once = Duration::ZERO..Duration::from_secs(1);
    let in_two_seconds = Duration::from_millis(1800)..Duration::from_secs(4);
    let cases = [
        (&request, &in_two_seconds),
        (&elsewhere, &in_two_seconds),
        (&hasty, &at_once),
        (&hasty_elsewhere, &at_once),
    ];
    let all = cases.map(async |(request, bounds)| (timed(request).await, bounds));
    for (waited, bounds) in join_all(all).await {
        assert!(bounds.contains(&waited), "{waited:?}");
    }
    world.control.open(2);
    let firsts = answers(firsts.into()).await;
    for (duplicate, first) in [
        (&request, 0),
        (&elsewhere, 0),
        (&hasty, 1),
        (&hasty_elsewhere, 1),
    ] {
        firsts[first].assert_executed(201);
        duplicate.send().await.assert_replays(&firsts[first]);
    }
    assert_eq!((world.control.entries(), world.provider.calls()), (2, 2));
}

/// As the server is frozen, no record can be read. A settled key is not in flight all the same.
async fn c2_r2_duplicates_of_a_read_get_its_answer<F: Framework>(world: &World<F>) {
    let server = Private::start();
    let limits = Config::new().with_waiters(2, 2);
    let quick = world.on(&server, limits.clone());
    let slow = world.within(&server, Duration::from_secs(20), limits);
    for path in ["/patient", "/hasty"] {
        let first = quick.post(path).key("k").effect("a").send().await;
        first.assert_executed(201);
        for (instance, is_replay) in [(&quick, false), (&slow, true)] {
            server.freeze();
            let extracted = world.control.extractions();
            let request = instance.post(path).key("k").effect("a");
            let pending: Vec<_> = (0..20).map(|_| request.start()).collect();
            world.control.extracted(extracted + 20).await;
            if is_replay {
                server.thaw();
            }
            for answer in answers(pending).await {
                if is_replay {
                    answer.assert_replays(&first);
                } else {
                    answer.assert_problem_of_steps("unavailable");
                }
            }
            server.thaw();
        }
    }
    assert_eq!(world.control.entries(), 2);
}

async fn c3_retriable_failure_with_waiters_has_one_next_attempt<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let fails = |status| Scene::new([Act::Wait]).answer(Reply::new(status));
    world.control.play([
        fails(500),
        Scene::new([Act::Panic]),
        Scene::new([Act::Insert, Act::Wait]),
    ]);
    let request = one.post("/patient").key("k").effect("a");
    let first = request.start();
    world.control.at_gate(1).await;
    let addresses = [one.address, other.address].into_iter().cycle();
    let waiters: Vec<_> = addresses
        .take(8)
        .map(|to| request.clone().to(to).start())
        .collect();
    world.control.extracted(9).await;
    world.control.open(1);
    first.answer().await.assert_executed(500);
    world.control.at_gate(2).await;
    world.control.open(1);
    let mut answers = answers(waiters).await;
    let panicked = |answer: &Answer| answer.status == 500;
    assert_eq!(answers.iter().filter(|answer| panicked(answer)).count(), 1);
    answers.retain(|answer| !panicked(answer));
    assert_one_executed(&answers);
    assert_eq!(answers[0].json()["attempt"], 3);
    assert_eq!(
        (world.control.entries(), world.control.most_running()),
        (3, 1)
    );
    assert_eq!((world.effects(), world.provider.calls()), (1, 1));
}

async fn c4_c6_waiters_are_bounded_and_a_conflict_has_a_type<F: Framework>(world: &World<F>) {
    for (all, per_identity) in [(2, 100), (100, 2)] {
        let config = Config::new().with_waiters(all, per_identity);
        let instance = world.configured(config).await;
        let reached = world.control.gated();
        world.control.play([Scene::gated()]);
        let request = instance
            .post("/patient")
            .key(format!("k-{all}"))
            .effect("a");
        let first = request.start();
        world.control.at_gate(reached + 1).await;
        let mut duplicates: Vec<_> = (0..6).map(|_| request.start()).collect();
        // Two of six can wait.
        while duplicates.len() > 2 {
            let (refused, _, others) = select_all(duplicates).await;
            refused.assert_problem("in-flight");
            duplicates = others;
        }
        world.control.open(1);
        let first = first.answer().await;
        for waiter in answers(duplicates).await {
            waiter.assert_replays(&first);
        }
    }
    let own = Reply::bytes(409, r#"{"type":"/taken"}"#);
    world.control.play([Scene::answering(own)]);
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let conflict = request.send().await;
    conflict.assert_executed(409);
    assert_eq!(conflict.json()["type"], "/taken");
}
