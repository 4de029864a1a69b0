//! `RedisStore::check`.

use std::io;
use std::sync::{Arc, Mutex};

use idem_core::StoreError;
use idem_redis::{Durability, RedisStore};
use tracing_subscriber::fmt::MakeWriter;

use crate::server::Private;
use crate::service::Service;

async fn store(server: &Private, user: &str) -> RedisStore {
    let url = server.url().replace("redis://", &format!("redis://{user}"));
    RedisStore::connect(&url).await.expect("connects")
}

fn refusal(checked: Result<(), StoreError>) -> String {
    match checked {
        Err(StoreError::Misconfigured(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = Private::start();
    let store = store(&server, "").await;
    store.check().await.expect("the server is fit");
    for policy in [
        "allkeys-lru",
        "volatile-ttl",
        "volatile-lru",
        "allkeys-random",
    ] {
        server.set(&format!("maxmemory-policy {policy}")).await;
        let reason = refusal(store.check().await);
        assert!(reason.contains(policy), "{reason}");
        assert!(
            reason.contains("set `maxmemory-policy noeviction`"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_replica_is_refused_and_so_are_too_few() {
    let primary = Private::start();
    let replica = Private::replica_of(&primary).await;
    let reason = refusal(store(&replica, "").await.check().await);
    assert!(reason.contains("connect to the primary"), "{reason}");
    let store = store(&primary, "").await;
    let wanting = |replicas| {
        store
            .clone()
            .with_durability(Durability::Replicas(replicas))
    };
    wanting(1).check().await.expect("there is one");
    let reason = refusal(wanting(2).check().await);
    assert!(reason.contains("2 replicas"), "{reason}");
}

#[tokio::test]
async fn p5_rights_that_are_missing_are_told() {
    let server = Private::start();
    server
        .run::<()>("ACL SETUSER mute on >word ~* +@all -evalsha -eval")
        .await;
    let reason = refusal(store(&server, "mute:word@").await.check().await);
    assert!(reason.contains("evalsha"), "{reason}");
    // Inside of a script a server says less.
    for (command, right) in [
        ("+eval +evalsha -hset", "command"),
        ("+hset resetkeys", "keys"),
    ] {
        server
            .run::<()>(&format!("ACL SETUSER mute {command}"))
            .await;
        let reason = refusal(store(&server, "mute:word@").await.check().await);
        assert!(reason.contains(right), "{reason}");
    }
    let url = server.url().replace("redis://", "redis://mute:wrong@");
    let reason = refusal(RedisStore::connect(&url).await.map(drop));
    assert!(reason.contains("uthentication"), "{reason}");
    server
        .run::<()>("ACL SETUSER blind on >word ~* +@all -info -config")
        .await;
    let logs = Logs::default();
    let guard = logs.install();
    store(&server, "blind:word@")
        .await
        .check()
        .await
        .expect("unknown is not unfit");
    drop(guard);
    let said = logs.text();
    assert!(
        said.contains("WARN") && said.contains("does not show its settings"),
        "{said}"
    );
}

#[tokio::test]
async fn the_rights_that_the_documentation_names_are_enough() {
    let server = Private::start();
    let rights = "eval evalsha hset hget hmget hgetall hdel hstrlen hincrby exists del pexpireat time scan unlink info";
    let rights = rights.replace(' ', " +");
    let least = format!("ACL SETUSER least on >word ~idem:* -@all +{rights}");
    server.run::<()>(&least).await;
    let store = store(&server, "least:word@").await;
    store.check().await.expect("fit");
    assert_eq!(
        server.run::<i64>("DBSIZE").await,
        0,
        "the check leaves nothing"
    );
    let service = Service::new(&store);
    for is_replayed in [false, true] {
        let answer = service.pay("k").await;
        assert_eq!((answer.status, answer.is_replayed), (201, is_replayed));
    }
    assert_eq!(service.engine.stats().await.expect("counts").records(), 1);
    assert_eq!(service.engine.erase(None).await.expect("erases"), 1);
}

#[tokio::test]
async fn a_server_without_an_append_only_file_is_reported() {
    let server = Private::start();
    let store = store(&server, "").await;
    let logs = Logs::default();
    let guard = logs.install();
    store.check().await.expect("fit");
    assert_eq!(logs.text(), "");
    server.set("appendonly no").await;
    store.check().await.expect("fit");
    drop(guard);
    let said = logs.text();
    assert!(
        said.contains("WARN") && said.contains("set `appendonly yes`"),
        "{said}"
    );
}

#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Captures the logs of this thread, on which the whole test runs.
    fn install(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(self.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
