//! The store and its settings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use idem_core::store::{BoxError, Identity};
use idem_core::{StepConnection, StepStore, StoreError};
use redis::Client;

use crate::link::{Link, Source};
use crate::send::at_start;

/// The type that handlers name: `steps: &mut Steps<Redis>`.
#[derive(Debug)]
pub enum Redis {}

impl StepConnection for Redis {
    type Runs = RedisStore;
}

/// How many servers have to have a write before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// The primary, in its memory. A write survives a crash as far as the server's persistence goes, and a failover
    /// if a replica happens to have it.
    #[default]
    Memory,
    /// Also this many replicas (`WAIT`): a claim, a recorded step, a record, a record that is replayed, and what an
    /// operator erases, forgets or resolves. A failover to one of them loses nothing; a failover to another replica may.
    Replicas(u16),
}

/// Runs and records in a Redis or Valkey server. It is cheap to clone; the clones share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), idem_core::StoreError> {
/// use idem_core::Engine;
/// use idem_redis::{Durability, RedisStore};
///
/// let store = RedisStore::connect("redis://127.0.0.1/").await?;
/// let store = store.with_durability(Durability::Replicas(1));
/// store.check().await?;
/// let engine = Engine::new(store.steps());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    pub(crate) links: Arc<Links>,
    pub(crate) prefix: Arc<str>,
    pub(crate) durability: Durability,
    pub(crate) timeout: Duration,
}

pub(crate) struct Links {
    pub(crate) shared: Link,
    pub(crate) durable: Vec<Link>,
    pub(crate) turn: AtomicUsize,
}

/// The connections for writes that wait for replicas.
pub(crate) const DURABLE_LINKS: usize = 8;

/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(1);

impl RedisStore {
    /// A store on the server of a URL such as `redis://user:password@host:6379/0`. With the feature `tls` also
    /// `rediss://`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the server does not answer; [`StoreError::Misconfigured`] if it lets nobody in,
    /// or if the URL is not one.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let client = Client::open(url);
        let store = Self::new(client.map_err(|error| misconfigured(error.into()))?);
        let connected = store.links.shared.connect(TIMEOUT).await;
        connected.map_err(at_start)?;
        Ok(store)
    }

    /// A store that connects at its first command.
    pub fn new(client: Client) -> Self {
        Self::of(&Source::Server(Box::new(client)))
    }

    /// A store on a cluster of several primaries. It connects at its first command.
    ///
    /// Each identity is one key, and so is on one of them. Give the client's builder a `connection_timeout` and a
    /// few `retries`.
    #[cfg(feature = "cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cluster")))]
    pub fn new_cluster(client: redis::cluster::ClusterClient) -> Self {
        Self::of(&Source::Cluster(Box::new(client)))
    }

    fn of(source: &Source) -> Self {
        let durable = (0..DURABLE_LINKS).map(|_| Link::new(source.clone()));
        Self {
            links: Arc::new(Links {
                shared: Link::new(source.clone()),
                durable: durable.collect(),
                turn: AtomicUsize::new(0),
            }),
            prefix: "idem:".into(),
            durability: Durability::Memory,
            timeout: TIMEOUT,
        }
    }

    /// The beginning of all keys; `idem:` by default. Services that share a server and must not share records need
    /// different ones, and none that is the beginning of another's.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            ..self
        }
    }

    /// How many servers have to have a write before it counts; the primary alone by default.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// How long one command, and one try to connect, may take; 1 s by default. A server that does not answer a
    /// claim for this long is unavailable. A step or a record that is to be written is sent for 5 s.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The store that an [`Engine`](idem_core::Engine) takes.
    pub fn steps(&self) -> StepStore<Redis> {
        StepStore::with_runs(self.clone())
    }

    /// How many replicas have to have a write.
    pub(crate) fn replicas(&self) -> u16 {
        match self.durability {
            Durability::Memory => 0,
            Durability::Replicas(replicas) => replicas,
        }
    }

    pub(crate) fn key(&self, identity: &Identity) -> String {
        format!("{}{}", self.prefix, hex(identity.as_bytes()))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("durability", &self.durability)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

pub(crate) fn misconfigured(error: BoxError) -> StoreError {
    StoreError::Misconfigured(error)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(digits).collect()
}
