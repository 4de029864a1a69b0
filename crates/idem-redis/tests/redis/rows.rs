//! The fields of an identity, read and changed without the store.

use std::collections::BTreeMap;

use idem_core::store::Identity;
use redis::aio::MultiplexedConnection;

use crate::place;

/// All fields of a key, as text.
pub(crate) type Fields = BTreeMap<String, String>;

/// A connection to the server that all tests share, and the keys of one prefix.
pub(crate) struct Rows {
    connection: MultiplexedConnection,
    prefix: String,
}

impl Rows {
    pub(crate) async fn of(prefix: &str) -> Self {
        Self {
            connection: place::connection().await,
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, identity: &Identity) -> String {
        format!("{}{identity:?}", self.prefix)
    }

    pub(crate) async fn read(&mut self, identity: &Identity) -> Fields {
        let mut read = redis::cmd("HGETALL");
        read.arg(self.key(identity));
        let fields: Vec<(Vec<u8>, Vec<u8>)> =
            read.query_async(&mut self.connection).await.expect("reads");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields = fields.into_iter();
        fields
            .map(|(field, value)| (text(field), text(value)))
            .collect()
    }

    /// Ends the lease of a run.
    pub(crate) async fn end_lease(&mut self, identity: &Identity) {
        if self
            .read(identity)
            .await
            .get("state")
            .is_some_and(|state| state == "run")
        {
            self.set(identity, "leased_until", "1").await;
        }
    }

    /// The content of a key passes its time to live.
    pub(crate) async fn expire(&mut self, identity: &Identity) {
        self.end_lease(identity).await;
        if !self.read(identity).await.is_empty() {
            self.set(identity, "expires_at", "1").await;
        }
    }

    pub(crate) async fn remove(&mut self, identity: &Identity) {
        let mut remove = redis::cmd("DEL");
        remove.arg(self.key(identity));
        let removed = remove.exec_async(&mut self.connection).await;
        removed.expect("removes");
    }

    async fn set(&mut self, identity: &Identity, field: &str, value: &str) {
        let mut set = redis::cmd("HSET");
        set.arg(self.key(identity)).arg(field).arg(value);
        set.exec_async(&mut self.connection).await.expect("writes");
    }
}
