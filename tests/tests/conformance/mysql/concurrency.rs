//! Many requests at once on MariaDB or MySQL: no request queues for a key, and none is a deadlock's victim.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use idem_tests::{
    Act, Framework, Mysql, Reply, Request, Scene, World, answers, assert_one_executed, conformance,
};

conformance![
    on Mysql:
    c2_duplicate_elsewhere_is_answered_at_once,
    c1_fresh_keys_at_once_are_all_executed,
    c1_fresh_keys_alongside_duplicates_of_recorded_ones_are_all_executed,
    c1_fresh_keys_alongside_replacements_in_flight_are_all_executed,
    c3_duplicates_of_one_that_fails_make_no_deadlock,
    e3_purge_alongside_replacements_in_flight_disturbs_nobody,
    e4_erasure_alongside_duplicates_erases_everything,
    e4_erasure_of_a_record_that_is_in_use_is_an_error,
    e4_erasure_and_purge_in_a_session_that_uses_another_database,
];

async fn c2_duplicate_elsewhere_is_answered_at_once<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let (one, other) = (world.instance().await, world.instance().await);
    for path in ["/hasty", "/hasty?again"] {
        world.control.play([Scene::gated()]);
        let gated = world.control.gated() + 1;
        let request = one.post(path).key(gated.to_string()).effect("a");
        let owner = request.start();
        world.control.at_gate(gated).await;
        let elsewhere = request.to(other.address);
        for _ in 0..8 {
            let start = Instant::now();
            elsewhere.send().await.assert_problem("in-flight");
            let took = start.elapsed();
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
        world.control.open(1);
        owner.answer().await.assert_executed(201);
    }
}

const CLIENTS: usize = 64;
const ROUNDS: usize = 5;

/// One request of every client, over both instances.
fn round(instances: [&Request; 2], round: usize) -> Vec<Request> {
    let clients = instances.into_iter().cycle().take(CLIENTS).enumerate();
    let requests = clients.map(|(client, request)| {
        let key = format!("{round}-{client}");
        request.clone().key(&key).effect(&key)
    });
    requests.collect()
}

async fn all_are_executed(requests: &[Request]) {
    let pending = requests.iter().map(Request::start).collect();
    for answer in answers(pending).await {
        answer.assert_executed(201);
    }
}

async fn c1_fresh_keys_at_once_are_all_executed<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let (one, other) = (world.instance_of(32).await, world.instance_of(32).await);
    for (number, path) in ["/repeatable-read", "/serializable", "/read-committed"]
        .into_iter()
        .enumerate()
    {
        let (one, other) = (one.post(path), other.post(path));
        for again in 0..ROUNDS {
            let requests = round([&one, &other], number * ROUNDS + again);
            all_are_executed(&requests).await;
        }
    }
    let effects = i64::try_from(3 * ROUNDS * CLIENTS).expect("small");
    assert_eq!(world.effects("acme").await, effects);
    assert_eq!(world.records().await, effects);
}

/// The INSERT of a duplicate that collides with a record briefly locks the gap next to the record.
async fn c1_fresh_keys_alongside_duplicates_of_recorded_ones_are_all_executed<
    F: Framework<Mysql>,
>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance_of(32).await, world.instance_of(32).await);
    let addresses = [one.address, other.address];
    let (one, other) = (one.post("/repeatable-read"), other.post("/repeatable-read"));
    let mut recorded = round([&one, &other], 0);
    all_are_executed(&recorded).await;
    for again in 1..=ROUNDS {
        // Each replays a record of the other instance, and so collides with it once.
        let replays = recorded.iter().enumerate().map(|(client, request)| {
            let elsewhere = &addresses[(client + 1) % 2];
            request.clone().to(*elsewhere)
        });
        let replays: Vec<_> = replays.map(|request| request.start()).collect();
        let fresh = round([&one, &other], again);
        all_are_executed(&fresh).await;
        for replay in answers(replays).await {
            assert!(replay.is_replay(), "{} {}", replay.status, replay.text());
        }
        recorded = fresh;
    }
}

/// An attempt on an old record locks that row, and no gap next to it.
async fn c1_fresh_keys_alongside_replacements_in_flight_are_all_executed<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance_of(16).await, world.instance_of(16).await);
    let old: Vec<_> = (0..4)
        .map(|key| one.post("/patient").key(format!("old-{key}")).effect("a"))
        .collect();
    all_are_executed(&old).await;
    world.expire().await;
    world.control.play(vec![Scene::gated(); 4]);
    let replaced: Vec<_> = old.iter().map(Request::start).collect();
    world.control.at_gate(4).await;
    let path = other.post("/hasty");
    for number in 0..ROUNDS {
        for request in round([&path, &path], number).chunks(8) {
            all_are_executed(request).await;
        }
    }
    world.control.open(4);
    for answer in answers(replaced).await {
        answer.assert_executed(201);
    }
}

async fn c3_duplicates_of_one_that_fails_make_no_deadlock<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance_of(16).await, world.instance_of(16).await);
    for number in 1..=ROUNDS {
        let fails = Scene::gated().answer(Reply::new(500));
        world.control.play([fails]);
        let request = one.post("/patient").key(number.to_string()).effect("a");
        let (gated, extracted) = (world.control.gated(), world.control.extractions());
        let first = request.start();
        world.control.at_gate(gated + 1).await;
        let addresses = [one.address, other.address].into_iter().cycle();
        let waiters = addresses.take(32).map(|a| request.clone().to(a).start());
        let waiters: Vec<_> = waiters.collect();
        world.control.extracted(extracted + 33).await;
        world.control.open(1);
        first.answer().await.assert_executed(500);
        assert_one_executed(&answers(waiters).await);
        assert_eq!(
            world.effects("acme").await,
            i64::try_from(number).expect("small")
        );
    }
}

async fn e3_purge_alongside_replacements_in_flight_disturbs_nobody<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance_of(16).await, world.instance().await);
    let old: Vec<_> = (0..16)
        .map(|key| one.post("/patient").key(format!("old-{key}")).effect("a"))
        .collect();
    all_are_executed(&old).await;
    world.expire().await;
    world.control.play(vec![Scene::gated(); 8]);
    let replaced: Vec<_> = old[..8].iter().map(Request::start).collect();
    world.control.at_gate(8).await;
    let purged = join_all([one.engine.purge_expired(), other.engine.purge_expired()]).await;
    let purged: u64 = purged
        .into_iter()
        .map(|purged| purged.expect("purges"))
        .sum();
    assert_eq!(purged, 8);
    world.control.open(8);
    let replaced = answers(replaced).await;
    for (answer, request) in replaced.iter().zip(&old) {
        answer.assert_executed(201);
        request.send().await.assert_replays(answer);
    }
    assert_eq!(world.records().await, 8);
}

async fn e4_erasure_alongside_duplicates_erases_everything<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance_of(8).await, world.instance().await);
    let requests: Vec<_> = (0..16)
        .map(|key| one.post("/effects").key(format!("key-{key}")).effect("a"))
        .collect();
    for _ in 0..ROUNDS {
        all_are_executed(&requests).await;
        // Duplicates after the erasure are executed again, and leave records of their own.
        let erasure = other.engine.clone();
        let erasure = tokio::spawn(async move { erasure.erase(Some("acme")).await });
        let duplicates = requests.iter().map(Request::start).collect();
        let erased = erasure.await.expect("ends").expect("erases");
        let answers = answers(duplicates).await;
        assert!(answers.iter().all(|answer| answer.status == 201));
        let again = answers.iter().filter(|answer| !answer.is_replay()).count();
        assert!(erased >= 16, "{erased} were erased");
        let left = world.records().await;
        assert!(
            left <= i64::try_from(again).expect("small"),
            "{left} of {again}"
        );
        other.engine.erase(Some("acme")).await.expect("erases");
        assert_eq!(world.records().await, 0);
    }
}

async fn e4_erasure_and_purge_in_a_session_that_uses_another_database<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let instance = world.instance_of(1).await;
    let request = instance.post("/effects").effect("a");
    let leaves = Act::run("USE information_schema");
    world.control.play([Scene::effect().then(leaves)]);
    request.clone().key("k1").send().await.assert_executed(201);
    assert_eq!(instance.engine.purge_expired().await.expect("purges"), 0);
    assert_eq!(
        instance.engine.erase(Some("acme")).await.expect("erases"),
        1
    );
}

/// An erasure never waits long for a row: the attempt goes on undisturbed, and its record is left.
async fn e4_erasure_of_a_record_that_is_in_use_is_an_error<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    let request = one.post("/patient").key("k").effect("a");
    let fails = Scene::answering(Reply::new(500));
    world.control.play([fails, Scene::gated()]);
    request.send().await.assert_executed(500);
    let attempt = request.start();
    world.control.at_gate(1).await;
    let erased = other.engine.erase(Some("acme")).await;
    erased.expect_err("a record is left, so it is not erased");
    world.control.open(1);
    let second = attempt.answer().await;
    second.assert_executed(201);
    request.send().await.assert_replays(&second);
    assert_eq!(other.engine.erase(Some("acme")).await.expect("erases"), 1);
    assert_eq!(world.records().await, 0);
}
