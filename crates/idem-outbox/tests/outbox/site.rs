//! A database with an outbox, and its service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_core::once::{Error, Failure, Key, Once, Policy};
use idem_core::{Attempt, Engine};
use idem_outbox::{Message, Outbox, OutboxStore, PushError};
use idem_tests::{Choices, Database, Wires};

static ORDER: Policy = Policy::new("order", Duration::from_hours(1));

/// What a handler of these tests returns.
pub(crate) type Ended<V> = Result<V, Failure<PushError, String>>;

pub(crate) struct Site<D: Database> {
    database: D,
    pub(crate) engine: Engine<D::Store>,
    pub(crate) outbox: Outbox<D::Store>,
}

impl<D: Database<Store: OutboxStore>> Site<D> {
    pub(crate) async fn new() -> Self {
        let database = D::create().await;
        let store = Self::connect(&database).await;
        let outbox = Outbox::new(store.clone());
        outbox.migrate().await.unwrap();
        Self {
            database,
            engine: Engine::new(store),
            outbox,
        }
    }

    async fn connect(database: &D) -> D::Store {
        let pool = database.connect(Wires::default()).await;
        D::store(pool, Choices::default()).await.unwrap()
    }

    /// The outbox of another instance.
    pub(crate) async fn instance(&self) -> Outbox<D::Store> {
        Outbox::new(Self::connect(&self.database).await)
    }

    /// Runs a handler.
    pub(crate) async fn order<V>(
        &self,
        key: &str,
        work: impl AsyncFnOnce(&mut D::Connection, &Attempt) -> Ended<V>,
    ) -> Result<Once<V>, Error<PushError, String>>
    where
        V: serde::Serialize + serde::de::DeserializeOwned,
    {
        let key = Key::new("acme", key);
        self.engine.once(&ORDER, key, "payload", work).await
    }

    /// Pushes so many messages, each of a request of its own.
    pub(crate) async fn push(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for number in 0..count {
            let push = async |tx: &mut D::Connection, attempt: &Attempt| {
                Ok(self.outbox.push(tx, attempt, "orders", &number).await?)
            };
            let pushed = self.order(&format!("order-{number}"), push).await.unwrap();
            let Once::Fresh(id) = pushed else {
                panic!("{pushed:?}")
            };
            ids.push(id);
        }
        ids.sort();
        ids
    }

    /// The numbers of messages and of dead letters.
    pub(crate) async fn counts(&self) -> (u64, u64) {
        let stats = self.outbox.stats().await.unwrap();
        assert_eq!(stats.oldest_age.is_some(), stats.pending > 0);
        (stats.pending, stats.dead)
    }

    pub(crate) async fn remove(self) {
        let Self {
            database,
            engine,
            outbox,
        } = self;
        drop((engine, outbox));
        database.remove().await;
    }
}

/// A broker that keeps what it gets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broker(Arc<Mutex<Vec<Message>>>);

impl Broker {
    pub(crate) fn keep(&self, message: Message) {
        self.0.lock().unwrap().push(message);
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.messages().into_iter().map(|kept| kept.id).collect();
        ids.sort();
        ids
    }
}

/// Waits for a condition.
pub(crate) async fn until(mut is_true: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    waited.expect("it becomes true");
}
