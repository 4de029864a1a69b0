//! Starts a real cluster, and kills and restarts its nodes.

#![cfg(unix)]

use std::time::{Duration, Instant};

use xtask::server::{Cluster, Kind, MARIADB};

#[test]
#[ignore = "takes half a minute; `cargo test -p xtask --test galera -- --ignored`"]
fn a_killed_node_can_be_restarted_and_a_drop_ends_all() {
    let mut cluster = Cluster::start().unwrap();
    let ports: Vec<u16> = cluster.urls().iter().filter_map(|url| port(url)).collect();
    assert_eq!(ports.len(), 3);
    // Node 2 has joined last, and node 0 has started the cluster.
    for node in [2, 0] {
        assert!(ports.iter().all(|port| MARIADB.is_ready(*port)));

        cluster.kill(node).unwrap();
        assert!(!MARIADB.is_ready(ports[node]) && cluster.kill(node).is_err());
        assert!(cluster.log_of_ended().is_some());

        cluster.restart(node).unwrap();
        assert!(MARIADB.is_ready(ports[node]) && cluster.log_of_ended().is_none());
    }
    cluster.restart(1).unwrap();
    assert!(ports.iter().all(|port| MARIADB.is_ready(*port)));

    let start = Instant::now();
    drop(cluster);
    assert!(!ports.iter().any(|port| MARIADB.is_ready(*port)));
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn port(url: &str) -> Option<u16> {
    let (_, address) = url.rsplit_once(':')?;
    address.split('/').next()?.parse().ok()
}
