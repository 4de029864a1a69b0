//! A cluster of three primaries.

use std::time::Duration;

use futures_util::future::join_all;
use idem_core::store::{RunStore as _, ScopeDigest};
use idem_redis::{Durability, RedisStore};
use redis::cluster::ClusterClient;

use crate::server::{Private, until};
use crate::service::Service;

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
        for node in &nodes[1..] {
            let port = nodes[0].port();
            node.run::<()>(&format!("CLUSTER MEET 127.0.0.1 {port}"))
                .await;
        }
        for node in &nodes {
            until("the cluster is formed", async || {
                let info: String = node.run("CLUSTER INFO").await;
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        Self(nodes)
    }

    fn store(&self) -> RedisStore {
        let urls = self.0.iter().map(Private::url);
        let client = ClusterClient::builder(urls)
            .retries(2)
            .connection_timeout(Duration::from_secs(1));
        RedisStore::new_cluster(client.build().expect("a client"))
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
    let mut replicas = Vec::new();
    for primary in &cluster.0 {
        let replica = Private::node();
        let (port, id) = (primary.port(), primary.run::<String>("CLUSTER MYID").await);
        replica
            .run::<()>(&format!("CLUSTER MEET 127.0.0.1 {port}"))
            .await;
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
