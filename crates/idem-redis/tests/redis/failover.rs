//! Primaries that die, and the replicas that take their place.

use idem_redis::{Durability, RedisStore};

use crate::proxy::Proxy;
use crate::server::{Private, until};
use crate::service::{Answer, Service};

async fn store(url: &str, durability: Durability) -> RedisStore {
    let store = RedisStore::connect(url).await.expect("connects");
    store.with_durability(durability)
}

fn pay(service: &Service, key: &'static str) -> tokio::task::JoinHandle<Answer> {
    let service = service.clone();
    tokio::spawn(async move { service.pay(key).await })
}

#[tokio::test]
async fn replicas_that_are_asked_for_have_every_answer() {
    let mut primary = Private::start();
    let replica = Private::replica_of(&primary).await;
    let proxy = Proxy::to(primary.url()).await;
    let service = Service::new(&store(&proxy.url(), Durability::Replicas(1)).await);
    let mut answers = Vec::new();
    for number in 0..50 {
        let answer = service.pay(&number.to_string()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answers.push(answer);
    }
    // The primary dies right after its last answer.
    primary.kill();
    proxy.lead_to(replica.url());
    replica.promote().await;
    let replica = &store(replica.url(), Durability::Memory).await;
    let service = service.beside(replica);
    for (number, answer) in answers.iter().enumerate() {
        let again = service.pay(&number.to_string()).await;
        assert!(again.is_replayed && again.body == answer.body, "{again:?}");
    }
    assert_eq!(service.entered(), 50);
}

/// WAIT promises nothing about what another connection has written.
#[tokio::test]
async fn a_replay_that_replicas_must_have_is_a_write_and_no_other_is() {
    let primary = Private::start();
    let _replica = Private::replica_of(&primary).await;
    for (durability, is_write) in [(Durability::Replicas(1), true), (Durability::Memory, false)] {
        let service = Service::new(&store(primary.url(), durability).await);
        service.pay("k").await;
        primary.run::<()>("CONFIG RESETSTAT").await;
        assert!(service.pay("k").await.is_replayed);
        let stats: String = primary.run("INFO commandstats").await;
        assert_eq!(stats.contains("cmdstat_hset:"), is_write, "{stats}");
    }
}

#[tokio::test]
async fn too_few_replicas_enter_no_handler() {
    let primary = Private::start();
    let service = Service::new(&store(primary.url(), Durability::Replicas(1)).await);
    for _ in 0..2 {
        let answer = service.pay("k").await;
        assert!(answer.is_problem("unavailable"), "{answer:?}");
    }
    assert_eq!(service.entered(), 0);
    let _replica = Private::replica_of(&primary).await;
    // The claims that failed hold nothing.
    let answer = service.pay("k").await;
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
}

#[tokio::test]
async fn a_step_or_a_record_that_too_few_replicas_have_is_not_confirmed() {
    let primary = Private::start();
    let replica = Private::replica_of(&primary).await;
    for is_record in [false, true] {
        let key = if is_record { "record" } else { "step" };
        let service = Service::gated(&store(primary.url(), Durability::Replicas(1)).await);
        let paying = pay(&service, key);
        until("the call is made", async || service.keys().len() == 1).await;
        if is_record {
            service.state.in_call.add_permits(1);
            until("the call is recorded", async || service.at_the_end() == 1).await;
        }
        replica.freeze();
        service.state.in_call.add_permits(1);
        service.state.at_end.add_permits(1);
        let answer = paying.await.expect("no panic");
        assert!(answer.is_problem("outcome-unknown"), "{answer:?}");
        // A record that a failover can lose is not replayed, not even by another process.
        let other = store(primary.url(), Durability::Replicas(1)).await;
        let answer = service.beside(&other).pay(key).await;
        assert!(
            answer.status == 409 || answer.is_problem("unavailable"),
            "{answer:?}"
        );
        replica.thaw();
        service.state.at_end.add_permits(1);
        let answer = service.pay_until_answered(key).await;
        assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
        assert_eq!(service.keys().len(), 1, "its result is recorded");
    }
}

/// A primary, a replica that lacks all that comes from now on, and a proxy to the one that serves.
struct Lagging {
    primary: Private,
    replica: Private,
    proxy: Proxy,
}

impl Lagging {
    async fn start() -> Self {
        let primary = Private::start();
        let replica = Private::replica_of(&primary).await;
        replica.freeze();
        primary
            .run::<redis::Value>("CLIENT KILL TYPE replica")
            .await;
        let proxy = Proxy::to(primary.url()).await;
        Self {
            primary,
            replica,
            proxy,
        }
    }

    async fn fail_over(&mut self) {
        self.primary.kill();
        self.replica.thaw();
        self.replica.promote().await;
        self.proxy.lead_to(self.replica.url());
    }
}

/// The loss that the documentation names: two attempts overlap. Both calls have one key, so that a service that keeps
/// keys charges once, and the record is that of the second attempt.
#[tokio::test]
async fn t3_attempts_that_overlap_after_a_lost_claim_call_with_one_key() {
    let mut servers = Lagging::start().await;
    let first = Service::gated(&store(&servers.proxy.url(), Durability::Memory).await);
    let second = first.beside(&store(&servers.proxy.url(), Durability::Memory).await);
    let older = pay(&first, "k");
    first.state.in_call.add_permits(1);
    until("the first attempt is at its end", async || {
        first.at_the_end() == 1
    })
    .await;
    servers.fail_over().await;
    let newer = pay(&second, "k");
    first.state.in_call.add_permits(1);
    until("the second attempt is at its end", async || {
        first.at_the_end() == 2
    })
    .await;
    // The first one waits longer. Its settlement is refused, and its answer is the record of the second.
    first.state.at_end.add_permits(1);
    let answer = older.await.expect("no panic");
    assert!(!answer.body.contains("charge 1"), "{answer:?}");
    first.state.at_end.add_permits(1);
    let answer = newer.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (201, "charge 2"));
    let again = first.pay("k").await;
    assert!(again.is_replayed && again.body == "charge 2", "{again:?}");
    let keys = first.keys();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

/// A call whose attempt has lost its claim is dropped at the next renewal.
#[tokio::test]
async fn t5_a_call_ends_after_a_lost_claim() {
    let mut servers = Lagging::start().await;
    let service = Service::gated(&store(&servers.proxy.url(), Durability::Memory).await);
    let paying = pay(&service, "k");
    until("the call is made", async || service.keys().len() == 1).await;
    servers.fail_over().await;
    let answer = paying.await.expect("no panic");
    assert!(answer.is_problem("in-flight"), "{answer:?}");
}

/// The other loss that the documentation names.
#[tokio::test]
async fn t3_a_request_whose_record_is_lost_runs_again_with_the_same_key() {
    let mut servers = Lagging::start().await;
    let service = Service::new(&store(&servers.proxy.url(), Durability::Memory).await);
    assert_eq!(service.pay("k").await.body, "charge 1");
    servers.fail_over().await;
    assert_eq!(service.pay_until_answered("k").await.body, "charge 2");
    let keys = service.keys();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
}
