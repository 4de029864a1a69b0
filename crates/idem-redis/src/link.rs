//! Connections that are replaced after a failure.

use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
#[cfg(feature = "cluster")]
use redis::cluster::ClusterClient;
#[cfg(feature = "cluster")]
use redis::cluster_async::ClusterConnection;
#[cfg(feature = "cluster")]
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind};
use redis::{RedisResult, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

#[cfg(feature = "cluster")]
use crate::send::{is_lasting, is_unknown_script};

/// Where connections come from.
#[derive(Clone)]
pub(crate) enum Source {
    Server(Box<Client>),
    #[cfg(feature = "cluster")]
    Cluster(Box<ClusterClient>),
}

/// Why a command has no answer.
pub(crate) enum Failure {
    /// It was not executed, and never will be.
    Refused(RedisError),
    /// It may have been executed, or will be.
    Lost(RedisError),
}

/// A connection that all requests share. A failed one is replaced when the next command is sent: also one that
/// only is silent, since its server's machine may be gone.
pub(crate) struct Link {
    source: Source,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// The number of connections so far.
    generation: u64,
    /// The last try to connect, if it failed.
    failed: Option<(Instant, RedisError)>,
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(Box<ClusterConnection>),
}

/// A server, of which a cluster has several.
#[derive(Clone)]
pub(crate) enum Node {
    Only,
    #[cfg(feature = "cluster")]
    At {
        host: String,
        port: u16,
    },
}

impl Link {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            slot: Mutex::default(),
        }
    }

    /// Another connection to a cluster, which reads anew what servers there are: the client learns of a new one only
    /// by a command for a key that the new one has.
    pub(crate) fn anew(&self) -> Option<Self> {
        match &self.source {
            Source::Server(_) => None,
            #[cfg(feature = "cluster")]
            Source::Cluster(_) => Some(Self::new(self.source.clone())),
        }
    }

    /// Connects, unless there is a connection.
    pub(crate) async fn connect(&self, limit: Duration) -> RedisResult<()> {
        self.connection(limit).await.map(drop)
    }

    /// Sends a command to the server that has its key.
    pub(crate) async fn send(&self, command: &Cmd, limit: Duration) -> Result<Value, Failure> {
        self.exchange(Message::Command(command), limit).await
    }

    /// Sends a command to one server.
    pub(crate) async fn send_to(
        &self,
        node: &Node,
        command: &Cmd,
        limit: Duration,
    ) -> Result<Value, Failure> {
        self.exchange(Message::ToNode(node, command), limit).await
    }

    /// Sends a command, and a WAIT on the same connection: a WAIT counts the replicas that have what was
    /// written on its own connection.
    pub(crate) async fn send_and_wait(
        &self,
        key: &str,
        command: &Cmd,
        replicas: u16,
        limit: Duration,
    ) -> Result<(Value, i64), Failure> {
        let mut both = Pipeline::with_capacity(2);
        both.add_command(command.clone());
        // Shorter than the limit, so that the connection outlives replicas that are gone.
        let wait = u64::try_from(limit.as_millis() / 2).unwrap_or(u64::MAX);
        both.cmd("WAIT").arg(replicas).arg(wait);
        let answers = match self.exchange(Message::Both(key, &both), limit).await? {
            Value::Array(answers) => <[Value; 2]>::try_from(answers).ok(),
            _ => None,
        };
        match answers {
            Some([answer, Value::Int(acknowledged)]) => Ok((answer, acknowledged)),
            // Such as UNBLOCKED, of a primary that has become a replica.
            Some([_, Value::ServerError(error)]) => Err(Failure::Lost(error.into())),
            _ => Err(Failure::Lost(unexpected("no answer to WAIT"))),
        }
    }

    /// The servers that have keys.
    #[cfg(not(feature = "cluster"))]
    #[expect(clippy::unused_async, reason = "a cluster is asked for them")]
    pub(crate) async fn nodes(&self, _limit: Duration) -> Result<Vec<Node>, Failure> {
        Ok(vec![Node::Only])
    }

    /// The servers that have keys.
    #[cfg(feature = "cluster")]
    pub(crate) async fn nodes(&self, limit: Duration) -> Result<Vec<Node>, Failure> {
        if let Source::Server(_) = &self.source {
            return Ok(vec![Node::Only]);
        }
        let answers = self.exchange(Message::ToPrimaries, limit).await?;
        let answers: RedisResult<std::collections::HashMap<String, Value>> =
            redis::from_redis_value(answers).map_err(Into::into);
        let addresses = answers.map_err(Failure::Refused)?.into_keys();
        let nodes: Option<_> = addresses.map(|address| Node::parse(&address)).collect();
        nodes.ok_or_else(|| Failure::Refused(unexpected("no address of a primary")))
    }

    async fn exchange(&self, message: Message<'_>, limit: Duration) -> Result<Value, Failure> {
        let connection = self.connection(limit).await;
        let (generation, mut connection) = connection.map_err(Failure::Refused)?;
        let answer = match timeout(limit, connection.send(message)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(silence()),
        };
        match answer {
            Ok(Value::ServerError(error)) => self.failed(generation, error.into()).await,
            Ok(Value::Array(answers)) => match answers.first() {
                // The command before a WAIT.
                Some(Value::ServerError(error)) => {
                    self.failed(generation, error.clone().into()).await
                }
                _ => Ok(Value::Array(answers)),
            },
            Ok(answer) => Ok(answer),
            Err(error) => self.failed(generation, error).await,
        }
    }

    async fn failed(&self, generation: u64, error: RedisError) -> Result<Value, Failure> {
        if is_of_connection(&error) {
            let mut slot = self.slot.lock().await;
            if slot.generation == generation {
                slot.connection = None;
            }
        }
        Err(if self.source.is_refusal(&error) {
            Failure::Refused(error)
        } else {
            Failure::Lost(error)
        })
    }

    async fn connection(&self, limit: Duration) -> RedisResult<(u64, Connection)> {
        let asked = Instant::now();
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.generation, connection.clone()));
        }
        // Requests that waited for a try to connect share its failure.
        if let Some((at, error)) = &slot.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let connected = timeout(limit, self.source.connect(limit)).await;
        match connected.unwrap_or_else(|_elapsed| Err(silence())) {
            Ok(connection) => {
                slot.connection = Some(connection.clone());
                slot.generation += 1;
                Ok((slot.generation, connection))
            }
            Err(error) => {
                slot.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// What is sent at once.
#[cfg_attr(
    not(feature = "cluster"),
    expect(dead_code, reason = "one server has all keys")
)]
enum Message<'a> {
    Command(&'a Cmd),
    ToNode(&'a Node, &'a Cmd),
    /// A command for a key, and a WAIT.
    Both(&'a str, &'a Pipeline),
    /// Asks every primary for nothing: the answers have their addresses.
    #[cfg(feature = "cluster")]
    ToPrimaries,
}

impl Connection {
    async fn send(&mut self, message: Message<'_>) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => match message {
                Message::Command(command) | Message::ToNode(_, command) => {
                    connection.req_packed_command(command).await
                }
                Message::Both(_, both) => {
                    let answers = connection.req_packed_commands(both, 0, 2).await;
                    answers.map(Value::Array)
                }
                #[cfg(feature = "cluster")]
                Message::ToPrimaries => Ok(Value::Nil),
            },
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => send_to_cluster(connection, message).await,
        }
    }
}

#[cfg(feature = "cluster")]
async fn send_to_cluster(
    connection: &mut ClusterConnection,
    message: Message<'_>,
) -> RedisResult<Value> {
    match message {
        Message::Command(command) | Message::ToNode(Node::Only, command) => {
            connection.req_packed_command(command).await
        }
        Message::ToNode(Node::At { host, port }, command) => {
            let node = SingleNodeRoutingInfo::ByAddress {
                host: host.clone(),
                port: *port,
            };
            let node = RoutingInfo::SingleNode(node);
            connection.route_command(command.clone(), node).await
        }
        Message::Both(key, both) => {
            let node = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
            let answers = connection.route_pipeline(both.clone(), 0, 2, node).await;
            answers.map(Value::Array)
        }
        Message::ToPrimaries => {
            let ping = redis::cmd("PING");
            let primaries = (MultipleNodeRoutingInfo::AllMasters, None);
            let primaries = RoutingInfo::MultiNode(primaries);
            connection.route_command(ping, primaries).await
        }
    }
}

#[cfg(feature = "cluster")]
impl Node {
    fn parse(address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        Some(Self::At {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

impl Source {
    /// Whether the error proves that the command was not executed.
    fn is_refusal(&self, error: &RedisError) -> bool {
        match self {
            Self::Server(_) => is_of_server(error),
            // The client of a cluster sends again by itself: the error is that of the last time.
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => {
                is_of_server(error) && (is_unknown_script(error) || is_lasting(error))
            }
        }
    }

    async fn connect(&self, limit: Duration) -> RedisResult<Connection> {
        match self {
            Self::Server(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(limit))
                    .set_response_timeout(None);
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                connection.await.map(Connection::Server)
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(client) => {
                let connection = client.get_async_connection().await?;
                Ok(Connection::Cluster(Box::new(connection)))
            }
        }
    }
}

/// Whether the error is an answer of the server, which refuses a script before its first write.
fn is_of_server(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

fn unexpected(what: &'static str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, what).into()
}

fn silence() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

/// Whether another connection may do better: it may also lead to another server.
fn is_of_connection(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly};

    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(Ask | ClusterDown | MasterDown | Moved | ReadOnly)
        )
}
