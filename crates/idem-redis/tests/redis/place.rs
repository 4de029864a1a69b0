//! A place for a test alone.

use std::sync::atomic::{AtomicU32, Ordering};

use idem_redis::RedisStore;

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
