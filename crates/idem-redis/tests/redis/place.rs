//! A place for a test alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idem_redis::RedisStore;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};

/// The variable that `cargo xtask test` sets.
const SERVER: &str = "IDEM_TEST_REDIS_URL";

/// The server that all tests share.
pub(crate) fn url() -> String {
    std::env::var(SERVER)
        .unwrap_or_else(|_| panic!("{SERVER} is not set: use `cargo xtask test`, which sets it"))
}

/// A prefix that no other test has.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let started = std::time::UNIX_EPOCH.elapsed().expect("a time").as_nanos();
    format!("test-{}-{started}-{count}:", std::process::id())
}

/// A store of its own on the shared server.
pub(crate) async fn store() -> RedisStore {
    store_at(&prefix()).await
}

pub(crate) async fn store_at(prefix: &str) -> RedisStore {
    let store = RedisStore::connect(&url()).await.expect("connects");
    store.with_prefix(prefix)
}

/// A store that waits for a server on a machine that is busy: a timeout is a fault, too.
pub(crate) fn patient_store(url: &str, prefix: &str) -> RedisStore {
    let store = RedisStore::new(Client::open(url).expect("a URL"));
    store
        .with_prefix(prefix)
        .with_timeout(Duration::from_secs(30))
}

/// A connection to the server that all tests share, which waits as long as it takes.
pub(crate) async fn connection() -> MultiplexedConnection {
    let client = Client::open(url()).expect("a URL");
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    connection.await.expect("connects")
}
