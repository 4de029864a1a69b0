//! Servers that fail, and connections that break.

use std::time::{Duration, Instant};

use idem_redis::RedisStore;

use crate::place;
use crate::proxy::{Fault, Proxy};
use crate::server::{Private, until};
use crate::service::{LEASE, Service};

const TIMEOUT: Duration = Duration::from_millis(300);

async fn store(url: &str) -> RedisStore {
    let store = RedisStore::connect(url).await.expect("connects");
    store.with_prefix(&place::prefix()).with_timeout(TIMEOUT)
}

#[tokio::test]
async fn cost_of_a_fresh_request_is_three_round_trips_and_of_a_replay_one() {
    let proxy = Proxy::to(&place::url()).await;
    let service = Service::new(&store(&proxy.url()).await);
    service.pay("warm").await;
    for (round_trips, is_replayed) in [(3, false), (1, true), (1, true)] {
        proxy.set(Fault::None);
        let answer = service.pay("k").await;
        assert_eq!((answer.status, answer.is_replayed), (201, is_replayed));
        assert_eq!(proxy.scripts(), round_trips);
    }
}

#[tokio::test]
async fn t3_a_cut_at_any_script_changes_nothing() {
    let proxy = Proxy::to(&place::url()).await;
    let service = Service::new(&store(&proxy.url()).await);
    service.pay("warm").await;
    for cut in 0..3 {
        for (kind, fault) in [Fault::CutBefore(cut), Fault::CutAfter(cut)]
            .into_iter()
            .enumerate()
        {
            let (entered, calls) = (service.entered(), service.keys().len());
            let key = format!("cut-{cut}-{kind}");
            proxy.set(fault);
            let answer = service.pay(&key).await;
            assert_eq!(
                (answer.status, answer.is_replayed),
                (201, false),
                "{fault:?}: {answer:?}"
            );
            assert_eq!(proxy.scripts(), 4, "the script is sent again");
            assert_eq!(
                (service.entered(), service.keys().len()),
                (entered + 1, calls + 1)
            );
            proxy.set(Fault::None);
            let again = service.pay(&key).await;
            assert_eq!((again.body, again.is_replayed), (answer.body, true));
        }
    }
}

/// The holder lives, and its call takes longer than its lease. Nobody takes it for dead.
#[tokio::test]
async fn t1_a_living_holder_is_no_orphan() {
    let (prefix, url) = (place::prefix(), place::url());
    let store = async || store(&url).await.with_prefix(&prefix);
    let service = Service::gated(&store().await);
    let other = service.beside(&store().await);
    let paying = tokio::spawn({
        let service = service.clone();
        async move { service.pay("k").await }
    });
    until("the call is made", async || service.keys().len() == 1).await;
    let start = Instant::now();
    while start.elapsed() < LEASE * 5 / 2 {
        let answer = other.pay("k").await;
        assert!(answer.is_problem("in-flight"), "{answer:?}");
        tokio::time::sleep(LEASE / 20).await;
    }
    service.state.in_call.add_permits(1);
    service.state.at_end.add_permits(1);
    let answer = paying.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
    assert_eq!(service.entered(), 1);
}

#[tokio::test]
async fn t5_a_lease_ends_by_the_clock_of_the_server() {
    let server = Private::start();
    let proxy = Proxy::to(server.url()).await;
    let store = store(&proxy.url()).await;
    let service = Service::gated(&store);
    let other = service.beside(&store);
    proxy.set(Fault::ClockBehind);
    let paying = tokio::spawn({
        let service = service.clone();
        async move { service.pay("k").await }
    });
    until("the call is made", async || service.keys().len() == 1).await;
    let keys: Vec<String> = server.run("KEYS *").await;
    let leased_until: u128 = server.run(&format!("HGET {} leased_until", keys[0])).await;
    let now = std::time::UNIX_EPOCH.elapsed().expect("a time").as_micros();
    assert!(leased_until < now - 8_000_000_000, "the clock is behind");
    let answer = other.pay("k").await;
    assert!(answer.is_problem("in-flight"), "{answer:?}");
    service.state.in_call.add_permits(1);
    service.state.at_end.add_permits(1);
    let answer = paying.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
    assert!(other.pay("k").await.is_replayed);
    assert_eq!(service.entered(), 1);
}

#[tokio::test]
async fn t1_a_server_that_is_down_enters_no_handler() {
    let mut server = Private::start();
    let service = Service::new(&store(server.url()).await);
    assert_eq!(service.pay("before").await.status, 201);
    server.kill();
    for _ in 0..3 {
        let start = Instant::now();
        let answer = service.pay("during").await;
        assert!(
            answer.is_problem("unavailable") && answer.status == 503,
            "{answer:?}"
        );
        assert_eq!(service.entered(), 1);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    server.restart();
    let answer = service.pay_until_answered("before").await;
    assert!(answer.is_replayed, "{answer:?}");
    assert_eq!(service.pay_until_answered("during").await.status, 201);
    assert_eq!(service.entered(), 2);
}

#[tokio::test]
async fn t1_a_server_that_is_silent_enters_no_handler() {
    let server = Private::start();
    let service = Service::new(&store(server.url()).await);
    service.pay("before").await;
    server.freeze();
    let start = Instant::now();
    let pays = (0..20).map(|_| service.pay("during"));
    for answer in futures_util::future::join_all(pays).await {
        assert!(
            answer.is_problem("unavailable") || answer.is_problem("in-flight"),
            "{answer:?}"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(service.entered(), 1);
    server.thaw();
    // A claim that was sent in the meantime may hold the key until the end of its lease.
    let start = Instant::now();
    assert_eq!(service.pay_until_answered("during").await.status, 201);
    assert!(start.elapsed() < LEASE * 2, "{:?}", start.elapsed());
    assert_eq!(service.entered(), 2);
}

#[tokio::test]
async fn t1_a_connection_that_is_silent_is_replaced() {
    let proxy = Proxy::to(&place::url()).await;
    let service = Service::new(&store(&proxy.url()).await);
    assert_eq!(service.pay("before").await.status, 201);
    proxy.silence();
    let answer = service.pay("during").await;
    assert!(answer.is_problem("unavailable"), "{answer:?}");
    assert_eq!(service.pay("during").await.status, 201);
    assert!(service.pay("before").await.is_replayed);
}

#[tokio::test]
async fn t3_a_restart_in_the_middle_of_an_attempt_is_waited_for() {
    let mut server = Private::start();
    let service = Service::gated(&store(server.url()).await);
    let paying = tokio::spawn({
        let service = service.clone();
        async move { service.pay("k").await }
    });
    until("the call is made", async || service.keys().len() == 1).await;
    server.kill();
    service.state.in_call.add_permits(1);
    service.state.at_end.add_permits(1);
    server.restart();
    let answer = paying.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
    assert!(service.pay("k").await.is_replayed);
    assert_eq!(service.entered(), 1);
}

#[tokio::test]
async fn t3_a_step_that_is_not_confirmed_is_told_so_and_resumed() {
    let server = Private::start();
    let service = Service::gated(&store(server.url()).await);
    let paying = tokio::spawn({
        let service = service.clone();
        async move { service.pay("k").await }
    });
    until("the call is made", async || service.keys().len() == 1).await;
    server.freeze();
    service.state.in_call.add_permits(1);
    let answer = paying.await.expect("no panic");
    assert!(answer.is_problem("outcome-unknown"), "{answer:?}");
    server.thaw();
    service.state.in_call.add_permits(8);
    service.state.at_end.add_permits(8);
    let answer = service.pay_until_answered("k").await;
    assert_eq!(answer.status, 201);
    let keys = service.keys();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn t1_a_server_without_memory_enters_no_handler() {
    let server = Private::start();
    let service = Service::gated(&store(server.url()).await);
    service.state.in_call.add_permits(8);
    service.state.at_end.add_permits(8);
    assert_eq!(service.pay("before").await.status, 201);
    server.set("maxmemory 1").await;
    let answer = service.pay("during").await;
    assert!(answer.is_problem("unavailable"), "{answer:?}");
    assert_eq!(service.entered(), 1);
    assert!(
        service.pay("before").await.is_replayed,
        "a replay needs no memory"
    );
    server.set("maxmemory 0").await;
    assert_eq!(service.pay("during").await.status, 201);
}

#[tokio::test]
async fn t3_a_server_that_refuses_a_step_for_a_time_is_waited_for() {
    let server = Private::start();
    let service = Service::gated(&store(server.url()).await);
    let paying = tokio::spawn({
        let service = service.clone();
        async move { service.pay("k").await }
    });
    until("the call is made", async || service.keys().len() == 1).await;
    server.set("maxmemory 1").await;
    service.state.in_call.add_permits(1);
    service.state.at_end.add_permits(1);
    until("the step is refused", async || {
        let errors: String = server.run("INFO errorstats").await;
        errors.contains("errorstat_OOM")
    })
    .await;
    server.set("maxmemory 0").await;
    let answer = paying.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
}

#[tokio::test]
async fn t1_a_replica_enters_no_handler() {
    let primary = Private::start();
    let replica = Private::replica_of(&primary).await;
    let service = Service::new(&store(replica.url()).await);
    let answer = service.pay("k").await;
    assert!(answer.is_problem("unavailable"), "{answer:?}");
    assert_eq!(service.entered(), 0);
    replica.promote().await;
    assert_eq!(service.pay("k").await.status, 201);
}

#[tokio::test]
async fn a_key_that_can_t_be_read_is_not_a_free_key() {
    let server = Private::start();
    let service = Service::new(&store(server.url()).await);
    assert_eq!(service.pay("k").await.status, 201);
    let keys: Vec<String> = server.run("KEYS *").await;
    let [key] = &keys[..] else {
        panic!("{keys:?}");
    };
    let damages = [
        format!("HSET {key} state 9"),
        format!("HSET {key} at soon"),
        format!("HDEL {key} state"),
        format!("HDEL {key} response"),
        format!("HSET {key} state run"),
        format!("SET {key} text"),
    ];
    let whole: Vec<u8> = server.run(&format!("DUMP {key}")).await;
    for damage in damages {
        server.run::<redis::Value>(&damage).await;
        let answer = service.pay("k").await;
        assert!(
            answer.is_problem("record-unreadable"),
            "{damage}: {answer:?}"
        );
        let mut restore = redis::cmd("RESTORE");
        restore.arg(key).arg(0).arg(&whole).arg("REPLACE");
        let mut connection = server.connection().await;
        restore.exec_async(&mut connection).await.expect("restores");
        assert!(service.pay("k").await.is_replayed);
    }
    assert_eq!(service.entered(), 1);
}

#[tokio::test]
async fn a_server_that_forgets_scripts_is_sent_them_again() {
    let server = Private::start();
    let service = Service::new(&store(server.url()).await);
    for key in ["a", "b"] {
        assert_eq!(service.pay(key).await.status, 201);
        server.run::<()>("SCRIPT FLUSH").await;
        assert!(service.pay(key).await.is_replayed);
    }
}
