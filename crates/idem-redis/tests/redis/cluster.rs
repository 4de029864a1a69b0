//! A cluster of three primaries, alone, with replicas, and while it changes.

use std::time::Duration;

use futures_util::future::join_all;
use idem_core::StoreError;
use idem_core::store::{RunStore as _, ScopeDigest};
use idem_redis::{Durability, RedisStore};
use redis::cluster::ClusterClient;

use crate::server::{Private, until};
use crate::service::{Answer, Service};

struct Cluster(Vec<Private>);

impl Cluster {
    async fn start() -> Self {
        let nodes: Vec<_> = (0..3).map(|_| Private::node()).collect();
        let slots = ["0 5460", "5461 10922", "10923 16383"];
        for ((node, slots), epoch) in nodes.iter().zip(slots).zip(1..) {
            node.run::<()>(&format!("CLUSTER ADDSLOTSRANGE {slots}"))
                .await;
            node.run::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}"))
                .await;
        }
        let cluster = Self(nodes);
        for node in &cluster.0[1..] {
            cluster.meet(node).await;
        }
        cluster.is_known(3).await;
        cluster
    }

    async fn meet(&self, node: &Private) {
        let port = self.0[0].port();
        let bus: Vec<String> = self.0[0].run("CONFIG GET cluster-port").await;
        let meet = format!("CLUSTER MEET 127.0.0.1 {port} {}", bus[1]);
        node.run::<()>(&meet).await;
    }

    async fn is_known(&self, nodes: usize) {
        for node in &self.0 {
            until("the cluster is formed", async || {
                let info: String = node.run("CLUSTER INFO").await;
                info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{nodes}\r"))
            })
            .await;
        }
    }

    /// Adds a primary without slots.
    async fn grow(&mut self) {
        let node = Private::node();
        node.run::<()>("CLUSTER SET-CONFIG-EPOCH 9").await;
        self.meet(&node).await;
        self.0.push(node);
        self.is_known(self.0.len()).await;
    }

    /// A replica of each primary, in their order.
    async fn replicas(&self) -> Vec<Private> {
        let mut replicas = Vec::new();
        for primary in &self.0 {
            let replica = Private::node();
            let id = id(primary).await;
            self.meet(&replica).await;
            until("the replica follows", async || {
                // Refused until the nodes know each other.
                let mut replicate = redis::cmd("CLUSTER");
                replicate.arg("REPLICATE").arg(&id);
                drop(replicate.exec_async(&mut replica.connection().await).await);
                let info: String = replica.run("INFO replication").await;
                info.contains("master_link_status:up")
            })
            .await;
            replicas.push(replica);
        }
        // A primary votes for those alone that it knows as replicas.
        for node in self.0.iter().chain(&replicas) {
            until("the replicas are known", async || {
                let nodes: String = node.run("CLUSTER NODES").await;
                nodes.matches("slave ").count() == replicas.len()
            })
            .await;
        }
        replicas
    }

    fn store(&self) -> RedisStore {
        let urls = self.0.iter().map(Private::url);
        let client = ClusterClient::builder(urls)
            .retries(2)
            .connection_timeout(Duration::from_secs(1));
        RedisStore::new_cluster(client.build().expect("a client"))
    }

    /// The number of a primary that has a key, and the key.
    async fn holder(&self) -> (usize, String) {
        for (number, node) in self.0.iter().enumerate() {
            let keys: Vec<String> = node.run("KEYS *").await;
            if let Some(key) = keys.into_iter().next() {
                return (number, key);
            }
        }
        panic!("there is no key");
    }
}

async fn id(node: &Private) -> String {
    node.run("CLUSTER MYID").await
}

/// A slot that moves from one primary to another, with one key in it.
struct Moving<'a> {
    slot: u16,
    from: &'a Private,
    to: &'a Private,
}

impl<'a> Moving<'a> {
    /// From now on the key is on the new primary, and the old one answers ASK.
    async fn begin(key: &str, from: &'a Private, to: &'a Private) -> Self {
        let slot = from.run(&format!("CLUSTER KEYSLOT {key}")).await;
        let (old, new) = (id(from).await, id(to).await);
        to.run::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {old}"))
            .await;
        from.run::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {new}"))
            .await;
        let port = to.port();
        from.run::<()>(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000"))
            .await;
        Self { slot, from, to }
    }

    /// From now on the old primary answers MOVED.
    async fn end(self, cluster: &Cluster) {
        let node = format!("CLUSTER SETSLOT {} NODE {}", self.slot, id(self.to).await);
        self.to.run::<()>(&node).await;
        self.from.run::<()>(&node).await;
        for other in &cluster.0 {
            other.run::<()>(&node).await;
        }
    }
}

#[tokio::test]
async fn identities_are_spread_and_found_again() {
    let cluster = Cluster::start().await;
    let store = cluster.store();
    store.check().await.expect("all nodes are fit");
    let service = Service::new(&store);
    let keys: Vec<String> = (0..60).map(|key| key.to_string()).collect();
    for is_replayed in [false, true] {
        let answers = join_all(keys.iter().map(|key| service.pay(key))).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.status == 201 && answer.is_replayed == is_replayed),
            "{answers:?}"
        );
    }
    for node in &cluster.0 {
        let size: u64 = node.run("DBSIZE").await;
        assert!(size > 0 && size < 60, "{size}");
    }
    let stats = service.engine.stats().await.expect("counts");
    assert_eq!(stats.records(), 60);
    let scope = ScopeDigest::new(None);
    assert_eq!(store.erase(&scope).await.expect("erases"), 60);
    assert_eq!(store.erase(&scope).await.expect("erases"), 0);
    let alone = RedisStore::connect(cluster.0[0].url()).await;
    let refused = alone.expect("connects").check().await;
    let Err(StoreError::Misconfigured(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.to_string().contains("new_cluster"), "{reason}");
    cluster.0[1].set("maxmemory-policy allkeys-lfu").await;
    assert!(store.check().await.is_err(), "one node evicts");
}

#[tokio::test]
async fn replicas_of_each_primary_are_waited_for() {
    let cluster = Cluster::start().await;
    let store = cluster.store().with_durability(Durability::Replicas(1));
    let service = Service::new(&store);
    assert!(store.check().await.is_err(), "there is no replica");
    assert!(service.pay("k").await.is_problem("unavailable"));
    assert_eq!(service.entered(), 0);
    let replicas = cluster.replicas().await;
    until("all nodes are fit", async || store.check().await.is_ok()).await;
    for key in ["k", "l", "m"] {
        assert_eq!(service.pay_until_answered(key).await.status, 201);
    }
    let mut copies = 0;
    for replica in &replicas {
        copies += replica.run::<u64>("DBSIZE").await;
    }
    assert_eq!(copies, 3);
}

#[tokio::test]
async fn t1_a_node_that_is_down_enters_no_handler() {
    let mut cluster = Cluster::start().await;
    let service = Service::new(&cluster.store());
    assert_eq!(service.pay("warm").await.status, 201);
    cluster.0[2].kill();
    let mut entered = service.entered();
    let mut refused = Vec::new();
    for key in 0..12 {
        let answer = service.pay(&key.to_string()).await;
        let is_served = answer.status == 201;
        assert!(is_served || answer.is_problem("unavailable"), "{answer:?}");
        assert_eq!(service.entered(), entered + usize::from(is_served));
        entered = service.entered();
        if !is_served {
            refused.push(key.to_string());
        }
    }
    assert!(!refused.is_empty());
    cluster.0[2].restart();
    for key in refused {
        assert_eq!(service.pay_until_answered(&key).await.status, 201);
    }
}

/// The step is redirected by ASK, and the record by MOVED.
#[tokio::test]
async fn t1_t3_an_attempt_goes_on_while_its_slot_moves() {
    let cluster = Cluster::start().await;
    let store = cluster.store();
    let service = Service::gated(&store);
    let paying = pay(&service);
    until("the call is made", async || service.keys().len() == 1).await;
    let (number, key) = cluster.holder().await;
    let moving = Moving::begin(&key, &cluster.0[number], &cluster.0[(number + 1) % 3]).await;
    // Another process finds the claim on the new primary.
    let other = service.beside(&cluster.store());
    assert!(other.pay("k").await.is_problem("in-flight"));
    service.state.in_call.add_permits(1);
    until("the call is recorded", async || service.at_the_end() == 1).await;
    moving.end(&cluster).await;
    service.state.at_end.add_permits(1);
    let answer = paying.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
    for service in [&service, &other] {
        let again = service.pay("k").await;
        assert!(again.is_replayed && again.body == "charge 1", "{again:?}");
    }
    assert_eq!((service.entered(), service.keys().len()), (1, 1));
}

#[tokio::test]
async fn e4_e7_keys_on_a_primary_that_is_new_are_counted_and_erased() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store();
    let service = Service::new(&store);
    for key in 0..9 {
        assert_eq!(service.pay(&key.to_string()).await.status, 201);
    }
    cluster.grow().await;
    let (number, key) = cluster.holder().await;
    let moving = Moving::begin(&key, &cluster.0[number], &cluster.0[3]).await;
    moving.end(&cluster).await;
    assert_eq!(cluster.0[3].run::<u64>("DBSIZE").await, 1);
    let stats = service.engine.stats().await.expect("counts");
    assert_eq!(stats.records(), 9);
    let scope = ScopeDigest::new(None);
    assert_eq!(store.erase(&scope).await.expect("erases"), 9);
    for node in &cluster.0 {
        assert_eq!(node.run::<u64>("DBSIZE").await, 0);
    }
}

/// A failover that loses nothing, in the middle of an attempt.
#[tokio::test]
async fn t1_t3_an_attempt_goes_on_after_a_failover_of_its_primary() {
    let cluster = Cluster::start().await;
    let replicas = cluster.replicas().await;
    let store = cluster.store().with_durability(Durability::Replicas(1));
    until("all nodes are fit", async || store.check().await.is_ok()).await;
    let service = Service::gated(&store);
    let paying = pay(&service);
    until("the call is made", async || service.keys().len() == 1).await;
    let (number, _) = cluster.holder().await;
    let replica = &replicas[number];
    replica.run::<()>("CLUSTER FAILOVER").await;
    until("the replica is a primary", async || {
        let info: String = replica.run("INFO replication").await;
        info.contains("role:master") && info.contains("connected_slaves:1")
    })
    .await;
    service.state.in_call.add_permits(1);
    service.state.at_end.add_permits(1);
    let answer = paying.await.expect("no panic");
    assert_eq!((answer.status, &*answer.body), (201, "charge 1"));
    let again = service.pay("k").await;
    assert!(again.is_replayed && again.body == "charge 1", "{again:?}");
    assert_eq!((service.entered(), service.keys().len()), (1, 1));
    let run = service.engine.stats().await.expect("counts");
    assert_eq!(run.records(), 1);
    let scope = ScopeDigest::new(None);
    assert_eq!(store.erase(&scope).await.expect("erases"), 1);
    for node in cluster.0.iter().chain(&replicas) {
        // Also on the replicas: the erasure has waited for them.
        assert_eq!(node.run::<u64>("DBSIZE").await, 0);
    }
}

fn pay(service: &Service) -> tokio::task::JoinHandle<Answer> {
    let service = service.clone();
    tokio::spawn(async move { service.pay("k").await })
}
